"""Whose address a call comes from: the peer's, or what a trusted proxy says it is."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

HOPS_MAX = 32  # entries of a forwarding chain that are looked at, from the right
ADDRESS_CHARS_MAX = 64  # 45 of the longest IPv6 address, and a zone: longer text is no address
IPV6_PREFIX_BITS = 64  # what one subscriber commonly gets, so what one limit counts

_Address = IPv4Address | IPv6Address


class Proxies:
    """The proxies whose ``Forwarded`` (RFC 7239) and ``X-Forwarded-For`` count."""

    __slots__ = ("_networks",)

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(entry, strict=False) for entry in trusted
        )

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Tell whether this address is a listed proxy."""
        parsed = _parse(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._networks
        )

    def origin(
        self, peer: str, scheme: str, forwarded: str | None, x_forwarded: tuple[str, str] = ("", "")
    ) -> tuple[str, str]:
        """Return the address and the scheme the call was made with.

        ``x_forwarded`` are ``X-Forwarded-For`` and ``-Proto``. The chain is walked from the right,
        and the first hop that is not a trusted proxy is the caller: what stands left of it is only
        what that caller claims. An entry that is no address (``unknown``, ``_hidden``) ends the
        walk at the proxy that wrote it. Most proxies write one of the two headers and pass the
        other on as the caller sent it: where the two disagree neither is believed.
        """
        if not self._networks or not self.trusts(peer):
            return peer, scheme
        names = [part.strip() for part in x_forwarded[0].split(",")] if x_forwarded[0] else []
        if forwarded is None:
            return self._walk(peer, scheme, _x_hops(names, x_forwarded[1]))
        hops = [_forwarded_element(part) for part in _split(forwarded, ",")[-HOPS_MAX:]]
        origin = self._walk(peer, scheme, hops)
        if names and self._walk(peer, scheme, _x_hops(names, ""))[0] != origin[0]:
            return peer, scheme
        return origin

    def _walk(self, peer: str, scheme: str, hops: Sequence[tuple[str, str]]) -> tuple[str, str]:
        address = peer
        for claimed, proto in reversed(hops[-HOPS_MAX:]):
            parsed = _parse(_without_port(claimed))
            if parsed is None:
                break
            address = str(parsed)
            if proto.lower() in {"http", "https"}:
                scheme = proto.lower()
            if not self.trusts(address):
                break
        return address, scheme


def _x_hops(names: Sequence[str], proto: str) -> list[tuple[str, str]]:
    protos = [part.strip() for part in proto.split(",")]
    if len(protos) != len(names):
        # One value: set by the outermost proxy that we trust, for the whole chain.
        protos = [protos[-1]] * len(names)
    return list(zip(names, protos, strict=True))


@lru_cache(maxsize=65_536)
def network_of(address: str) -> str:
    """Name what a limit on this address counts: IPv4 alone, IPv6 by its /64."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        prefix = int(parsed) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS)
        return f"{IPv6Address(prefix)}/{IPV6_PREFIX_BITS}"
    return address if parsed is None else str(parsed)


def is_loopback(address: str) -> bool:
    """Tell whether this is an address only the machine itself can reach."""
    parsed = _parse(address)
    return address == "localhost" or (parsed is not None and parsed.is_loopback)


def _parse(text: str) -> _Address | None:
    """Read an address; what is longer than one is not kept in mind either."""
    return _parsed(text) if len(text) <= ADDRESS_CHARS_MAX else None


@lru_cache(maxsize=8_192)
def _parsed(text: str) -> _Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _split(text: str, separator: str) -> list[str]:
    """Split outside of quoted strings."""
    if '"' not in text:
        return text.split(separator)
    parts, start, quoted = [], 0, False
    for i, char in enumerate(text):
        if char == '"' and (i == 0 or text[i - 1] != "\\"):
            quoted = not quoted
        elif char == separator and not quoted:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return parts


def _forwarded_element(element: str) -> tuple[str, str]:
    pairs = {}
    for pair in _split(element, ";"):
        name, _, value = pair.partition("=")
        pairs[name.strip().lower()] = value.strip().strip('"')
    return pairs.get("for", ""), pairs.get("proto", "")

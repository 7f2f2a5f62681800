"""What an outgoing request may reach. Pure: no look-ups, so each rule can be tested by itself.

A URL is taken apart once, here, and what is requested is put together again from the parts, so no
second parser can read another host into it.
"""

import ipaddress
import re

import msgspec
from yarl import URL

from mainspring.ports.http_client import URL_CHARS_MAX, WebError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS_BELOW_1024 = frozenset({80, 443})  # the others are where infrastructure listens
NAME_CHARS_MAX = 253

# They do not say which address: whoever owns a name would learn what it means inside.
NOT_PUBLIC = "the address is not public"
NOT_ONE_HOST = "the address is that of no single host"

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^/?#@:\[\]\\\s%]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[A-Za-z0-9\-._~:/@!$&'()*+,;=%]*)?"
    r"(?P<query>\?[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]*)?"
)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# IANA's special-purpose registries (RFC 6890), written out: what `ipaddress` knows of them differs
# between Python releases.
_REFUSED_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# Only global unicast is ever allowed in IPv6; these are the parts of it that are not.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214: the interface id, then an IPv4 address
_ALWAYS_REFUSED = (
    ipaddress.ip_network("0.0.0.0/32"), ipaddress.ip_network("224.0.0.0/4"),
    ipaddress.ip_network("255.255.255.255/32"), ipaddress.ip_network("::/128"),
    ipaddress.ip_network("ff00::/8"),
)  # fmt: skip


class ResolvedTarget(msgspec.Struct, frozen=True):
    """Where a request goes: ``host`` is lower-case ASCII, an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL, put together from the parts that were checked."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def parse(url: str, *, allow_private: bool) -> ResolvedTarget:
    """Take a URL apart strictly (RFC 3986, UTS 46). Raises WebError for one we would not request.

    Refused: other schemes than http and https, user information, fragments, white space, numeric
    hosts that are no canonical address, ports below 1024 but 80 and 443, and addresses that
    ``check_address`` refuses.
    """
    if len(url) > URL_CHARS_MAX:
        raise WebError("url_refused", f"a URL has at most {URL_CHARS_MAX} characters")
    match = _URL.fullmatch(url)
    if match is None or _BAD_PERCENT.search(url):
        raise WebError(
            "url_refused", "not http(s)://host[:port]/path, percent-encoded, without user or #"
        )
    scheme = match["scheme"].lower()
    host = _address_6(match["v6"]) if match["v6"] else _name(match["name"])
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65_536:
        raise WebError("url_refused", f"{port} is not a port: they go from 1 to 65535")
    if port < 1024 and port not in PORTS_BELOW_1024 and not allow_private:
        raise WebError("address_refused", f"port {port} is not one that webhooks may reach")
    if (address := literal(host)) is not None:
        check_address(address, allow_private=allow_private)
    return ResolvedTarget(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))


def literal(host: str) -> Address | None:
    """Return the address a normalised host is written as, or None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_address(address: Address, *, allow_private: bool) -> None:
    """Raise WebError unless a request may go to this address.

    An IPv4 address wrapped into IPv6 (mapped, NAT64, ISATAP) is checked as what it stands for.
    """
    inner = embedded(address)
    for part in (address,) if inner is None else (address, inner):
        if any(part in network for network in _ALWAYS_REFUSED):
            raise WebError("address_refused", NOT_ONE_HOST)
    if allow_private:
        return
    if isinstance(address, ipaddress.IPv6Address):
        mapped = inner is not None and (address.ipv4_mapped is not None or address in _NAT64)
        refused = not mapped and (
            address not in _GLOBAL_6 or any(address in network for network in _REFUSED_6)
        )
    else:
        refused = any(address in network for network in _REFUSED_4)
    if refused or (inner is not None and any(inner in network for network in _REFUSED_4)):
        raise WebError("address_refused", NOT_PUBLIC)


def is_public(address: Address) -> bool:
    """Tell whether anyone could reach this address."""
    try:
        check_address(address, allow_private=False)
    except WebError:
        return False
    return True


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that this IPv6 address stands for, if it is of such a kind."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    value = int(address)
    if address in _NAT64 or (value >> 32 & 0xFFFF_FFFF) in _ISATAP:
        return ipaddress.IPv4Address(value & 0xFFFF_FFFF)
    return None


def _address_6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise WebError("url_refused", f"[{text}] is not an IPv6 address") from None


def _name(text: str) -> str:
    """Write a host name in lower-case ASCII (IDNA 2008 with the mappings of UTS 46)."""
    if text.isascii():
        name = text.lower()
    else:
        try:
            name = URL.build(scheme="http", host=text).raw_host or ""
        except ValueError:
            raise WebError("url_refused", "the host is not a valid international name") from None
    # Checked after the mapping: wide digits and other dots have become plain ones by now.
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > NAME_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise WebError("url_refused", "the host is not a valid name")
    if _NUMBER.fullmatch(labels[-1]):
        # 127.1, 0x7f000001, 017700000001: systems read these as addresses, each in its own way.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise WebError("url_refused", "the host is a number but no IPv4 address") from None
    return name

"""Which host a request is for: well formed, and one of ours where the settings name them."""

import re
from collections.abc import Sequence
from functools import lru_cache

from mainspring.interfaces.http.proxies import is_loopback
from mainspring.kernel.errors import Malformed, Misdirected

HOST_BYTES_MAX = 300  # 253 of a name (RFC 1035), brackets and a port
PORT_MAX = 65_535

# uri-host [ ":" port ] (RFC 9110, section 7.2); of no http URI is the host empty.
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


class Hosts:
    """The names a server answers to: ``example.org``, ``*.example.org``; none named means any."""

    __slots__ = ("_exact", "_suffixes")

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def require(self, authority: bytes) -> None:
        """Raise Malformed for what is no host, Misdirected for one that is not ours."""
        name = name_of(authority)
        if name is None:
            raise Malformed("the Host header must be host or host:port")
        if not self._exact and not self._suffixes:
            return
        if name not in self._exact and not name.endswith(self._suffixes or ("\0",)):
            raise Misdirected("this server does not answer for that host: see [server] hosts")


def check(name: str) -> None:
    """Raise ValueError for what cannot be an entry of ``[server] hosts``."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is not a host name: write example.org, *.example.org or [::1], "
            "without a port"
        )


def is_own_machine(authority: bytes) -> bool:
    """Tell whether a Host names the machine itself: localhost, 127.0.0.1 or [::1]."""
    name = name_of(authority)
    return name is not None and is_loopback(name.removeprefix("[").removesuffix("]"))


def name_of(authority: bytes) -> str | None:
    """Return the host in lower case, without a port or a final dot; None when it is no host."""
    return _name_of(authority) if len(authority) <= HOST_BYTES_MAX else None


@lru_cache(maxsize=1_024)
def _name_of(authority: bytes) -> str | None:
    match = _HOST.fullmatch(authority.decode("latin-1"))
    if match is None or int(match["port"] or 0) > PORT_MAX:
        return None
    return match["name"].lower().removesuffix(".") or None

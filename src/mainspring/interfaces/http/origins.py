"""Web origins and patterns of them, as the settings write them (RFC 6454; the Fetch standard)."""

import re
from collections.abc import Sequence

_PORT = r"(?::[0-9]{1,5})?"
_LABEL = r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?"
_ORIGIN = re.compile(rf"https?://(?:(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]){_PORT}")
_WILD = re.compile(r"(https?://)\*(\..*)")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """A set of origins. ``https://*.example.org`` holds ``https://a.b.example.org``.

    Scheme and port must be the same, and at least one label stands in the place of the ``*``.
    """

    __slots__ = ("_exact", "_wild", "any")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.any = "*" in patterns
        self._exact = frozenset(p for p in patterns if p != "*" and "*" not in p)
        found = [_WILD.fullmatch(pattern) for pattern in patterns]
        self._wild = tuple((wild[1], wild[2]) for wild in found if wild is not None)

    def __contains__(self, origin: str) -> bool:
        origin = origin.lower()
        if origin in self._exact:
            return True
        return any(
            origin.startswith(scheme) and origin.endswith(below) and _ORIGIN.fullmatch(origin)
            for scheme, below in self._wild
        )


def check(pattern: str) -> None:
    """Raise ValueError for what no browser ever sends as ``Origin``, or is no pattern of it."""
    if pattern == "*":
        return
    if _ORIGIN.fullmatch(pattern) is None:
        raise ValueError(
            f"{pattern!r} is not an origin: write https://app.example, https://*.example or *, "
            "in lower case and without a path"
        )
    scheme = pattern.partition("://")[0]
    if pattern.endswith(_DEFAULT_PORTS[scheme]):
        raise ValueError(f"{pattern!r}: browsers leave out {_DEFAULT_PORTS[scheme]}, so do too")


def check_header(name: str) -> None:
    """Raise ValueError for what is no name of a header."""
    if _HEADER.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not the name of a header")

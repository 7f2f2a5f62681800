"""The rules of other applications: where a browser may go back to, and what may be asked. No I/O.

Its own room because clients are judged by it when they are registered and whenever they ask.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from mainspring.services.users import model

OPENID, PROFILE, EMAIL, OFFLINE = "openid", "profile", "email", "offline_access"
WORDS = (OPENID, PROFILE, EMAIL, OFFLINE)
# What is the account's own, or gives rights away, is never another application's.
CLOSED = frozenset({"users", "api_keys", "roles", "oauth_clients", "machine"})

_PRINTABLE = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # of ASCII, what may stand in a URI
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")  # RFC 8252, 7.1: a domain, turned round
_SCOPE = re.compile(model.SCOPE_PATTERN)


def redirect_uri_problem(uri: str) -> str | None:
    """Say what is wrong with an address for a browser to come back to; None where nothing is."""
    if _PRINTABLE.fullmatch(uri) is None or "#" in uri or "*" in uri:
        return "is a whole URI, of ASCII, without # and without *"
    scheme = uri.partition(":")[0]
    if _SCHEME.fullmatch(scheme):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "has a host or port that is none"
    if not parts.hostname or parts.username is not None or port == 0:
        return "names a host, and nobody before it"
    if scheme == "https" or (scheme == "http" and _is_own_machine(parts.hostname)):
        return None
    return "begins with https://, with http:// only on the user's own machine, or is an app's own"


def scope_problem(scope: str) -> str | None:
    """Say why no application may ask for this; None where it may."""
    if scope in WORDS:
        return None
    service = scope.partition(":")[0]
    if _SCOPE.fullmatch(scope) is None or model.is_wide(scope) or service in CLOSED:
        return (
            f"is {', '.join(WORDS)}, or one scope of the platform that is not about accounts, "
            "without *"
        )
    return None


def platform_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes that are the platform's, of whoever lets a client have them."""
    return sorted(set(scopes) - set(WORDS))


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Tell whether a browser may go there: to the last letter, as RFC 9700, 2.1 demands.

    Of an address of the user's own machine the port is whatever its app was given (RFC 8252, 7.3).
    """
    for each in registered:
        if each == uri or (_without_port(each) is not None and _same_but_port(each, uri)):
            return True
    return False


def with_fields(uri: str, fields: dict[str, str]) -> str:
    """Add fields to the query of an address."""
    return uri + ("&" if "?" in uri else "?") + urlencode(fields)


def origin_of(uri: str) -> str:
    """Return the origin of an address, or the scheme of one that is an app's own."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else (
        f"{parts.scheme}:"
    )  # fmt: skip


def _same_but_port(registered: str, uri: str) -> bool:
    return redirect_uri_problem(uri) is None and _without_port(registered) == _without_port(uri)


def _without_port(uri: str) -> str | None:
    """Return an address by number of the user's own machine without its port; None for others."""
    parts = urlsplit(uri)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        return None
    return uri.replace(parts.netloc, parts.hostname, 1)


def _is_own_machine(host: str) -> bool:
    return host in _LOOPBACK or host == "localhost"

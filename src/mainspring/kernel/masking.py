"""Secrets in settings: which fields hold one, and how settings and URLs are shown without them."""

import re

_MASK = "********"
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_HOST = r"(?:\[[0-9a-f:.%]*\]|[^\s:/?#@\[\]]*)(?::[0-9]+)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*", re.IGNORECASE)
_USER = re.compile(r"[^\s:/?#@]*")
_PARAMETER = re.compile(r"[?&]([^=&]*)=")
_WEB = frozenset({"http", "https", "ws", "wss"})
_SECRET_NAME = re.compile(r"pass|secret|token|%", re.IGNORECASE)


class Secret:
    """Marks a setting that nobody may read back: ``password: Annotated[str, Secret]``.

    Of a URL only the password is secret, so that a person still sees where it leads.
    """


def masked(secret: object) -> str:
    """Show that a secret is set, and nothing of it; of a URL everything but its password."""
    text = str(secret)
    if "://" in text:
        return masked_url(text)
    return _MASK if text else ""


def masked_urls(text: str) -> str:
    """Hide the passwords of all URLs in a text."""
    return _URL.sub(lambda match: masked_url(match[0]), text)


def masked_url(url: str) -> str:
    """Hide the password of a URL, however badly it is written.

    A password with ``@``, ``/``, ``?`` or ``#`` in it that was not percent-encoded ends nobody
    knows where: then nothing up to the last ``@`` is shown, and nothing behind what cannot be a
    host or is the value of a secret parameter.
    """
    scheme, _, rest = url.partition("://")
    hosts = re.split(r"[/?#]", rest, maxsplit=1)[0]
    shown = ""
    if "@" in rest and not (scheme.lower() in _WEB and _HOSTS.fullmatch(hosts)):
        user, _, rest = rest.rpartition("@")
        if any(_SECRET_NAME.search(name) for name in _PARAMETER.findall(user)):
            return f"{scheme}://{_MASK}"
        name, colon, _ = user.partition(":")
        plain = _USER.fullmatch(name) and not re.search(r"[/?#@]", user)
        shown = (f"{name}:{_MASK}@" if colon else f"{name}@") if plain else f"{_MASK}@"
        hosts = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not _HOSTS.fullmatch(hosts):
        return f"{scheme}://{shown}{_MASK}"
    place, mark, parameters = rest.partition("?")
    return f"{scheme}://{shown}{place}{mark}{_masked_parameters(parameters)}"


def _masked_parameters(parameters: str) -> str:
    """Hide secret values; after one also what has no name, since it may be the rest of it."""
    shown, secret = [], False
    for part in parameters.split("&"):
        name, equals, _ = part.partition("=")
        hidden = bool(_SECRET_NAME.search(name)) if equals else secret
        secret = secret or hidden
        shown.append(f"{name}={_MASK}" if hidden and equals else _MASK if hidden else part)
    return "&".join(shown)


def faulty_url(url: str) -> str:
    """Say why a database URL cannot mean what its writer meant; empty when it can.

    Read by the letter, such a URL leads to another host, and a piece of the password into errors.
    """
    rest = url.partition("://")[2]
    place, _, parameters = rest.partition("?")
    hosts, _, name = place.partition("/")
    bare = [part for part in parameters.split("&") if part and "=" not in part]
    if "#" in rest or "@" in name or bare or not _HOSTS.fullmatch(hosts.rpartition("@")[2]):
        return (
            "is not of the form postgresql://user:password@host:port/name; in a user name or "
            "password write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25"
        )
    return ""

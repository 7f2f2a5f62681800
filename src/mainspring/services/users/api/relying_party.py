"""Whom passkeys are for: the relying party of WebAuthn, as the settings say. No I/O."""

import re
from collections.abc import Sequence

import msgspec

LOCAL = "localhost"
APP_SCHEME = "android:apk-key-hash:"
_ORIGIN = re.compile(r"(https?)://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::[0-9]{1,5})?")
_APP = re.compile(re.escape(APP_SCHEME) + "[A-Za-z0-9_-]{43}")


class RelyingParty(msgspec.Struct, frozen=True):
    """The domain that passkeys are bound to, and the pages and apps that may use them."""

    id: str
    origins: tuple[str, ...]


def relying_party(rp_id: str, origins: Sequence[str]) -> RelyingParty | None:
    """Read ``passkey_rp_id`` and ``passkey_origins``; None where there are none.

    Raises ValueError where they do not fit each other (WebAuthn Level 3, 5.1.3: the id is the host
    of each origin, or a domain above it).
    """
    if not origins:
        if rp_id:
            raise ValueError("passkey_rp_id needs passkey_origins: the pages that use passkeys")
        return None
    hosts = [host for origin in origins if (host := _host(origin)) is not None]
    if not rp_id and len(set(hosts)) != 1:
        raise ValueError("passkey_rp_id is needed: the domain that all passkey_origins are under")
    rp_id = rp_id or hosts[0]
    if rp_id != LOCAL and ("." not in rp_id or _ORIGIN.fullmatch(f"https://{rp_id}") is None):
        raise ValueError("passkey_rp_id is a domain such as example.com, or localhost")
    for host in hosts:
        if host != rp_id and not host.endswith(f".{rp_id}"):
            raise ValueError(f"passkey_origins: {host} is not under passkey_rp_id, {rp_id}")
    return RelyingParty(rp_id, tuple(origins))


def _host(origin: str) -> str | None:
    """Return the host of an origin; None for an app's. Raises ValueError."""
    if _APP.fullmatch(origin):
        return None
    match = _ORIGIN.fullmatch(origin)
    if match is None or (match[1] == "http" and match[2] != LOCAL):
        raise ValueError(
            "passkey_origins are https://HOST, http://localhost:PORT (an address such as 127.0.0.1 "
            f"has no passkeys), or {APP_SCHEME}HASH"
        )
    return match[2]

"""Grants: a log-in at another application, and the tokens derived from it.

Their own room because operations and the gateway's authenticator read them alike. Nothing of a
token is stored: it is the grant's id, a number, and the proof that it was made here. The number is
the generation of a refresh token, the second in which an access token ends, and 0 of a code.
"""

import base64
import hmac
import re
from enum import StrEnum

import msgspec

from mainspring import Call
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, model, store
from mainspring.services.users.identity_provider.relying_parties import OFFLINE
from mainspring.services.users.store import OAUTH_GRANTS, HeldGrant, OAuthGrantRow

CODE_S = 60
GRANTS_NAMED_MAX = 1_000  # that are named in events when they end together

_TOKEN = re.compile(r"mo([acr])_([0-9a-z]{26})_([0-9]{1,12})_([A-Za-z0-9_-]{43})", re.ASCII)


class TokenKind(StrEnum):
    """What a token is good for; the letter stands in its text."""

    ACCESS = "a"
    CODE = "c"
    REFRESH = "r"


class GrantToken(msgspec.Struct, frozen=True):
    """A token taken apart."""

    kind: TokenKind
    grant_id: str
    number: int


def write_token(keyring: Keyring, token: GrantToken) -> str:
    """Write a token as the client holds it."""
    proof = base64.urlsafe_b64encode(_proof(keyring, token)).rstrip(b"=").decode()
    return f"mo{token.kind}_{token.grant_id.removeprefix('grant_')}_{token.number}_{proof}"


def read_token(keyring: Keyring, text: str) -> GrantToken | None:
    """Take a token apart that was made here; None for every other text."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    token = GrantToken(TokenKind(match[1]), f"grant_{match[2]}", int(match[3]))
    # Compared as text: a token has one spelling.
    made = write_token(keyring, token)
    return token if hmac.compare_digest(made, text) else None


def _proof(keyring: Keyring, token: GrantToken) -> bytes:
    said = f"{token.kind}/{token.grant_id}/{token.number}".encode()
    return keyring.fingerprint(said, purpose="users.oauth_token")


def holds(grant: HeldGrant, now_ms: int) -> bool:
    """Tell whether all that a grant depends on is still there.

    With ``offline_access`` it goes on after the session in which it began.
    """
    if grant.expires_ms <= now_ms:
        return False
    if grant.user_id is not None and grant.live_user_id is None:
        return False
    if grant.session_id is None or is_offline(grant):
        return True
    return grant.session_ends_ms is not None and grant.session_ends_ms > now_ms


def is_offline(grant: OAuthGrantRow) -> bool:
    """Tell whether a grant has refresh tokens, and outlives its session."""
    return OFFLINE in model.words(grant.scopes)


def scopes_of(grant: HeldGrant) -> list[str]:
    """Return what a grant was given and its client may still ask for."""
    return sorted(set(model.words(grant.scopes)) & set(model.words(grant.client_scopes)))


async def find_grant(call: Call, token: GrantToken) -> HeldGrant | None:
    """Return the grant of a token, while its client is there."""
    return await call.find(store.OAUTH_GRANT, id=token.grant_id, tenant=call.tenant)


def revoke(call: Call, grant: OAuthGrantRow, reason: str) -> None:
    """Stage the end of a grant, whatever others do to it meanwhile."""
    call.write(OAUTH_GRANTS.delete_unguarded(grant))
    if grant.generation:
        call.emit(api.OAuthGrantRevoked(grant.id, grant.user_id, grant.client_id, reason))


async def end_grants(call: Call, user_id: str, reason: str, client_id: str | None = None) -> None:
    """Stage the end of all of a user's grants, or of those at one client."""
    of_user = {"tenant": call.tenant, "user_id": user_id}
    if client_id is None:
        rows = await call.all(store.OAUTH_GRANTS_OF_USER, **of_user, limit=GRANTS_NAMED_MAX)
        call.write(store.END_OAUTH_GRANTS(**of_user))
    else:
        at_client = {**of_user, "client_id": client_id}
        rows = await call.all(store.OAUTH_GRANTS_OF, **at_client, limit=GRANTS_NAMED_MAX)
        call.write(store.END_OAUTH_GRANTS_AT(**at_client))
    for row in rows:
        if row.generation:
            call.emit(api.OAuthGrantRevoked(row.id, user_id, row.client_id, reason))

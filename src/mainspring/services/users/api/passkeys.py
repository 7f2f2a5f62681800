"""Contracts of passkeys (WebAuthn): registered, listed, and logged in with."""

from mainspring import Call, Page, PageQuery, RateClass, Response
from mainspring.services.users.api.errors import (
    ChallengeInvalid,
    FactorMissing,
    LastWayIn,
    PasskeysOff,
    PasskeyTaken,
    ScopeNotHeld,
    SessionNeeded,
    TooManyPasskeys,
    WrongPasskey,
)
from mainspring.services.users.api.settings import OWN, RECENT_S, WRITE, service
from mainspring.services.users.api.structs import (
    MadePasskey,
    NewPasskey,
    Passkey,
    PasskeyChanges,
    PasskeyLogin,
    PasskeyOptions,
    PasskeyWish,
    Tokens,
)

CREDENTIAL_BYTES_MAX = 65_536


@service.contract.operation(
    "POST /v1/users/me/passkeys:begin",
    scope=OWN,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    raises=(PasskeysOff, TooManyPasskeys, SessionNeeded),
)
async def begin_passkey(call: Call) -> PasskeyOptions:
    """Get the options with which the browser makes a passkey of yours, within five minutes.

    Where you have a second factor, the session must have been proved by it (step_up_required).
    """


@service.contract.operation(
    "POST /v1/users/me/passkeys",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    body_bytes_max=CREDENTIAL_BYTES_MAX,
    raises=(PasskeysOff, PasskeyTaken, TooManyPasskeys, SessionNeeded),
)
async def create_passkey(call: Call, new: NewPasskey) -> Response[MadePasskey]:
    """Register a passkey with what the browser made: from now on a password alone is not enough.

    Recovery codes come with it where you have none; they are shown this once. You are told by mail.
    Emits users.passkey.created.
    """


@service.contract.operation("GET /v1/users/me/passkeys", scope=OWN, raises=(SessionNeeded,))
async def list_passkeys(call: Call, query: PageQuery) -> Page[Passkey]:
    """List your passkeys, the oldest first."""


@service.contract.operation("PATCH /v1/users/me/passkeys/{id}", scope=OWN, raises=(SessionNeeded,))
async def update_passkey(call: Call, id: str, changes: PasskeyChanges) -> Passkey:
    """Call a passkey of yours otherwise."""


@service.contract.operation(
    "DELETE /v1/users/me/passkeys/{id}",
    scope=OWN,
    recent_s=RECENT_S,
    raises=(LastWayIn, SessionNeeded),
)
async def delete_passkey(call: Call, id: str) -> None:
    """Take a passkey away; another way in must be left.

    The session must have been proved by a second factor (step_up_required). With the last one, and
    no authenticator app, the recovery codes end. Emits users.passkey.deleted.
    """


@service.contract.operation(
    "POST /v1/users/{user_id}/passkeys:reset", scope=WRITE, raises=(FactorMissing, ScopeNotHeld)
)
async def reset_passkeys(call: Call, user_id: str) -> None:
    """Take away every passkey of a user who lost them.

    The user may do no more than you. Emits users.passkey.deleted.
    """


@service.contract.operation(
    "POST /v1/passkeys:begin",
    scope=None,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(PasskeysOff, ChallengeInvalid, FactorMissing),
)
async def begin_passkey_login(call: Call, wish: PasskeyWish) -> PasskeyOptions:
    """Get the options with which a passkey logs somebody in, within five minutes.

    With the ``challenge`` of factor_required, or logged in, they are for a passkey of that user as
    a second factor: for POST /v1/sessions:complete, a step-up, or what else takes a factor.
    """


@service.contract.operation(
    "POST /v1/sessions/passkey",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    body_bytes_max=CREDENTIAL_BYTES_MAX,
    raises=(PasskeysOff, WrongPasskey),
)
async def create_passkey_session(call: Call, given: PasskeyLogin) -> Response[Tokens]:
    """Log in with a passkey, and no address or password. Emits users.session.created.

    It has verified its user, so that it is two factors in one. One that counts how often it signs,
    and goes back, is refused; its owner is told by mail, and by users.passkey.refused.
    """

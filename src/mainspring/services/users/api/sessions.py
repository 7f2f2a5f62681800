"""Contracts of logging in, staying in and leaving."""

from mainspring import CachePolicy, Call, Page, PageQuery, RateClass, Response
from mainspring.services.users.api.errors import (
    AccountDisabled,
    BadRefreshToken,
    CaptchaRefused,
    CaptchaRequired,
    FactorRequired,
    FactorThrottled,
    PasswordThrottled,
    RefreshTokenReused,
    SessionNeeded,
    WrongCredentials,
    WrongFactor,
    WrongPassword,
)
from mainspring.services.users.api.settings import OWN, service
from mainspring.services.users.api.structs import (
    FreshToken,
    Jwks,
    Login,
    RefreshRequest,
    Session,
    StepUp,
    Tokens,
)


@service.contract.operation(
    "POST /v1/sessions",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(
        WrongCredentials, PasswordThrottled, FactorRequired, AccountDisabled, CaptchaRequired,
        CaptchaRefused,
    ),
)  # fmt: skip
async def create_session(call: Call, login: Login) -> Response[Tokens]:
    """Log in. Emits users.session.created.

    Who has a second factor hears factor_required, with a challenge for POST /v1/sessions:complete.

    A wrong password and an unknown address are answered alike, and counted; after five in a row the
    address waits, up to a quarter of an hour.
    """


@service.contract.operation(
    "POST /v1/sessions/refresh",
    scope=None,
    secret=True,
    raises=(BadRefreshToken, RefreshTokenReused),
)
async def refresh_session(call: Call, given: RefreshRequest) -> Tokens:
    """Trade the newest refresh token for the next one and a new access token.

    The one before it is answered with the newest again for 10 s, so an answer that was lost or two
    refreshes at once do no harm. Any older one ends the session (users.session.revoked).
    """


@service.contract.operation(
    "POST /v1/sessions/{id}:step_up",
    scope=OWN,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(
        WrongFactor, FactorThrottled, WrongPassword, PasswordThrottled, SessionNeeded,
    ),
)  # fmt: skip
async def step_up_session(call: Call, id: str, given: StepUp) -> FreshToken:
    """Prove once more who you are, in the session that asks: dangerous acts want it to be recent.

    Give a code where a second factor is on, else the password; who has neither logs in anew. The
    session's refresh token stays as it is. Emits users.session.stepped_up.
    """


@service.contract.operation("GET /v1/sessions", scope=OWN, raises=(SessionNeeded,))
async def list_sessions(call: Call, query: PageQuery) -> Page[Session]:
    """List your sessions, the oldest first."""


@service.contract.operation("DELETE /v1/sessions", scope=OWN, raises=(SessionNeeded,))
async def delete_sessions(call: Call) -> None:
    """Log out everywhere, here too. Emits users.session.revoked for each session."""


@service.contract.operation("DELETE /v1/sessions/{id}", scope=OWN)
async def delete_session(call: Call, id: str) -> None:
    """Log out; before this is answered the session's tokens hold no more.

    Those with the scope users:write end the sessions of others. Emits users.session.revoked.
    """


@service.contract.operation(
    "GET /.well-known/jwks.json",
    scope=None,
    rate=RateClass.UNLIMITED,
    cache=CachePolicy(public=True, max_age_s=300),
)
async def get_jwks(call: Call) -> Jwks:
    """Read the public keys that access tokens are signed with (RFC 7517)."""

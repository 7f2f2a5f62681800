"""Contracts of logging in with an issuer, and of the identities that people have there."""

from mainspring import Call, Page, PageQuery, RateClass, Raw, Response
from mainspring.services.users.api.errors import (
    AccountDisabled,
    AddressMissing,
    FactorRequired,
    IdentityTaken,
    IssuerUnavailable,
    LastWayIn,
    LinkRequired,
    LoginRefused,
    SessionNeeded,
    SignUpClosed,
)
from mainspring.services.users.api.settings import OWN, RECENT_S, service
from mainspring.services.users.api.structs import (
    BegunLogin,
    IssuerAnswer,
    LinkedIdentity,
    LoginCode,
    NewLogin,
    Tokens,
)


@service.contract.operation(
    "POST /v1/logins",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(IssuerUnavailable, LoginRefused),
)
async def create_login(call: Call, new: NewLogin) -> Response[BegunLogin]:
    """Begin a log-in with an issuer that the settings name: send the browser to ``url``.

    It comes back to ``redirect_uri`` with a ``code``, or an ``error``, and your ``state``.
    """


@service.contract.operation(
    "POST /v1/users/me/logins",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    raises=(IssuerUnavailable, LoginRefused, SessionNeeded),
)
async def create_link(call: Call, new: NewLogin) -> Response[BegunLogin]:
    """Begin to link yourself at an issuer to your account, as POST /v1/logins begins a log-in."""


@service.contract.raw("GET /v1/logins/{provider}/callback", scope=None, rate=RateClass.LOGIN)
async def get_callback(call: Call, provider: str, query: IssuerAnswer) -> Raw:
    """Take a browser back from an issuer, and send it on to the app with a code that holds once."""


@service.contract.raw("POST /v1/logins/{provider}/callback", scope=None, rate=RateClass.LOGIN)
async def create_callback(call: Call, provider: str, query: IssuerAnswer) -> Raw:
    """Take a browser back from an issuer that posts its answer as a form (Apple)."""


@service.contract.operation(
    "POST /v1/logins:complete",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(
        LoginRefused,
        IssuerUnavailable,
        LinkRequired,
        AddressMissing,
        SignUpClosed,
        FactorRequired,
        AccountDisabled,
    ),
)
async def complete_login(call: Call, given: LoginCode) -> Response[Tokens]:
    """Log in with the code that the browser brought back. Emits users.session.created.

    Who is new there and here signs up with it. An account of the same address is entered only
    where the issuer has verified the address and the account has proved it: else link_required.
    Emits users.user.created, users.identity.linked.
    """


@service.contract.operation(
    "POST /v1/users/me/identities",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    recent_s=RECENT_S,
    raises=(LoginRefused, IssuerUnavailable, IdentityTaken, SessionNeeded),
)
async def create_identity(call: Call, given: LoginCode) -> Response[LinkedIdentity]:
    """Link yourself at an issuer, with the code that the browser brought back.

    Emits users.identity.linked.
    """


@service.contract.operation("GET /v1/users/me/identities", scope=OWN, raises=(SessionNeeded,))
async def list_identities(call: Call, query: PageQuery) -> Page[LinkedIdentity]:
    """List the issuers you log in with."""


@service.contract.operation(
    "DELETE /v1/users/me/identities/{id}",
    scope=OWN,
    recent_s=RECENT_S,
    raises=(LastWayIn, SessionNeeded),
)
async def delete_identity(call: Call, id: str) -> None:
    """Log in with this issuer no more; another way in must be left. Emits users.identity.unlinked.

    Sessions that began with it go on.
    """

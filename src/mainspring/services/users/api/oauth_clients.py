"""Contracts of applications that log people in from here, and of what people let them have."""

from mainspring import Call, Page, PageQuery, RateClass, Response
from mainspring.kernel.errors import StepUpRequired
from mainspring.services.users.api.errors import (
    ConsentRequired,
    PageRefused,
    ScopeNotHeld,
    SessionNeeded,
)
from mainspring.services.users.api.oauth_structs import (
    Authorization,
    Decision,
    MadeOAuthClient,
    NewOAuthClient,
    OAuthClient,
    OAuthClientChanges,
    OAuthClientSecret,
    WayBack,
)
from mainspring.services.users.api.settings import (
    OAUTH_CLIENTS_READ,
    OAUTH_CLIENTS_WRITE,
    OWN,
    RECENT_S,
    service,
)


@service.contract.operation(
    "POST /v1/oauth_clients",
    scope=OAUTH_CLIENTS_WRITE,
    status=201,
    secret=True,
    recent_s=RECENT_S,
    raises=(ScopeNotHeld,),
)
async def create_oauth_client(call: Call, new: NewOAuthClient) -> Response[MadeOAuthClient]:
    """Register an application; its secret is shown this once. Emits users.oauth_client.created.

    It never has more than its scopes, more than the user let it have, or more than the user holds.
    """


@service.contract.operation("GET /v1/oauth_clients", scope=OAUTH_CLIENTS_READ)
async def list_oauth_clients(call: Call, query: PageQuery) -> Page[OAuthClient]:
    """List the applications that are registered, the oldest first."""


@service.contract.operation("GET /v1/oauth_clients/{id}", scope=OAUTH_CLIENTS_READ)
async def get_oauth_client(call: Call, id: str) -> Response[OAuthClient]:
    """Read what is registered of an application; its secret is not."""


@service.contract.operation(
    "PATCH /v1/oauth_clients/{id}",
    scope=OAUTH_CLIENTS_WRITE,
    recent_s=RECENT_S,
    raises=(ScopeNotHeld,),
)
async def update_oauth_client(
    call: Call, id: str, changes: OAuthClientChanges
) -> Response[OAuthClient | None]:
    """Change an application of which you hold every scope. Emits users.oauth_client.updated.

    A scope that is taken from it is gone from its tokens too, before this is answered.
    """


@service.contract.operation(
    "POST /v1/oauth_clients/{id}:rotate_secret",
    scope=OAUTH_CLIENTS_WRITE,
    secret=True,
    recent_s=RECENT_S,
    raises=(ScopeNotHeld,),
)
async def rotate_secret(call: Call, id: str) -> OAuthClientSecret:
    """Give an application another secret; the former one ends. Emits users.oauth_client.updated.

    Tokens that it has go on.
    """


@service.contract.operation(
    "DELETE /v1/oauth_clients/{id}",
    scope=OAUTH_CLIENTS_WRITE,
    recent_s=RECENT_S,
    raises=(ScopeNotHeld,),
)
async def delete_oauth_client(call: Call, id: str) -> None:
    """Remove an application, with all its tokens. Emits users.oauth_client.deleted."""


@service.contract.operation(
    "POST /v1/users/me/authorizations",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(ConsentRequired, PageRefused, StepUpRequired, SessionNeeded),
)
async def create_user_authorization(call: Call, given: Decision) -> Response[WayBack]:
    """Let another application log you in, from the product's own page (``oauth_log_in_page``).

    Where you have not said yet what it may have, and do not now, that is consent_required. Where
    it wants a newer log-in than yours, step_up_required. Emits users.oauth_consent.granted.
    """


@service.contract.operation(
    "GET /v1/users/me/authorizations", scope=OWN, raises=(SessionNeeded,)
)  # fmt: skip
async def list_authorizations(call: Call, query: PageQuery) -> Page[Authorization]:
    """List what you let other applications have, the oldest first."""


@service.contract.operation(
    "DELETE /v1/users/me/authorizations/{id}", scope=OWN, raises=(SessionNeeded,)
)
async def delete_authorization(call: Call, id: str) -> None:
    """Take back what you let an application have: its tokens hold no more.

    It asks again at your next log-in there. Emits users.oauth_consent.revoked.
    """

"""Contracts of acting as a user: for support, in sight of everybody."""

from typing import Annotated

import msgspec

from mainspring import Call, Impersonated, Input, Instant, Page, PageQuery, RateClass
from mainspring.services.users.api.errors import (
    ImpersonationThrottled,
    NotToImpersonate,
    ScopeNotHeld,
    SessionNeeded,
)
from mainspring.services.users.api.settings import IMPERSONATE, OWN, READ, RECENT_S, service

MINUTES_MAX = 60
REASON_CHARS_MAX = 500


class Impersonating(Input, frozen=True):
    """Why somebody is to act as a user, for how long, and whether to change anything.

    The user reads the reason.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_CHARS_MAX)]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_MAX)] = 15
    write: bool = False


class ImpersonationQuery(PageQuery, frozen=True):
    """Who acted as whom; with ``user_id`` as this user."""

    user_id: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class ImpersonationInfo(msgspec.Struct, frozen=True):
    """That somebody acts, or acted, as a user, in a session of the same id.

    ``ended_at`` is null while it lasts, ``ended_by`` says what ended it.
    """

    id: str
    user_id: str
    impersonator_id: str
    reason: str
    write: bool
    started_at: Instant
    expires_at: Instant
    ended_at: Instant | None
    ended_by: str


class ImpersonationToken(msgspec.Struct, frozen=True):
    """An access token of the user's that says who acts (``act``, RFC 8693). Nothing renews it."""

    access_token: str
    expires_in: int
    impersonation: ImpersonationInfo
    token_type: str = "Bearer"  # noqa: S105


@service.contract.operation(
    "POST /v1/users/{id}:impersonate",
    scope=IMPERSONATE,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    raises=(SessionNeeded, ScopeNotHeld, NotToImpersonate, ImpersonationThrottled),
)
async def impersonate_user(call: Call, id: str, given: Impersonating) -> ImpersonationToken:
    """Act as a user who may do no more than you and administrates nothing, for a short time.

    Only people do, who logged in recently. You see what the user sees, and change nothing unless
    you said ``write``; what is about the account itself is refused, and so is what shows a secret.
    Whatever happens then names both of you. The user is told by mail. It ends with your session.
    Emits users.impersonation.started.
    """


@service.contract.operation("GET /v1/impersonations", scope=READ)
async def list_impersonations(call: Call, query: ImpersonationQuery) -> Page[ImpersonationInfo]:
    """List who acted as whom in the last 400 days, the oldest first."""


@service.contract.operation(
    "POST /v1/impersonations/{id}:stop", scope=OWN, impersonated=Impersonated.READS
)
async def stop_impersonation(call: Call, id: str) -> None:
    """End it before this is answered: whoever acts, by either token, and those with users:write.

    The user ends the session. Emits users.impersonation.ended, users.session.revoked.
    """

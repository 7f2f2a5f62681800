"""Who a credential stands for, and what a caller may do, then and later."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import elapsed_ms
from mainspring.kernel.errors import Forbidden, StepUpRequired, Unauthenticated
from mainspring.kernel.reader import Reader
from mainspring.kernel.table import Command

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mainspring"'}


class Identity(msgspec.Struct, frozen=True):
    """What a credential says. ``expires_ms`` null means never; ``tags`` name what revokes it.

    It is good from addresses that are in one network of each of ``places``.
    """

    caller: Caller
    expires_ms: int | None = None
    tags: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], ...] = ()


class Authenticator(Protocol):
    """Knows credentials. The users service provides it, the gateway asks it."""

    @property
    def revoking(self) -> frozenset[str]:
        """Event types whose ``subject`` is a tag to forget."""
        ...

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        """Return whose credential this is. Raises Unauthenticated."""
        ...


class StreamTokens(Protocol):
    """Knows tokens that open a stream where a browser cannot send its credential."""

    async def redeem(self, token: str, now_ms: int) -> str:
        """Return the credential that a stream lives by which is opened with this token.

        It is for ``Authenticator`` alone, and told nobody. Raises Unauthenticated.
        """
        ...


class Person(msgspec.Struct, frozen=True):
    """The user that a caller is, or that made the key it is, as the user is now."""

    id: str
    email: str
    email_verified: bool
    roles: tuple[str, ...]  # names, sorted
    profile: Mapping[str, Any] = {}


class Membership(msgspec.Struct, frozen=True):
    """That a user belongs to an organisation, and as what."""

    organization_id: str
    role: str


class Authority(Protocol):
    """Knows what users and API keys may do at this moment. Handlers reach it with ``call.use``.

    Whatever acts later for somebody (an open stream, a webhook, a schedule) keeps who that was, not
    what they might do then, and asks here each time: rights that were taken are gone there too.
    """

    async def current(self, actor_id: str, tenant: str, now_ms: int) -> Caller | None:
        """Return the user or API key of this id (``Caller.actor``) with the scopes it holds now.

        None once it is revoked, deleted or expired; a key also once anyone in the line of those who
        made it is.
        """
        ...

    async def person(
        self, reader: Reader, actor_id: str, tenant: str, now_ms: int
    ) -> Person | None:
        """Return the user of this id, or the one that the line of an API key of it goes back to.

        None where there is no such user, or where the key is good for nothing any more. It is read
        through the ``reader`` of the call that asks, which may be a transaction.
        """
        ...

    async def memberships(self, reader: Reader, user_id: str, tenant: str) -> Sequence[Membership]:
        """Return what a user is in which organisations, in the order of their ids.

        It is read through the ``reader`` of the call that asks.
        """
        ...

    def hold_user(self, user_id: str, tenant: str) -> Command:
        """Return what finds one row while there is this user, who then stays until the commit."""
        ...

    def hold_organization(self, organization_id: str, tenant: str) -> Command:
        """Return what finds one row while there is this organisation, which then stays."""
        ...


def authorise(scope: str | None, caller: Caller) -> None:
    """Let the caller pass when it holds the scope; None lets anyone pass.

    Raises Unauthenticated for an anonymous caller and Forbidden for a known one (RFC 6750).
    """
    if scope is None or caller.allows(scope):
        return
    if caller.kind == "anonymous":
        raise Unauthenticated("send Authorization: Bearer TOKEN", headers=_CHALLENGE)
    raise Forbidden(
        f"this needs the scope {scope}",
        headers={
            "WWW-Authenticate": (
                f'Bearer realm="mainspring", error="insufficient_scope", scope="{scope}"'
            )
        },
    )


def require_recent(recent_s: int | None, caller: Caller, now_ms: int) -> None:
    """Let a user pass who proved within ``recent_s`` to be there; None lets anyone pass.

    Who is no user passes: nobody stands behind a key who could be asked. A user for whom something
    acts later, in a job say, is not there. Raises StepUpRequired.
    """
    if recent_s is None or caller.kind != "user":
        return
    if caller.auth_ms is not None and elapsed_ms(caller.auth_ms, now_ms) <= recent_s * 1000:
        return
    raise StepUpRequired(
        f"this needs a log-in or a step-up of the session within the last {recent_s} s",
        extra={"max_age_s": recent_s},
        headers={
            "WWW-Authenticate": (
                'Bearer realm="mainspring", error="insufficient_user_authentication", '
                f'max_age="{recent_s}"'
            )
        },
    )

"""Operations on acting as a user."""

from typing import Any

from mainspring import (
    Call,
    Invalid,
    NotFound,
    Page,
    Rerun,
    Unauthenticated,
    elapsed_ms,
    handles,
    is_id,
    rfc3339,
)
from mainspring.ports.keyring import Keyring
from mainspring.services.users import access, api, impersonation, store
from mainspring.services.users.api.errors import ImpersonationThrottled, NotToImpersonate
from mainspring.services.users.api.impersonations import (
    Impersonating,
    ImpersonationInfo,
    ImpersonationQuery,
    ImpersonationToken,
)
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.presenter import present_impersonation
from mainspring.services.users.store import (
    IMPERSONATIONS,
    SESSIONS,
    ImpersonationRow,
    KnownUser,
    SessionRow,
)


@handles(api.impersonate_user)
async def impersonate_user(call: Call, id: str, given: Impersonating) -> ImpersonationToken:
    reason = given.reason.strip()
    if not reason:
        raise Invalid.at("/reason", "says nothing: the user reads why somebody acts as them")
    admin = await access.myself(call)
    if not is_id(id, "user"):
        raise NotFound()
    user = await call.one(store.USER, id=id, tenant=call.tenant)
    _require_suitable(call, user)
    await _require_room(call, admin.id)
    expires_ms = call.now_ms + given.minutes * 60_000
    session = SessionRow(
        id=call.new_id("sess"),
        tenant=call.tenant,
        version=1,
        user_id=user.id,
        generation=1,
        created_ms=call.now_ms,
        rotated_ms=call.now_ms,
        expires_ms=expires_ms,
        auth_ms=0,  # the user proved nothing
        amr="",
        address="",  # it is somebody else's
        user_agent="",
        impersonator_id=admin.id,
    )
    row = ImpersonationRow(
        session.id, call.tenant, user.id, admin.id, call.caller.session_id or "", reason,
        given.write, call.now_ms, expires_ms, None, "",
    )  # fmt: skip
    # The rows of both go along: whoever disables or ends one of them meanwhile is heard.
    call.write(store.HOLD_ENABLED(id=user.id).expect(1, Rerun))
    call.write(store.HOLD_ENABLED(id=admin.id).expect(1, Rerun))
    call.write(SESSIONS.insert(session), IMPERSONATIONS.insert(row))
    call.emit(
        api.ImpersonationStarted(
            row.id, user.id, admin.id, reason, given.write, rfc3339(expires_ms)
        )
    )
    call.enqueue(api.end_impersonation.configure(run_at_ms=expires_ms), impersonation_id=row.id)
    await notify(call, user, Purpose.IMPERSONATED)
    return ImpersonationToken(
        _access_token(call, user, row), given.minutes * 60, present_impersonation(row)
    )


@handles(api.list_impersonations)
async def list_impersonations(call: Call, query: ImpersonationQuery) -> Page[ImpersonationInfo]:
    page, limit = store.IMPERSONATION_PAGE, query.limit
    bounds: dict[str, Any] = {"tenant": call.tenant, "after": query.after_id("sess")}
    if query.user_id is not None:
        page, bounds["user_id"] = store.IMPERSONATION_PAGE_OF, query.user_id
    rows = await call.page(page, limit=limit, **bounds)
    return Page.of(rows, present_impersonation, lambda row: row.id)


@handles(api.stop_impersonation)
async def stop_impersonation(call: Call, id: str) -> None:
    if not is_id(id, "sess"):
        raise NotFound()
    row = await call.one(store.IMPERSONATION, id=id, tenant=call.tenant)
    own = call.caller.kind == "user" and row.impersonator_id in (
        call.caller.id, call.caller.impersonator
    )  # fmt: skip
    if not own and (call.caller.impersonation is not None or not call.caller.allows(api.WRITE)):
        raise NotFound()
    await impersonation.end(call, row, "stopped")


def _require_suitable(call: Call, user: KnownUser) -> None:
    """Raise NotToImpersonate, or ScopeNotHeld, unless the caller may act as this user."""
    if user.disabled_ms is not None:
        raise NotToImpersonate("this user is disabled, and nobody acts as them")
    if impersonation.administers(user.scopes):
        raise NotToImpersonate("this user administrates accounts, and nobody acts as them")
    access.require_over(call, user.scopes)


async def _require_room(call: Call, admin_id: str) -> None:
    """Count what somebody began; of two calls at once one waits, as both come for the session.

    Raises ImpersonationThrottled, and Unauthenticated where the session has ended by now.
    """
    own = await call.find(store.SESSION, id=call.caller.session_id or "", tenant=call.tenant)
    if own is None:
        raise Unauthenticated("your session has ended")
    call.write(SESSIONS.update(own))
    begun = await impersonation.begun_by(call, admin_id)
    open_ms = [row for row in begun if row.ended_ms is None and row.expires_ms > call.now_ms]
    if len(open_ms) >= impersonation.AT_ONCE_MAX:
        raise ImpersonationThrottled(
            f"you act as {len(open_ms)} users just now: stop with one of them first"
        )
    if len(begun) >= impersonation.AN_HOUR_MAX:
        left_ms = impersonation.HOUR_MS - elapsed_ms(begun[-1].started_ms, call.now_ms)
        raise ImpersonationThrottled(
            f"you began {len(begun)} times within an hour: try again later",
            retry_after_s=left_ms / 1000,
        )


def _access_token(call: Call, user: KnownUser, row: ImpersonationRow) -> str:
    """Sign who is acted as, and who acts (RFC 8693, 4.1); it says nothing of a log-in."""
    return call.use(Keyring).sign_token(
        {
            "sub": user.id,
            "sid": row.id,
            "tenant": user.tenant,
            "iat": call.now_ms // 1000,
            "exp": row.expires_ms // 1000,
            "act": {"sub": row.impersonator_id},
        }
    )

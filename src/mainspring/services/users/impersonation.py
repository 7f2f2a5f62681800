"""Who may act as a user, and how it ends. What they may do then each operation declares."""

from mainspring import Call, Caller
from mainspring.services.users import access, api, model, store
from mainspring.services.users.store import SESSIONS, ImpersonationRow, Impersonator, SessionRow

HOUR_MS = 3_600_000
AN_HOUR_MAX = 30  # begun by one person within an hour
AT_ONCE_MAX = 5  # of them at a time
# Whoever holds one of these administrates accounts, and is nobody to act as.
ADMINISTERS = (api.WRITE, api.IMPERSONATE, api.ROLES_WRITE, api.API_KEYS_WRITE,
               api.OAUTH_CLIENTS_WRITE)  # fmt: skip


def administers(scopes: str) -> bool:
    """Tell whether scopes, between spaces, let somebody administrate accounts."""
    held = model.words(scopes)
    return any(model.allows(held, scope) for scope in ADMINISTERS)


def still_may(impersonator: Impersonator, tenant: str, user_scopes: str, now_ms: int) -> bool:
    """Tell whether somebody may go on acting as a user who holds these scopes by now."""
    scopes = frozenset(model.words(impersonator.scopes))
    caller = Caller("user", impersonator.user_id, tenant, scopes)
    return (
        impersonator.session_expires_ms > now_ms
        and caller.allows(api.IMPERSONATE)
        and not administers(user_scopes)
        and access.is_over(caller, user_scopes)
    )


async def begun_by(call: Call, user_id: str) -> list[ImpersonationRow]:
    """Return what somebody began within the last hour, the newest first; none is open before."""
    return await call.all(
        store.IMPERSONATIONS_BY, tenant=call.tenant, impersonator_id=user_id,
        since_ms=call.now_ms - HOUR_MS, limit=AN_HOUR_MAX,
    )  # fmt: skip


async def end_begun_by(call: Call, user_id: str, ended_by: str, session_id: str = "") -> None:
    """Stage the end of what somebody does as others; only what one session began, if given."""
    for row in await begun_by(call, user_id):
        if row.ended_ms is None and session_id in ("", row.begun_in):
            await end(call, row, ended_by)


async def end(call: Call, row: ImpersonationRow, ended_by: str) -> None:
    """Stage the end of somebody's acting as a user, with its session."""
    session = await call.find(store.SESSION, id=row.id, tenant=call.tenant)
    if session is not None:
        call.write(SESSIONS.delete(session))
        call.emit(api.SessionRevoked(session.id, session.user_id, ended_by))
        note_end(call, session, ended_by)
    elif row.ended_ms is None:
        _note_end(call, row.id, row.user_id, row.impersonator_id, ended_by)


def note_end(call: Call, session: SessionRow, ended_by: str) -> None:
    """Stage what is told when a session ends, where somebody acted as its user in it."""
    if session.impersonator_id is not None:
        _note_end(call, session.id, session.user_id, session.impersonator_id, ended_by)


def _note_end(
    call: Call, session_id: str, user_id: str, impersonator_id: str, ended_by: str
) -> None:
    call.write(store.END_IMPERSONATION(id=session_id, now_ms=call.now_ms, ended_by=ended_by))
    call.emit(api.ImpersonationEnded(session_id, user_id, impersonator_id, ended_by))

"""SQL of who acts as a user."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.services.users.store.roles import held


class ImpersonationRow(msgspec.Struct, frozen=True):
    """Somebody acts, or acted, as a user: in a session of the same id, begun in one of their own.

    ``ended_by`` says what ended it, and is empty until then.
    """

    id: str
    tenant: str
    user_id: str
    impersonator_id: str
    begun_in: str
    reason: str
    writes: bool
    started_ms: int
    expires_ms: int
    ended_ms: int | None
    ended_by: str


class Impersonator(msgspec.Struct, frozen=True):
    """Who acts as a user, as they are now: the session they began it in, roles and scopes."""

    user_id: str
    session_id: str
    session_expires_ms: int
    writes: bool
    roles: str
    scopes: str


IMPERSONATIONS = Table("users_impersonations", ImpersonationRow, key=("id",))
_IMPERSONATION = f"SELECT {IMPERSONATIONS.columns} FROM users_impersonations "
IMPERSONATION = Query(
    "users.impersonation", _IMPERSONATION + "WHERE id = :id AND tenant = :tenant", IMPERSONATIONS
)
IMPERSONATION_PAGE = Query(
    "users.impersonation_page",
    _IMPERSONATION + "WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
    IMPERSONATIONS,
)
IMPERSONATION_PAGE_OF = Query(
    "users.impersonation_page_of",
    _IMPERSONATION + "WHERE tenant = :tenant AND user_id = :user_id AND id > :after"
    " ORDER BY id LIMIT :limit",
    IMPERSONATIONS,
)
# Those of one hour, the newest first: an impersonation lasts no longer.
IMPERSONATIONS_BY = Query(
    "users.impersonations_by",
    _IMPERSONATION + "WHERE tenant = :tenant AND impersonator_id = :impersonator_id"
    " AND started_ms > :since_ms ORDER BY started_ms DESC LIMIT :limit",
    IMPERSONATIONS,
)
IMPERSONATOR = Query(
    "users.impersonator",
    f"""SELECT i.impersonator_id, s.id, s.expires_ms, i.writes,
    {held("i.tenant", "i.impersonator_id")}
    FROM users_impersonations i
    JOIN users_users u ON u.id = i.impersonator_id AND u.disabled_ms IS NULL
    JOIN users_sessions s ON s.id = i.begun_in AND s.user_id = i.impersonator_id
    WHERE i.id = :id AND i.ended_ms IS NULL""",
    Impersonator,
)
END_IMPERSONATION = Statement(
    "users.end_impersonation",
    "UPDATE users_impersonations SET ended_ms = :now_ms, ended_by = :ended_by"
    " WHERE id = :id AND ended_ms IS NULL",
)
FORGET_IMPERSONATIONS = Statement(
    "users.forget_impersonations",
    "DELETE FROM users_impersonations WHERE tenant = :tenant AND user_id = :user_id",
)

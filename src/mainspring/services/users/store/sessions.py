"""SQL of sessions."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.services.users.store.roles import held


class SessionRow(msgspec.Struct, frozen=True):
    """A session: a family of refresh tokens of which ``generation`` is the newest.

    Its user was last proved to be there at ``auth_ms``, by ``amr`` (RFC 8176, between spaces), and
    last refreshed it from ``address``, by a program that calls itself ``user_agent``. In one with
    an ``impersonator_id`` that one acts as the user.
    """

    id: str
    tenant: str
    version: int
    user_id: str
    generation: int
    created_ms: int
    rotated_ms: int
    expires_ms: int
    auth_ms: int
    amr: str
    address: str
    user_agent: str
    impersonator_id: str | None


class Bearer(msgspec.Struct, frozen=True):
    """The user a session or an id stands for, with the roles held and the scopes these give.

    ``impersonator_id`` is who acts as that user in the session.
    """

    user_id: str
    tenant: str
    expires_ms: int | None
    impersonator_id: str | None
    roles: str
    scopes: str


SESSIONS = Table("users_sessions", SessionRow, key=("id",))
SESSION = Query(
    "users.session",
    f"SELECT {SESSIONS.columns} FROM users_sessions WHERE id = :id AND tenant = :tenant",
    SESSIONS,
)
SESSION_PAGE = Query(
    "users.session_page",
    f"SELECT {SESSIONS.columns} FROM users_sessions"
    " WHERE tenant = :tenant AND user_id = :user_id AND id > :after AND expires_ms > :now_ms"
    " ORDER BY id LIMIT :limit",
    SESSIONS,
)
SESSIONS_OF = Query(
    "users.sessions_of",
    f"SELECT {SESSIONS.columns} FROM users_sessions"
    " WHERE tenant = :tenant AND user_id = :user_id ORDER BY id DESC LIMIT 500 OFFSET :beyond",
    SESSIONS,
)
END_SESSIONS = Statement(
    "users.end_sessions",
    "DELETE FROM users_sessions WHERE tenant = :tenant AND user_id = :user_id AND id <> :kept",
)
SESSION_BEARER = Query(
    "users.session_bearer",
    f"""SELECT s.user_id, s.tenant, s.expires_ms, s.impersonator_id,
    {held("s.tenant", "s.user_id")}
    FROM users_sessions s JOIN users_users u ON u.id = s.user_id AND u.disabled_ms IS NULL
    WHERE s.id = :id""",
    Bearer,
)
# For what is made by somebody who may be going just now: they wait for each other on the row.
HOLD_SESSION = Statement(
    "users.hold_session",
    "UPDATE users_sessions SET generation = generation WHERE id = :id AND tenant = :tenant",
)

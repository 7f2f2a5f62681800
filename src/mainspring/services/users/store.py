"""All SQL of the users service."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.kernel.sweep import HowMany, Sweep, sweep_of
from mainspring.services.users import model


class UserRow(msgspec.Struct, frozen=True):
    """A user as stored. ``email_key`` makes the address unique in all its spellings."""

    id: str
    tenant: str
    version: int
    email: str
    email_key: str
    email_verified: bool
    display_name: str
    password_hash: str
    created_ms: int
    updated_ms: int


class KnownUser(UserRow, frozen=True):
    """A user with the names of the roles it holds and the scopes these give, between spaces."""

    roles: str
    scopes: str


class RoleRow(msgspec.Struct, frozen=True):
    """A role; ``scopes`` between spaces. The id tells it from a later one of the same name."""

    id: str
    tenant: str
    name: str
    version: int
    scopes: str
    created_ms: int
    updated_ms: int


class GrantRow(msgspec.Struct, frozen=True):
    """That a user holds a role."""

    tenant: str
    user_id: str
    role: str


class SessionRow(msgspec.Struct, frozen=True):
    """A session: a family of refresh tokens of which ``generation`` is the newest."""

    id: str
    tenant: str
    version: int
    user_id: str
    generation: int
    created_ms: int
    rotated_ms: int
    expires_ms: int


class ApiKeyRow(msgspec.Struct, frozen=True):
    """An API key; the key itself is not stored.

    ``maker_id`` is the user or key that made it, ``owner_id`` the user its line of makers begins
    with. Without a maker it stands for itself alone.
    """

    id: str
    tenant: str
    version: int
    name: str
    prefix: str
    hash: bytes
    scopes: str
    owner_id: str | None
    created_ms: int
    expires_ms: int | None
    maker_id: str | None


class FirstKeyRow(msgspec.Struct, frozen=True):
    """That the first administrator's key was made."""

    tenant: str
    key_id: str


class MailTokenRow(msgspec.Struct, frozen=True):
    """A token that was mailed to ``email``; the token itself is derived, not stored."""

    id: str
    tenant: str
    user_id: str
    purpose: str
    email: str
    hash: bytes
    created_ms: int
    expires_ms: int


class FailureRow(msgspec.Struct, frozen=True):
    """Wrong passwords in a row for one address, known or not."""

    tenant: str
    account: bytes
    failures: int
    failed_ms: int


class MailedRow(msgspec.Struct, frozen=True):
    """Mails of one kind to one address, in a row."""

    tenant: str
    account: bytes
    mails: int
    mailed_ms: int


class ReadRow(msgspec.Struct, frozen=True):
    """When somebody last left an event about reading a person; an empty person is a list."""

    tenant: str
    reader: str
    person: str
    read_ms: int


class GoneRow(msgspec.Struct, frozen=True):
    """What somebody held, between spaces, who was deleted and not erased."""

    tenant: str
    id: str
    scopes: str
    gone_ms: int


class Bearer(msgspec.Struct, frozen=True):
    """The user a session or an id stands for, with the roles held and the scopes these give."""

    user_id: str
    tenant: str
    expires_ms: int | None
    roles: str
    scopes: str


class Link(msgspec.Struct, frozen=True):
    """One key in a line of makers; where a user made it, with what that user holds now."""

    id: str
    tenant: str
    maker_id: str | None
    expires_ms: int | None
    scopes: str
    user_id: str | None
    user_roles: str
    user_scopes: str


USERS = Table("users_users", UserRow, key=("id",))
ROLES = Table("users_roles", RoleRow, key=("id",))
GRANTS = Table("users_grants", GrantRow, key=("tenant", "user_id", "role"))
SESSIONS = Table("users_sessions", SessionRow, key=("id",))
API_KEYS = Table("users_api_keys", ApiKeyRow, key=("id",))
FIRST_KEYS = Table("users_first_key", FirstKeyRow, key=("tenant",))
MAIL_TOKENS = Table("users_mail_tokens", MailTokenRow, key=("id",))
FAILURES = Table("users_failures", FailureRow, key=("tenant", "account"))
MAILED = Table("users_mails", MailedRow, key=("tenant", "account"))
READS = Table("users_reads", ReadRow, key=("tenant", "reader", "person"))
GONE = Table("users_gone", GoneRow, key=("tenant", "id"))
LINE_MAX = 8  # keys that were made by one another in a row


def _held(tenant: str, user: str) -> str:
    """Two columns: the roles of a user, and the scopes they give."""
    return f"""
    COALESCE((SELECT string_agg(g.role, ' ') FROM users_grants g
        WHERE g.tenant = {tenant} AND g.user_id = {user}), ''),
    COALESCE((SELECT string_agg(r.scopes, ' ') FROM users_grants g
        JOIN users_roles r ON r.tenant = g.tenant AND r.name = g.role
        WHERE g.tenant = {tenant} AND g.user_id = {user}), '')"""


_USER = f"SELECT {USERS.columns}, {_held('u.tenant', 'u.id')} FROM users_users u "

# Users

USER = Query("users.user", _USER + "WHERE id = :id AND tenant = :tenant", KnownUser)
USER_BY_EMAIL = Query(
    "users.user_by_email", _USER + "WHERE tenant = :tenant AND email_key = :email_key", KnownUser
)
USER_PAGE = Query(
    "users.user_page",
    _USER + "WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
    KnownUser,
)
KEEP_PASSWORD = Statement(
    "users.keep_password",
    """UPDATE users_users SET password_hash = :fresh WHERE id = :id AND password_hash = :hashed
    AND NOT EXISTS (SELECT 1 FROM users_failures
        WHERE tenant = :tenant AND account = :account AND failures > :failures)""",
)

USER_BEARER = Query(
    "users.user_bearer",
    f"""SELECT u.id, u.tenant, NULL, {_held("u.tenant", "u.id")}
    FROM users_users u WHERE u.id = :id""",
    Bearer,
)

GONE_USER = Query(
    "users.gone_user",
    f"SELECT {GONE.columns} FROM users_gone WHERE tenant = :tenant AND id = :id",
    GONE,
)
# Their key in the table may be one of before domains were kept as DNS has them.
SPELT_BEYOND_ASCII = Query(
    "users.spelt_beyond_ascii",
    f"SELECT {USERS.columns} FROM users_users WHERE id > :after AND email GLOB '*[^ -~]*'"
    " ORDER BY id LIMIT :limit",
    USERS,
    postgres=f"SELECT {USERS.columns} FROM users_users WHERE id > :after AND email ~ '[^ -~]'"
    " ORDER BY id LIMIT :limit",
    scans=True,
)
RESPELL = Statement(
    "users.respell",
    "UPDATE users_users SET email = :email, email_key = :email_key, version = version + 1"
    " WHERE id = :id AND email_key = :was",
)

# Roles

ROLE = Query(
    "users.role",
    f"SELECT {ROLES.columns} FROM users_roles WHERE tenant = :tenant AND name = :name",
    ROLES,
)
ROLE_PAGE = Query(
    "users.role_page",
    f"SELECT {ROLES.columns} FROM users_roles WHERE tenant = :tenant AND name > :after"
    " ORDER BY name LIMIT :limit",
    ROLES,
)
TAKE_ROLE_FROM_ALL = Statement(
    "users.take_role_from_all", "DELETE FROM users_grants WHERE tenant = :tenant AND role = :role"
)
TAKE_ALL_ROLES = Statement(
    "users.take_all_roles", "DELETE FROM users_grants WHERE tenant = :tenant AND user_id = :user_id"
)

# Sessions

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
    f"""SELECT s.user_id, s.tenant, s.expires_ms, {_held("s.tenant", "s.user_id")}
    FROM users_sessions s JOIN users_users u ON u.id = s.user_id WHERE s.id = :id""",
    Bearer,
)

# API keys

API_KEY = Query(
    "users.api_key",
    f"SELECT {API_KEYS.columns} FROM users_api_keys WHERE id = :id AND tenant = :tenant",
    API_KEYS,
)
API_KEY_PAGE = Query(
    "users.api_key_page",
    f"SELECT {API_KEYS.columns} FROM users_api_keys WHERE tenant = :tenant AND id > :after"
    " ORDER BY id LIMIT :limit",
    API_KEYS,
)
API_KEY_PAGE_OF = Query(
    "users.api_key_page_of",
    f"SELECT {API_KEYS.columns} FROM users_api_keys"
    " WHERE tenant = :tenant AND owner_id = :owner_id AND id > :after ORDER BY id LIMIT :limit",
    API_KEYS,
)
END_API_KEYS = Statement(
    "users.end_api_keys",
    "DELETE FROM users_api_keys WHERE tenant = :tenant AND owner_id = :owner_id",
)


def _line(first: str) -> str:
    """The line of makers of one key, the key itself first. A longer one than ``LINE_MAX`` is cut.

    A maker that is gone ends the line as well: its last link then names a maker and has no user.
    """
    return f"""
    WITH RECURSIVE line (id, tenant, maker_id, expires_ms, scopes, depth) AS (
        SELECT id, tenant, maker_id, expires_ms, scopes, 1 FROM users_api_keys WHERE {first}
        UNION ALL
        SELECT m.id, m.tenant, m.maker_id, m.expires_ms, m.scopes, line.depth + 1
        FROM line JOIN users_api_keys m ON m.id = line.maker_id AND m.tenant = line.tenant
        WHERE line.depth < {LINE_MAX}
    )
    SELECT line.id, line.tenant, line.maker_id, line.expires_ms, line.scopes, u.id,
        {_held("line.tenant", "u.id")}
    FROM line LEFT JOIN users_users u ON u.id = line.maker_id AND u.tenant = line.tenant
    ORDER BY line.depth"""


KEY_LINE = Query("users.key_line", _line("hash = :hash"), Link)
KEY_LINE_BY_ID = Query("users.key_line_by_id", _line("id = :id"), Link)
_DESCENDANTS = f"""
    WITH RECURSIVE line (id, depth) AS (
        SELECT id, 1 FROM users_api_keys WHERE tenant = :tenant AND maker_id = :maker_id
        UNION ALL
        SELECT k.id, line.depth + 1
        FROM line JOIN users_api_keys k ON k.tenant = :tenant AND k.maker_id = line.id
        WHERE line.depth < {LINE_MAX}
    )
    SELECT id FROM line"""
DESCENDANTS = Query(
    "users.descendants",
    f"SELECT {API_KEYS.columns} FROM users_api_keys WHERE id IN ({_DESCENDANTS}) AND id > :after"
    " ORDER BY id LIMIT :limit",
    API_KEYS,
)
END_DESCENDANTS = Statement(
    "users.end_descendants", f"DELETE FROM users_api_keys WHERE id IN ({_DESCENDANTS})"
)
# For what is made by somebody who may be going just now: they wait for each other on the row.
HOLD_SESSION = Statement(
    "users.hold_session",
    "UPDATE users_sessions SET generation = generation WHERE id = :id AND tenant = :tenant",
)
HOLD_API_KEY = Statement(
    "users.hold_api_key",
    "UPDATE users_api_keys SET name = name WHERE id = :id AND tenant = :tenant",
)
FIRST_KEY = Query(
    "users.first_key",
    f"SELECT {FIRST_KEYS.columns} FROM users_first_key WHERE tenant = :tenant",
    FIRST_KEYS,
)

# Mailed tokens

MAIL_TOKEN = Query(
    "users.mail_token",
    f"SELECT {MAIL_TOKENS.columns} FROM users_mail_tokens WHERE id = :id AND tenant = :tenant",
    MAIL_TOKENS,
)
MAIL_TOKEN_BY_HASH = Query(
    "users.mail_token_by_hash",
    f"SELECT {MAIL_TOKENS.columns} FROM users_mail_tokens WHERE hash = :hash AND tenant = :tenant",
    MAIL_TOKENS,
)
END_MAIL_TOKENS = Statement(
    "users.end_mail_tokens",
    "DELETE FROM users_mail_tokens WHERE tenant = :tenant AND user_id = :user_id",
)
SPEND_MAIL_TOKEN = Statement(
    "users.spend_mail_token", "DELETE FROM users_mail_tokens WHERE id = :id"
)
END_MAIL_TOKENS_FOR = Statement(
    "users.end_mail_tokens_for",
    "DELETE FROM users_mail_tokens WHERE tenant = :tenant AND user_id = :user_id"
    " AND purpose = :purpose",
)
MAILS = Query(
    "users.mails",
    f"SELECT {MAILED.columns} FROM users_mails WHERE tenant = :tenant AND account = :account",
    MAILED,
)
# Touches no row when somebody else has counted one meanwhile.
COUNT_MAIL = Statement(
    "users.count_mail",
    """INSERT INTO users_mails (tenant, account, mails, mailed_ms)
    VALUES (:tenant, :account, 1, :now_ms)
    ON CONFLICT (tenant, account) DO UPDATE SET mails = :mails, mailed_ms = excluded.mailed_ms
        WHERE users_mails.mailed_ms = :mailed_ms""",
)
FORGET_MAILS = Statement(
    "users.forget_mails", "DELETE FROM users_mails WHERE tenant = :tenant AND account = :account"
)

# Reading people

READ = Query(
    "users.read",
    f"SELECT {READS.columns} FROM users_reads"
    " WHERE tenant = :tenant AND reader = :reader AND person = :person",
    READS,
)
NOTE_READ = Statement(
    "users.note_read",
    """INSERT INTO users_reads (tenant, reader, person, read_ms)
    VALUES (:tenant, :reader, :person, :now_ms)
    ON CONFLICT (tenant, reader, person) DO UPDATE SET read_ms = excluded.read_ms""",
)
FORGET_READS_OF = Statement(
    "users.forget_reads_of", "DELETE FROM users_reads WHERE tenant = :tenant AND person = :person"
)
FORGET_READS_BY = Statement(
    "users.forget_reads_by", "DELETE FROM users_reads WHERE tenant = :tenant AND reader = :reader"
)

# Wrong passwords

FAILURE = Query(
    "users.failure",
    f"SELECT {FAILURES.columns} FROM users_failures WHERE tenant = :tenant AND account = :account",
    FAILURES,
)
COUNT_FAILURE = Statement(
    "users.count_failure",
    """INSERT INTO users_failures (tenant, account, failures, failed_ms)
    VALUES (:tenant, :account, 1, :now_ms)
    ON CONFLICT (tenant, account) DO UPDATE SET failed_ms = excluded.failed_ms,
        failures = CASE WHEN users_failures.failed_ms <= :forgotten_ms THEN 1
            ELSE users_failures.failures + 1 END""",
)
FORGET_FAILURES = Statement(
    "users.forget_failures",
    "DELETE FROM users_failures WHERE tenant = :tenant AND account = :account",
)

# What is kept for a time

_ORPHANS = (
    "users_api_keys k WHERE k.maker_id IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM users_api_keys m WHERE m.id = k.maker_id) "
    "AND NOT EXISTS (SELECT 1 FROM users_users u WHERE u.id = k.maker_id)"
)
_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
KEYS_KEPT_MS = 30 * _DAY_MS  # after they expired: a list shows what has
GONE_KEPT_MS = 400 * _DAY_MS  # then only who may do everything erases them
SWEEPS = (
    sweep_of("sessions", "users_sessions", "id", "expires_ms"),
    sweep_of("mailed tokens", "users_mail_tokens", "id", "expires_ms"),
    sweep_of(
        "counts of failed log-ins", "users_failures", "tenant, account", "failed_ms",
        kept_ms=model.FAILURES_FORGOTTEN_MS,
    ),
    sweep_of(
        "counts of mails", "users_mails", "tenant, account", "mailed_ms",
        kept_ms=model.MAILS_FORGOTTEN_MS,
    ),
    sweep_of(
        "notes of who was read", "users_reads", "tenant, reader, person", "read_ms",
        kept_ms=model.READ_TOLD_MS,
    ),
    sweep_of(
        "API keys that expire", "users_api_keys", "id", "expires_ms", kept_ms=KEYS_KEPT_MS,
        where="expires_ms IS NOT NULL",
    ),
    sweep_of(
        "users deleted and not erased", "users_gone", "tenant, id", "gone_ms",
        kept_ms=GONE_KEPT_MS,
    ),
    # Keys made by one that ended at that very moment: nobody can use them.
    Sweep(
        "API keys whose maker is gone",
        Statement(
            "users.sweep_orphans",
            f"DELETE FROM users_api_keys WHERE id IN (SELECT id FROM {_ORPHANS} "
            "AND k.created_ms <= :before_ms LIMIT :limit) RETURNING 1",
        ),
        Query(
            "users.count_orphans",
            f"SELECT COUNT(*) AS rows, MIN(created_ms) AS oldest_ms "
            f"FROM (SELECT k.created_ms FROM {_ORPHANS} LIMIT :most) AS found",
            HowMany,
            scans=True,
        ),
    ),
)  # fmt: skip

"""SQL of users, of who has gone, and of who was read."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.services.users.store.roles import held
from mainspring.services.users.store.sessions import Bearer


class UserRow(msgspec.Struct, frozen=True):
    """A user as stored. ``email_key`` makes the address unique in all its spellings.

    While ``disabled_ms`` is there nothing that stands for the user holds.
    """

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
    disabled_ms: int | None
    disabled_reason: str
    profile: str  # JSON
    locale: str  # empty where nobody has said


class KnownUser(UserRow, frozen=True):
    """A user with the names of the roles it holds and the scopes these give, between spaces."""

    roles: str
    scopes: str


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


USERS = Table("users_users", UserRow, key=("id",))
READS = Table("users_reads", ReadRow, key=("tenant", "reader", "person"))
GONE = Table("users_gone", GoneRow, key=("tenant", "id"))
_USER = f"SELECT {USERS.columns}, {held('u.tenant', 'u.id')} FROM users_users u "
USER = Query("users.user", _USER + "WHERE id = :id AND tenant = :tenant", KnownUser)
USER_BY_EMAIL = Query(
    "users.user_by_email", _USER + "WHERE tenant = :tenant AND email_key = :email_key", KnownUser
)
USER_PAGE = Query(
    "users.user_page",
    _USER + "WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
    KnownUser,
)
# For what is made for somebody who may be changed or going just now.
HOLD_VERSION = Statement(
    "users.hold_version",
    "UPDATE users_users SET email = email WHERE id = :id AND version = :version",
)
# For a session that begins while its user may be disabled, or go, just now.
HOLD_ENABLED = Statement(
    "users.hold_enabled",
    "UPDATE users_users SET email = email WHERE id = :id AND disabled_ms IS NULL",
)
USER_BEARER = Query(
    "users.user_bearer",
    f"""SELECT u.id, u.tenant, NULL, NULL, {held("u.tenant", "u.id")}
    FROM users_users u WHERE u.id = :id AND u.disabled_ms IS NULL""",
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
# Whoever refers to a user keeps them until the commit: SQLite has one writer anyway.
HOLD_USER = Statement(
    "users.hold_user",
    "UPDATE users_users SET version = version WHERE id = :id AND tenant = :tenant",
    postgres="SELECT 1 FROM users_users WHERE id = :id AND tenant = :tenant FOR SHARE",
)
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

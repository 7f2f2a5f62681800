"""SQL of API keys and of the lines they were made in."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.services.users.store.roles import held


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
    addresses: str
    used_ms: int | None


class FirstKeyRow(msgspec.Struct, frozen=True):
    """That the first administrator's key was made."""

    tenant: str
    key_id: str


class Link(msgspec.Struct, frozen=True):
    """One key in a line of makers; where a user made it, with what that user holds now."""

    id: str
    tenant: str
    maker_id: str | None
    expires_ms: int | None
    scopes: str
    addresses: str
    used_ms: int | None
    user_id: str | None
    user_disabled: bool
    user_roles: str
    user_scopes: str


API_KEYS = Table("users_api_keys", ApiKeyRow, key=("id",))
FIRST_KEYS = Table("users_first_key", FirstKeyRow, key=("tenant",))
LINE_MAX = 8  # keys that were made by one another in a row
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
    WITH RECURSIVE line
        (id, tenant, maker_id, expires_ms, scopes, addresses, used_ms, depth) AS (
        SELECT id, tenant, maker_id, expires_ms, scopes, addresses, used_ms, 1
        FROM users_api_keys WHERE {first}
        UNION ALL
        SELECT m.id, m.tenant, m.maker_id, m.expires_ms, m.scopes, m.addresses, m.used_ms,
            line.depth + 1
        FROM line JOIN users_api_keys m ON m.id = line.maker_id AND m.tenant = line.tenant
        WHERE line.depth < {LINE_MAX}
    )
    SELECT line.id, line.tenant, line.maker_id, line.expires_ms, line.scopes,
        line.addresses, line.used_ms, u.id,
        u.disabled_ms IS NOT NULL,
        {held("line.tenant", "u.id")}
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
HOLD_API_KEY = Statement(
    "users.hold_api_key",
    "UPDATE users_api_keys SET name = name WHERE id = :id AND tenant = :tenant",
)
# Of those that note it at once one does.
NOTE_USED = Statement(
    "users.note_used",
    "UPDATE users_api_keys SET used_ms = :now_ms WHERE id = :id"
    " AND (used_ms IS NULL OR used_ms <= :before_ms)",
)
FIRST_KEY = Query(
    "users.first_key",
    f"SELECT {FIRST_KEYS.columns} FROM users_first_key WHERE tenant = :tenant",
    FIRST_KEYS,
)

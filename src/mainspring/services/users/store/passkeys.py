"""SQL of passkeys."""

import msgspec

from mainspring import Query, Statement, Table


class PasskeyRow(msgspec.Struct, frozen=True):
    """A passkey: the authenticator's id of it, its public key (COSE), and how often it signed."""

    id: str
    tenant: str
    version: int
    user_id: str
    credential: bytes
    public_key: bytes
    sign_count: int
    name: str
    transports: str
    aaguid: str
    backup_eligible: bool
    backed_up: bool
    created_ms: int
    used_ms: int | None


PASSKEYS = Table("users_passkeys", PasskeyRow, key=("id",))
PASSKEY = Query(
    "users.passkey",
    f"SELECT {PASSKEYS.columns} FROM users_passkeys"
    " WHERE tenant = :tenant AND user_id = :user_id AND id = :id",
    PASSKEYS,
)
PASSKEY_BY_CREDENTIAL = Query(
    "users.passkey_by_credential",
    f"SELECT {PASSKEYS.columns} FROM users_passkeys"
    " WHERE tenant = :tenant AND credential = :credential",
    PASSKEYS,
)
PASSKEYS_OF = Query(
    "users.passkeys_of",
    f"SELECT {PASSKEYS.columns} FROM users_passkeys"
    " WHERE tenant = :tenant AND user_id = :user_id AND id > :after ORDER BY id LIMIT :limit",
    PASSKEYS,
)
END_PASSKEYS = Statement(
    "users.end_passkeys",
    "DELETE FROM users_passkeys WHERE tenant = :tenant AND user_id = :user_id",
)
# Whoever takes an account back ends what a thief may have added to it.
END_PASSKEYS_SINCE = Statement(
    "users.end_passkeys_since",
    "DELETE FROM users_passkeys WHERE tenant = :tenant AND user_id = :user_id"
    " AND created_ms >= :since_ms",
)

"""SQL of identities: who somebody is at an issuer."""

import msgspec

from mainspring import Query, Statement, Table


class LinkedIdentityRow(msgspec.Struct, frozen=True):
    """That a user is ``subject`` at ``issuer``, which ``provider`` was called in the settings."""

    id: str
    tenant: str
    user_id: str
    provider: str
    issuer: str
    subject: str
    created_ms: int


IDENTITIES = Table("users_identities", LinkedIdentityRow, key=("id",))
IDENTITY = Query(
    "users.identity",
    f"SELECT {IDENTITIES.columns} FROM users_identities"
    " WHERE tenant = :tenant AND user_id = :user_id AND id = :id",
    IDENTITIES,
)
IDENTITY_OF_SUBJECT = Query(
    "users.identity_of_subject",
    f"SELECT {IDENTITIES.columns} FROM users_identities"
    " WHERE tenant = :tenant AND issuer = :issuer AND subject = :subject",
    IDENTITIES,
)
IDENTITIES_OF = Query(
    "users.identities_of",
    f"SELECT {IDENTITIES.columns} FROM users_identities"
    " WHERE tenant = :tenant AND user_id = :user_id AND id > :after ORDER BY id LIMIT :limit",
    IDENTITIES,
)
END_IDENTITIES = Statement(
    "users.end_identities",
    "DELETE FROM users_identities WHERE tenant = :tenant AND user_id = :user_id",
)
END_IDENTITIES_SINCE = Statement(
    "users.end_identities_since",
    "DELETE FROM users_identities WHERE tenant = :tenant AND user_id = :user_id"
    " AND created_ms >= :since_ms",
)

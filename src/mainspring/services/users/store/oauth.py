"""SQL of the identity provider: clients, consents, grants and the keys that sign ID tokens."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.sweep import HowMany, Sweep, sweep_of


class OAuthClientRow(msgspec.Struct, frozen=True):
    """Another application. Lists stand between spaces; a public one has no secret."""

    id: str
    tenant: str
    version: int
    name: str
    secret_hash: bytes | None
    redirect_uris: str
    post_logout_redirect_uris: str
    scopes: str
    skips_consent: bool
    introspects: bool
    created_ms: int
    updated_ms: int


class OAuthConsentRow(msgspec.Struct, frozen=True):
    """What a user lets a client have."""

    id: str
    tenant: str
    version: int
    user_id: str
    client_id: str
    scopes: str
    created_ms: int
    updated_ms: int


class NamedConsent(OAuthConsentRow, frozen=True):
    """A consent with the name of its client."""

    client_name: str


class OAuthGrantRow(msgspec.Struct, frozen=True):
    """One log-in at a client: its code while ``generation`` is 0, its refresh tokens then.

    Without a user it is the client's own.
    """

    id: str
    tenant: str
    version: int
    client_id: str
    user_id: str | None
    session_id: str | None
    scopes: str
    redirect_uri: str
    code_challenge: str
    nonce: str
    auth_ms: int
    amr: str
    generation: int
    created_ms: int
    rotated_ms: int
    expires_ms: int


class HeldGrant(OAuthGrantRow, frozen=True):
    """A grant with what it depends on: None, or no longer there, where that is gone."""

    client_scopes: str
    live_user_id: str | None
    session_ends_ms: int | None


class SigningKeyRow(msgspec.Struct, frozen=True):
    """A key that signs ID tokens: its PEM, sealed. ``number`` counts them."""

    tenant: str
    number: int
    id: str
    sealed: bytes
    created_ms: int


OAUTH_CLIENTS = Table("users_oauth_clients", OAuthClientRow, key=("id",))
OAUTH_CLIENT = Query(
    "users.oauth_client",
    f"SELECT {OAUTH_CLIENTS.columns} FROM users_oauth_clients WHERE id = :id AND tenant = :tenant",
    OAUTH_CLIENTS,
)
OAUTH_CLIENT_PAGE = Query(
    "users.oauth_client_page",
    f"SELECT {OAUTH_CLIENTS.columns} FROM users_oauth_clients"
    " WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
    OAUTH_CLIENTS,
)

OAUTH_CONSENTS = Table("users_oauth_consents", OAuthConsentRow, key=("id",))
OAUTH_CONSENT = Query(
    "users.oauth_consent",
    f"SELECT {OAUTH_CONSENTS.columns} FROM users_oauth_consents"
    " WHERE tenant = :tenant AND user_id = :user_id AND client_id = :client_id",
    OAUTH_CONSENTS,
)
OAUTH_CONSENT_OF = Query(
    "users.oauth_consent_of",
    f"SELECT {OAUTH_CONSENTS.columns} FROM users_oauth_consents"
    " WHERE tenant = :tenant AND user_id = :user_id AND id = :id",
    OAUTH_CONSENTS,
)
_CONSENT_COLUMNS = ", ".join(f"a.{name}" for name in OAuthConsentRow.__struct_fields__)
OAUTH_CONSENT_PAGE = Query(
    "users.oauth_consent_page",
    f"""SELECT {_CONSENT_COLUMNS}, c.name
    FROM users_oauth_consents a JOIN users_oauth_clients c ON c.id = a.client_id
    WHERE a.tenant = :tenant AND a.user_id = :user_id AND a.id > :after
    ORDER BY a.id LIMIT :limit""",
    NamedConsent,
)
END_OAUTH_CONSENTS = Statement(
    "users.end_oauth_consents",
    "DELETE FROM users_oauth_consents WHERE tenant = :tenant AND user_id = :user_id",
)

OAUTH_GRANTS = Table("users_oauth_grants", OAuthGrantRow, key=("id",))
_GRANT_COLUMNS = ", ".join(f"g.{name}" for name in OAuthGrantRow.__struct_fields__)
# With its client, or it is not there at all; what holds of user and session is told.
OAUTH_GRANT = Query(
    "users.oauth_grant",
    f"""SELECT {_GRANT_COLUMNS}, c.scopes, u.id, s.expires_ms
    FROM users_oauth_grants g JOIN users_oauth_clients c ON c.id = g.client_id
    LEFT JOIN users_users u ON u.id = g.user_id AND u.disabled_ms IS NULL
    LEFT JOIN users_sessions s ON s.id = g.session_id
    WHERE g.id = :id AND g.tenant = :tenant""",
    HeldGrant,
)
OAUTH_GRANTS_OF = Query(
    "users.oauth_grants_of",
    f"SELECT {OAUTH_GRANTS.columns} FROM users_oauth_grants"
    " WHERE tenant = :tenant AND user_id = :user_id AND client_id = :client_id"
    " ORDER BY id LIMIT :limit",
    OAUTH_GRANTS,
)
OAUTH_GRANTS_OF_USER = Query(
    "users.oauth_grants_of_user",
    f"SELECT {OAUTH_GRANTS.columns} FROM users_oauth_grants"
    " WHERE tenant = :tenant AND user_id = :user_id ORDER BY client_id, id LIMIT :limit",
    OAUTH_GRANTS,
)
END_OAUTH_GRANTS = Statement(
    "users.end_oauth_grants",
    "DELETE FROM users_oauth_grants WHERE tenant = :tenant AND user_id = :user_id",
)
END_OAUTH_GRANTS_AT = Statement(
    "users.end_oauth_grants_at",
    "DELETE FROM users_oauth_grants"
    " WHERE tenant = :tenant AND user_id = :user_id AND client_id = :client_id",
)
# Made by a client that may be going just now: they wait for each other on the row.
HOLD_OAUTH_CLIENT = Statement(
    "users.hold_oauth_client",
    "UPDATE users_oauth_clients SET name = name WHERE id = :id AND tenant = :tenant",
)

SIGNING_KEYS = Table("users_signing_keys", SigningKeyRow, key=("tenant", "number"))
SIGNING_KEY = SealedColumn(SIGNING_KEYS, "sealed", "users.signing_key")
SIGNING_KEYS_KEPT = Query(
    "users.signing_keys",
    f"SELECT {SIGNING_KEYS.columns} FROM users_signing_keys WHERE tenant = :tenant"
    " ORDER BY number DESC LIMIT :limit",
    SIGNING_KEYS,
)

_CLIENTLESS = (
    "users_oauth_consents a WHERE NOT EXISTS "
    "(SELECT 1 FROM users_oauth_clients c WHERE c.id = a.client_id)"
)
_FIRST_CLIENTLESS = f"SELECT id FROM {_CLIENTLESS} AND a.created_ms <= :before_ms LIMIT :limit"
OAUTH_SWEEPS = (
    sweep_of("grants of other applications", "users_oauth_grants", "id", "expires_ms"),
    Sweep(
        "consents to applications that are gone",
        Statement(
            "users.sweep_clientless",
            f"DELETE FROM users_oauth_consents WHERE id IN ({_FIRST_CLIENTLESS}) RETURNING 1",
            postgres="DELETE FROM users_oauth_consents "
            f"WHERE id = ANY (ARRAY({_FIRST_CLIENTLESS})) RETURNING 1",
        ),
        Query(
            "users.count_clientless",
            f"SELECT COUNT(*) AS rows, MIN(created_ms) AS oldest_ms "
            f"FROM (SELECT a.created_ms FROM {_CLIENTLESS} LIMIT :most) AS found",
            HowMany,
            scans=True,
        ),
    ),
)

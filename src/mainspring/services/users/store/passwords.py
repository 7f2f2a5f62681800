"""SQL of passwords and of wrong ones in a row."""

import msgspec

from mainspring import Query, Statement, Table


class FailureRow(msgspec.Struct, frozen=True):
    """Wrong passwords in a row for one address, known or not."""

    tenant: str
    account: bytes
    failures: int
    failed_ms: int


class HashShapeRow(msgspec.Struct, frozen=True):
    """A kind of hash that users came with: a hash like it, which is nobody's."""

    tenant: str
    decoy: str


HASH_SHAPES = Table("users_hash_shapes", HashShapeRow, key=("tenant", "decoy"))
HASH_SHAPES_OF = Query(
    "users.hash_shapes_of",
    f"SELECT {HASH_SHAPES.columns} FROM users_hash_shapes WHERE tenant = :tenant"
    " ORDER BY decoy LIMIT :limit",
    HASH_SHAPES,
)
FAILURES = Table("users_failures", FailureRow, key=("tenant", "account"))
KEEP_PASSWORD = Statement(
    "users.keep_password",
    """UPDATE users_users SET password_hash = :fresh WHERE id = :id AND password_hash = :hashed
    AND NOT EXISTS (SELECT 1 FROM users_failures
        WHERE tenant = :tenant AND account = :account AND failures > :failures)""",
)
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

"""SQL of second factors, and of tickets: what was begun and is to be ended once."""

import msgspec

from mainspring import Query, Statement, Table
from mainspring.kernel.sealed import SealedColumn


class TotpRow(msgspec.Struct, frozen=True):
    """An authenticator app. ``secret`` is sealed; no code of a ``step`` up to this is taken."""

    id: str
    tenant: str
    version: int
    user_id: str
    secret: bytes
    step: int
    created_ms: int
    confirmed_ms: int | None


class RecoveryCodeRow(msgspec.Struct, frozen=True):
    """A recovery code that was not used yet, as a keyed hash."""

    tenant: str
    user_id: str
    hash: bytes


class TicketRow(msgspec.Struct, frozen=True):
    """What was begun and is to be ended once; ``data`` is sealed, the token itself derived."""

    id: str
    tenant: str
    kind: str
    user_id: str | None
    hash: bytes
    data: bytes
    created_ms: int
    expires_ms: int


TOTPS = Table("users_totp", TotpRow, key=("id",))
TOTP_SECRET = SealedColumn(TOTPS, "secret", "users.totp")
TOTP = Query(
    "users.totp",
    f"SELECT {TOTPS.columns} FROM users_totp WHERE tenant = :tenant AND user_id = :user_id",
    TOTPS,
)
END_TOTP = Statement(
    "users.end_totp", "DELETE FROM users_totp WHERE tenant = :tenant AND user_id = :user_id"
)

RECOVERY_CODES = Table("users_recovery_codes", RecoveryCodeRow, key=("tenant", "user_id", "hash"))
RECOVERY_CODES_OF = Query(
    "users.recovery_codes_of",
    f"SELECT {RECOVERY_CODES.columns} FROM users_recovery_codes"
    " WHERE tenant = :tenant AND user_id = :user_id LIMIT 100",
    RECOVERY_CODES,
)
SPEND_RECOVERY_CODE = Statement(
    "users.spend_recovery_code",
    "DELETE FROM users_recovery_codes WHERE tenant = :tenant AND user_id = :user_id"
    " AND hash = :hash",
)
END_RECOVERY_CODES = Statement(
    "users.end_recovery_codes",
    "DELETE FROM users_recovery_codes WHERE tenant = :tenant AND user_id = :user_id",
)

TICKETS = Table("users_tickets", TicketRow, key=("id",))
TICKET_BY_HASH = Query(
    "users.ticket_by_hash",
    f"SELECT {TICKETS.columns} FROM users_tickets WHERE hash = :hash AND tenant = :tenant",
    TICKETS,
)
SPEND_TICKET = Statement("users.spend_ticket", "DELETE FROM users_tickets WHERE id = :id")
END_TICKETS = Statement(
    "users.end_tickets",
    "DELETE FROM users_tickets WHERE tenant = :tenant AND user_id = :user_id",
)

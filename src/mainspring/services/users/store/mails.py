"""SQL of mailed tokens and of how many mails went where."""

import msgspec

from mainspring import Query, Statement, Table


class MailTokenRow(msgspec.Struct, frozen=True):
    """A token that was mailed to ``email``; the token itself is derived, not stored.

    ``about`` is what the mail tells besides.
    """

    id: str
    tenant: str
    user_id: str
    purpose: str
    email: str
    hash: bytes
    created_ms: int
    expires_ms: int
    about: str


class MailedRow(msgspec.Struct, frozen=True):
    """Mails of one kind to one address, in a row."""

    tenant: str
    account: bytes
    mails: int
    mailed_ms: int


MAIL_TOKENS = Table("users_mail_tokens", MailTokenRow, key=("id",))
MAILED = Table("users_mails", MailedRow, key=("tenant", "account"))
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
# What tells of a change, and can undo it, outlives the next one: a thief may make two.
END_MAIL_TOKENS_FOR_OTHER_ADDRESS = Statement(
    "users.end_mail_tokens_for_other_address",
    "DELETE FROM users_mail_tokens WHERE tenant = :tenant AND user_id = :user_id"
    " AND purpose IN ('verify_email', 'change_email', 'reset_password', 'log_in')",
)
END_MAIL_TOKENS_FROM = Statement(
    "users.end_mail_tokens_from",
    "DELETE FROM users_mail_tokens WHERE tenant = :tenant AND user_id = :user_id"
    " AND (id >= :id OR purpose <> 'address_changed')",
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
# Touches no row when the window is full by now.
COUNT_IN_WINDOW = Statement(
    "users.count_in_window",
    """INSERT INTO users_mails (tenant, account, mails, mailed_ms)
    VALUES (:tenant, :account, 1, :now_ms)
    ON CONFLICT (tenant, account) DO UPDATE SET
        mails = CASE WHEN users_mails.mailed_ms <= :ended_ms THEN 1 ELSE users_mails.mails + 1 END,
        mailed_ms = CASE WHEN users_mails.mailed_ms <= :ended_ms THEN excluded.mailed_ms
            ELSE users_mails.mailed_ms END
        WHERE users_mails.mailed_ms <= :ended_ms OR users_mails.mails < :most""",
)
FORGET_MAILS = Statement(
    "users.forget_mails", "DELETE FROM users_mails WHERE tenant = :tenant AND account = :account"
)

"""Mails to users: what they are for, how many there may be, and the tokens they carry.

Not a job of its own: operations stage mails with what they decide, and jobs send them.
"""

import base64
from enum import StrEnum

from mainspring import Call, Rerun, elapsed_ms
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, model, store
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import MailThrottled
from mainspring.services.users.store import MAIL_TOKENS, MailTokenRow, UserRow

CODE_DIGITS = 6
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class Purpose(StrEnum):
    """What a mail is for. ``ADDRESS_TAKEN`` and notices but ``ADDRESS_CHANGED`` show no token."""

    VERIFY_EMAIL = "verify_email"
    CHANGE_EMAIL = "change_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    LOG_IN = "log_in"
    ADDRESS_CHANGED = "address_changed"
    ADDRESS_REPLACED = "address_replaced"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    API_KEY_CREATED = "api_key_created"
    SESSIONS_ENDED = "sessions_ended"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    PASSKEY_REFUSED = "passkey_refused"
    NEW_DEVICE = "new_device"
    IMPERSONATED = "impersonated"
    ADDRESS_TAKEN = "address_taken"
    INVITATION = "invitation"


# What tells somebody what was done to their account, by whoever it was.
NOTICES = frozenset(
    {
        Purpose.ADDRESS_CHANGED, Purpose.ADDRESS_REPLACED, Purpose.PASSWORD_CHANGED,
        Purpose.API_KEY_CREATED, Purpose.SESSIONS_ENDED, Purpose.NEW_DEVICE,
        Purpose.IMPERSONATED, Purpose.FACTOR_ADDED, Purpose.FACTOR_REMOVED,
        Purpose.PASSKEY_REFUSED,
    }
)  # fmt: skip


async def notify(call: Call, user: UserRow, notice: Purpose, about: str = "") -> None:
    """Stage a notice of what was done to an account, to the address that it has had until now.

    An address that was never proved may be a stranger's: nothing goes there.
    """
    if user.email_verified and notice not in call.use(UsersSettings).quiet_notices:
        await mail(call, user, notice, about=about)


def mailed(call: Call, what: str, purpose: Purpose) -> bytes:
    """Name an address, or whoever has mails sent, where mails are counted, without keeping it."""
    said = f"{purpose.value}/{what}".encode()
    return call.use(Keyring).fingerprint(said, purpose="users.mail")


async def mail_wait_ms(call: Call, account: bytes, *, freely: bool = False) -> int:
    """Count a mail for an account; where it is too soon, count none and return for how long.

    ``mail_every_s`` lies between the first ones too, unless these go ``freely``.
    """
    every_ms = call.use(UsersSettings).mail_every_s * 1000
    row = await call.find(store.MAILS, tenant=call.tenant, account=account)
    mails, mailed_ms = (0, 0) if row is None else (row.mails, row.mailed_ms)
    first_ms = 0 if freely else every_ms
    wait_ms = model.mail_wait_ms(mails, mailed_ms, call.now_ms, first_ms, every_ms)
    if not wait_ms:
        if elapsed_ms(mailed_ms, call.now_ms) >= model.MAILS_FORGOTTEN_MS:
            mails = 0
        count = store.COUNT_MAIL(
            tenant=call.tenant, account=account, now_ms=call.now_ms,
            mails=mails + 1, mailed_ms=mailed_ms,
        )  # fmt: skip
        call.write(count.expect(1, Rerun))
    return wait_ms


def to_address(call: Call, email_key: str) -> bytes:
    """Name an address where all mails to it are counted, of whatever kind."""
    return call.use(Keyring).fingerprint(f"address/{email_key}".encode(), purpose="users.mail")


async def count_for_caller(call: Call) -> None:
    """Count that a caller has a mail sent to whatever address. Raises MailThrottled.

    Asked before it is known whether the address has an account: the answer tells nothing of that.
    Those who may write users are not counted.
    """
    if call.caller.allows(api.WRITE):
        return
    said = f"caller/{call.account}".encode()
    account = call.use(Keyring).fingerprint(said, purpose="users.mail")
    most = call.use(UsersSettings).mails_per_caller_hour
    if ends_ms := await _is_full(call, account, HOUR_MS, most):
        raise MailThrottled(
            f"you had {most:,} mails sent within an hour: try again later",
            retry_after_s=ends_ms / 1000,
        )


async def _is_full(call: Call, account: bytes, window_ms: int, most: int) -> int:
    """Count one more within a window; where it is full, count none and return when it ends."""
    row = await call.find(store.MAILS, tenant=call.tenant, account=account)
    if row is not None and row.mails >= most:
        left_ms = window_ms - elapsed_ms(row.mailed_ms, call.now_ms)
        if left_ms > 0:
            return left_ms
    count = store.COUNT_IN_WINDOW(
        tenant=call.tenant, account=account, now_ms=call.now_ms,
        ended_ms=call.now_ms - window_ms, most=most,
    )  # fmt: skip
    call.write(count.expect(1, Rerun))
    return 0


async def mail(
    call: Call,
    user: UserRow,
    purpose: Purpose,
    email: str | None = None,
    token_id: str | None = None,
    about: str = "",
) -> None:
    """Stage a mail to the user's address, or another one of theirs, and the token it carries.

    Nothing is staged when one of its kind went there just now: ``mail_every_s`` lies between the
    first ones, and ever more between further ones; nor after all that an address gets in a day.
    What was mailed before still holds then.
    """
    settings = call.use(UsersSettings)
    address = email or user.email
    key = model.email_key(address)
    if await mail_wait_ms(call, mailed(call, key, purpose)):
        return
    # Otherwise mails that anyone can ask for would keep the notice of a theft away.
    if purpose not in NOTICES and not await has_room(call, key):
        return
    token_id = token_id or call.new_id("mtok")
    row = MailTokenRow(
        id=token_id,
        tenant=call.tenant,
        user_id=user.id,
        purpose=purpose.value,
        email=address,
        hash=model.secret_hash(token_text(call, token_id)),
        created_ms=call.now_ms,
        expires_ms=call.now_ms + life_s(settings, purpose) * 1000,
        about=about,
    )
    call.write(MAIL_TOKENS.insert(row))
    call.enqueue(api.send_token, token_id=token_id)


async def has_room(call: Call, email_key: str) -> bool:
    """Count one more mail to an address; False when it has had all that it gets in a day."""
    most = call.use(UsersSettings).mails_per_address_day
    return not await _is_full(call, to_address(call, email_key), DAY_MS, most)


def life_s(settings: UsersSettings, purpose: Purpose) -> int:
    """How long the token of a mail holds."""
    if purpose is Purpose.RESET_PASSWORD:
        return settings.reset_token_s
    if purpose is Purpose.ADDRESS_CHANGED:
        return settings.undo_token_s
    if purpose is Purpose.INVITATION:
        return settings.invitation_s
    return settings.log_in_token_s if purpose is Purpose.LOG_IN else settings.verify_token_s


def code_text(call: Call, token_id: str) -> str:
    """Derive the six digits that stand for a token where the browser that asked is known."""
    proof = call.use(Keyring).fingerprint(token_id.encode(), purpose="users.mail_code")
    return f"{int.from_bytes(proof[:16]) % 10**CODE_DIGITS:0{CODE_DIGITS}}"


def token_text(call: Call, token_id: str) -> str:
    """Derive a token from its id: it is stored nowhere."""
    proof = call.use(Keyring).fingerprint(token_id.encode(), purpose="users.mail_token")
    return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()

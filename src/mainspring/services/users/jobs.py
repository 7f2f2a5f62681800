"""Jobs: the mails that carry tokens, and what an erasure leaves to do."""

import base64
from enum import StrEnum

from mainspring import Call, Rerun, elapsed_ms, handles
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.ports.mail import Mail, MailMessage
from mainspring.services.users import api, model, store
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.store import MAIL_TOKENS, MailTokenRow, UserRow

api.service.keeps(*store.SWEEPS)


class Purpose(StrEnum):
    """What a mail is for. All but ``ADDRESS_TAKEN`` carry a token."""

    VERIFY_EMAIL = "verify_email"
    CHANGE_EMAIL = "change_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105
    ADDRESS_TAKEN = "address_taken"


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


async def mail(call: Call, user: UserRow, purpose: Purpose, email: str | None = None) -> None:
    """Stage a mail to the user's address, or another one of theirs, and the token it carries.

    Nothing is staged when one of its kind went there just now: ``mail_every_s`` lies between the
    first ones, and ever more between further ones. What was mailed before still holds then.
    """
    settings = call.use(UsersSettings)
    address = email or user.email
    account = mailed(call, model.email_key(address), purpose)
    if await mail_wait_ms(call, account):
        return
    reset = purpose is Purpose.RESET_PASSWORD
    life_s = settings.reset_token_s if reset else settings.verify_token_s
    token_id = call.new_id("mtok")
    row = MailTokenRow(
        id=token_id,
        tenant=call.tenant,
        user_id=user.id,
        purpose=purpose.value,
        email=address,
        hash=model.secret_hash(_token(call, token_id)),
        created_ms=call.now_ms,
        expires_ms=call.now_ms + life_s * 1000,
    )
    call.write(MAIL_TOKENS.insert(row))
    call.enqueue(api.send_token, token_id=token_id)


@handles(api.send_token)
async def send_token(call: Call, token_id: str) -> None:
    row = await call.find(store.MAIL_TOKEN, id=token_id, tenant=call.tenant)
    if row is None or row.expires_ms <= call.now_ms:
        return  # used, replaced or too late
    token = _token(call, token_id)
    subject, text = _words(call.use(UsersSettings), Purpose(row.purpose), token)
    await call.use(Mail).send(MailMessage(token_id, row.email, subject, text, row.user_id))


@handles(api.start_reset)
async def start_reset(call: Call, user_id: str | None) -> None:
    if user_id is None:
        return
    user = await call.find(store.USER, id=user_id, tenant=call.tenant)
    if user is not None:
        await mail(call, user, Purpose.RESET_PASSWORD)


@handles(api.forget_mail)
async def forget_mail(call: Call, person: str, again: bool = True) -> None:
    await call.use(Mail).forget(person)
    if again:
        after_ms = call.now_ms + int(api.send_token.timeout_s * 1000)
        call.enqueue(api.forget_mail.configure(run_at_ms=after_ms), person=person, again=False)


@handles(api.scrub)
async def scrub(call: Call) -> None:
    await call.use(Database).scrub()


def _token(call: Call, token_id: str) -> str:
    proof = call.use(Keyring).fingerprint(token_id.encode(), purpose="users.mail_token")
    return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


def _words(settings: UsersSettings, purpose: Purpose, token: str) -> tuple[str, str]:
    """Subject and text of a mail."""
    product = settings.product
    if purpose is Purpose.ADDRESS_TAKEN:
        return f"{product}: you have an account already", (
            "Somebody, perhaps you, gave this address for an account. It has one already: log in"
            " with it, or ask for another password. If it was not you, ignore this mail.\n"
        )
    if purpose is Purpose.RESET_PASSWORD:
        subject, url = f"{product}: reset your password", settings.reset_url
        ask, life_s = "Choose a new password", settings.reset_token_s
    else:
        subject, url = f"{product}: confirm your e-mail address", settings.verify_url
        ask, life_s = "Confirm that this address is yours", settings.verify_token_s
    what = url.replace("{token}", token) if url else token
    how = "with this link" if url else "with this token"
    hours = max(1, round(life_s / 3600))
    return subject, (
        f"{ask} {how}:\n\n{what}\n\nIt holds for {hours} h and can be used once. If you did not ask"
        " for this, ignore this mail.\n"
    )

"""Logging in with a link or a code that is mailed, and no password."""

import hmac
from typing import ClassVar

import msgspec

from mainspring import Call, Entropy, Invalid, Response, handles
from mainspring.ports.keyring import Keyring
from mainspring.services.users import (
    api,
    mailing,
    model,
    password_check,
    screening,
    second_factor,
    store,
    tickets,
)
from mainspring.services.users.api.errors import (
    BadMailToken,
    LogInLinksOff,
    LogInThrottled,
    WrongLogInCode,
)
from mainspring.services.users.api.structs import LogInAsked, LogInProof, LogInWish, Tokens
from mainspring.services.users.mailing import Purpose
from mainspring.services.users.operations.api_keys import end_api_keys
from mainspring.services.users.operations.sessions import admit, end_sessions
from mainspring.services.users.passwords import Passwords
from mainspring.services.users.presenter import present_user
from mainspring.services.users.store import USERS, KnownUser, MailTokenRow

BY_MAIL = "email"  # what tokens say of how somebody proved who they are


class LogInByMail(msgspec.Struct, frozen=True):
    """What is remembered of whoever asked: which mail, and where wrong codes are counted."""

    KIND: ClassVar[str] = "log_in"
    token_id: str
    account: str


@handles(api.magic_session)
async def magic_session(call: Call, wish: LogInWish) -> LogInAsked:
    _require_on(call)
    life_s = call.use(api.UsersSettings).log_in_token_s
    email_key = model.email_key(model.email(wish.email))
    await screening.require_human(call, "log_in_by_mail", wish.captcha)
    await mailing.count_for_caller(call)
    user = await password_check.find_user(call, wish.email)
    asked = LogInByMail(call.new_id("mtok"), _account(call, email_key).hex())
    request = tickets.issue(call, LogInByMail.KIND, asked, life_s, None)
    # Known or not, the same is written: what differs is the job's.
    user_id = None if user is None else user.id
    call.enqueue(api.start_log_in, user_id=user_id, token_id=asked.token_id)
    return LogInAsked(request, life_s)


@handles(api.redeem_log_in)
async def redeem_log_in(call: Call, proof: LogInProof) -> Response[Tokens]:
    _require_on(call)
    if proof.token is not None and proof.request is None and proof.code is None:
        refusal = BadMailToken.at("/token", "is unknown, used or expired: ask for another mail")
        hashed = model.secret_hash(proof.token)
        token = await call.find(store.MAIL_TOKEN_BY_HASH, tenant=call.tenant, hash=hashed)
        if not _holds(call, token):
            raise refusal
    elif proof.token is None and proof.request is not None and proof.code is not None:
        refusal = BadMailToken.at("/request", "is unknown, used or expired: ask for another mail")
        token = await _by_code(call, proof.request, proof.code, refusal)
    else:
        raise Invalid("give either the token of the link, or the request and the code")
    assert token is not None
    user = await call.find(store.USER, id=token.user_id, tenant=call.tenant)
    if user is None or user.email != token.email:
        raise refusal
    call.write(store.SPEND_MAIL_TOKEN(id=token.id).expect(1, refusal))
    of_kind = {"user_id": user.id, "purpose": Purpose.LOG_IN.value}
    call.write(store.END_MAIL_TOKENS_FOR(tenant=call.tenant, **of_kind))
    account = _account(call, user.email_key)
    failures = await _failures(call, account)
    fresh = None if user.email_verified else await _nobodys_password(call)
    password_check.forget_failures(call, account, failures, user, fresh)
    first = not user.email_verified
    if first:
        user = await _prove(call, user)
    return await admit(call, user, [BY_MAIL], ends_factors=first)


async def _by_code(
    call: Call, request: str, code: str, refusal: BadMailToken
) -> MailTokenRow | None:
    """Return what was mailed with a code. Raises WrongLogInCode, which is counted."""
    ticket = await tickets.find(call, LogInByMail.KIND, request)
    if ticket is None:
        raise refusal
    asked = tickets.read(call, ticket, LogInByMail)
    account = bytes.fromhex(asked.account)
    await password_check.refuse_throttled(call, account, LogInThrottled)
    token = await call.find(store.MAIL_TOKEN, id=asked.token_id, tenant=call.tenant)
    right = hmac.compare_digest(mailing.code_text(call, asked.token_id), code)
    if not right or not _holds(call, token):
        password_check.count_failure(call, account)
        raise WrongLogInCode()
    tickets.spend(call, ticket, refusal)
    return token


def _holds(call: Call, token: MailTokenRow | None) -> bool:
    return token is not None and token.expires_ms > call.now_ms and token.purpose == Purpose.LOG_IN


async def _prove(call: Call, user: KnownUser) -> KnownUser:
    """Take the address as proved: whoever came in before may have been somebody else.

    Somebody may have signed up with the address of another and waits for them. Their password,
    sessions, keys and factors are worth nothing from here on.
    """
    proved = msgspec.structs.replace(
        user, email_verified=True, version=user.version + 1, updated_ms=call.now_ms
    )
    call.write(USERS.update(user, email_verified=True, updated_ms=call.now_ms))
    call.emit(api.UserUpdated(**msgspec.structs.asdict(present_user(proved))))
    call.emit(api.PasswordChanged(user.id, "log_in"))
    await end_sessions(call, user.id, "email")
    await end_api_keys(call, user.id)
    await second_factor.forget_what_strangers_made(call, user.id, "log_in")
    return proved


async def _nobodys_password(call: Call) -> str:
    text = model.key_text(call.use(Entropy).token(model.KEY_SECRET_BYTES))
    return await call.use(Passwords).hash(text, share=call.account)


async def _failures(call: Call, account: bytes) -> int:
    row = await call.find(store.FAILURE, tenant=call.tenant, account=account)
    return 0 if row is None else row.failures


def _account(call: Call, email_key: str) -> bytes:
    """Name an address where wrong codes are counted, apart from wrong passwords."""
    return call.use(Keyring).fingerprint(email_key.encode(), purpose="users.log_in_code")


def _require_on(call: Call) -> None:
    if not call.use(api.UsersSettings).log_in_links:
        raise LogInLinksOff("log in with your password")

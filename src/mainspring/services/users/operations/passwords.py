"""Operations on passwords: changing one that is known, resetting one that is not."""

from mainspring import Call, handles
from mainspring.services.users import (
    access,
    api,
    model,
    password_check,
    screening,
    second_factor,
    store,
)
from mainspring.services.users.api.errors import (
    BadMailToken,
    WrongPassword,
)
from mainspring.services.users.api.structs import PasswordChange, PasswordReset, ResetRequest
from mainspring.services.users.mailing import Purpose, count_for_caller, notify
from mainspring.services.users.operations.api_keys import end_api_keys
from mainspring.services.users.operations.sessions import end_sessions
from mainspring.services.users.store import USERS, KnownUser


@handles(api.change_password)
async def change_password(call: Call, change: PasswordChange) -> None:
    user = await access.myself(call)
    if not await password_check.password_is_right(call, user.email_key, user, change.password):
        raise WrongPassword()
    hashed = await password_check.new_password(
        call, change.new_password, user.email, "/new_password"
    )
    await _set(call, user, hashed, "change", kept=call.caller.session_id or "")
    if not change.keep_api_keys:
        await end_api_keys(call, user.id)


@handles(api.request_password_reset)
async def request_password_reset(call: Call, request: ResetRequest) -> None:
    email_key = model.email_key(model.email(request.email))
    await screening.require_human(call, "reset", request.captcha)
    await count_for_caller(call)
    user = await password_check.find_user(call, request.email)
    account = password_check.account_of(call, email_key).hex()
    once = api.start_reset.configure(unique_key=f"users.reset:{account}")
    call.enqueue(once, user_id=None if user is None else user.id)


@handles(api.reset_password)
async def reset_password(call: Call, reset: PasswordReset) -> None:
    refusal = BadMailToken.at("/token", "is unknown, used or expired: ask for another mail")
    token = await call.find(
        store.MAIL_TOKEN_BY_HASH,
        tenant=call.tenant,
        hash=model.secret_hash(reset.token),
    )
    if token is None or token.expires_ms <= call.now_ms or token.purpose != Purpose.RESET_PASSWORD:
        raise refusal
    user = await call.find(store.USER, id=token.user_id, tenant=call.tenant)
    if user is None or user.email != token.email:
        raise refusal
    hashed = await password_check.new_password(call, reset.password, user.email)
    # Of two calls with one token the other may have read the user after this one's commit.
    call.write(store.SPEND_MAIL_TOKEN(id=token.id).expect(1, refusal))
    await _set(call, user, hashed, "reset", kept="")
    await end_api_keys(call, user.id)
    if not user.email_verified:
        await second_factor.forget_what_strangers_made(call, user.id, "reset")


async def _set(call: Call, user: KnownUser, hashed: str, how: str, kept: str) -> None:
    """Stage a new password. The row goes first: a login that waits for it sees the new one."""
    verified = user.email_verified or how == "reset"
    call.write(
        USERS.update(user, password_hash=hashed, email_verified=verified, updated_ms=call.now_ms)
    )
    await end_sessions(call, user.id, "password", kept=kept)
    account = password_check.account_of(call, user.email_key)
    call.write(store.FORGET_FAILURES(tenant=call.tenant, account=account))
    for purpose in (Purpose.RESET_PASSWORD, Purpose.CHANGE_EMAIL):  # the old password allowed them
        call.write(
            store.END_MAIL_TOKENS_FOR(tenant=call.tenant, user_id=user.id, purpose=purpose.value)
        )
    call.emit(api.PasswordChanged(user.id, how))
    await notify(call, user, Purpose.PASSWORD_CHANGED)

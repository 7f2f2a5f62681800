"""Operations on the second factor: an authenticator app and its recovery codes."""

from mainspring import Call, Entropy, NotFound, Rerun, Response, handles, is_id, rfc3339
from mainspring.services.users import (
    access,
    api,
    one_time_codes,
    passkeys,
    second_factor,
    store,
    tickets,
)
from mainspring.services.users.api.errors import (
    ChallengeInvalid,
    FactorEnrolled,
    FactorMissing,
    FactorThrottled,
    WrongFactor,
)
from mainspring.services.users.api.structs import (
    FactorProof,
    Factors,
    RecoveryCodes,
    SecondStep,
    Tokens,
    TotpCode,
    TotpEnrolment,
)
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.operations.sessions import FirstStep, begin, end_tickets
from mainspring.services.users.password_check import refuse_throttled
from mainspring.services.users.store import TOTPS, USERS, KnownUser, TotpRow


@handles(api.get_factors)
async def get_factors(call: Call) -> Factors:
    user = await access.myself(call)
    totp = await second_factor.totp_of(call, user.id)
    confirmed_ms = None if totp is None else totp.confirmed_ms
    left = await second_factor.recovery_codes_of(call, user.id)
    return Factors(
        totp=confirmed_ms is not None,
        totp_confirmed_at=None if confirmed_ms is None else rfc3339(confirmed_ms),
        passkeys=len(await passkeys.of_user(call, user.id)),
        recovery_codes=len(left),
    )


@handles(api.create_totp)
async def create_totp(call: Call) -> Response[TotpEnrolment]:
    user = await access.myself(call)
    former = await second_factor.totp_of(call, user.id)
    if former is not None:
        if former.confirmed_ms is not None:
            raise FactorEnrolled("disable the authenticator app before you enrol another")
        call.write(TOTPS.delete(former))
    await second_factor.require_shown(call, user.id)
    secret = call.use(Entropy).token(one_time_codes.SECRET_BYTES)
    totp_id = call.new_id("totp")
    row = TotpRow(
        id=totp_id,
        tenant=call.tenant,
        version=1,
        user_id=user.id,
        secret=await second_factor.seal_secret(call, user.id, totp_id, secret),
        step=0,
        created_ms=call.now_ms,
        confirmed_ms=None,
    )
    call.write(TOTPS.insert(row, on_conflict=Rerun))
    product = call.use(api.UsersSettings).product
    uri = one_time_codes.otpauth_uri(secret, user.email, product)
    return Response(TotpEnrolment(one_time_codes.secret_text(secret), uri))


@handles(api.confirm_totp)
async def confirm_totp(call: Call, given: TotpCode) -> RecoveryCodes:
    user = await access.myself(call)
    totp = await second_factor.totp_of(call, user.id)
    if totp is None:
        raise FactorMissing("enrol an authenticator app first")
    if totp.confirmed_ms is not None:
        raise FactorEnrolled("the authenticator app is confirmed already")
    await second_factor.require_shown(call, user.id)
    account = second_factor.account_of(call, user.id)
    failures = await refuse_throttled(call, account, FactorThrottled)
    right = await second_factor.use_code(call, totp, given.code, confirmed_ms=call.now_ms)
    second_factor.settle(call, user, failures, right)
    if not right:
        raise WrongFactor("the app shows another code: compare its clock and the secret")
    end_tickets(call, user.id)
    call.emit(api.TotpEnabled(user.id))
    await notify(call, user, Purpose.FACTOR_ADDED)
    return RecoveryCodes(second_factor.make_recovery_codes(call, user.id))


@handles(api.disable_totp)
async def disable_totp(call: Call, given: FactorProof) -> None:
    user = await access.myself(call)
    await _require_totp(call, user)
    await _require_factor(call, user, given)
    await _disable(call, user, "user")


@handles(api.create_recovery_codes)
async def create_recovery_codes(call: Call, given: FactorProof) -> Response[RecoveryCodes]:
    user = await access.myself(call)
    await _require_factor(call, user, given)
    call.emit(api.RecoveryCodesCreated(user.id))
    return Response(RecoveryCodes(second_factor.make_recovery_codes(call, user.id)))


@handles(api.reset_totp)
async def reset_totp(call: Call, id: str) -> None:
    if not is_id(id, "user"):
        raise NotFound()
    user = await call.one(store.USER, id=id, tenant=call.tenant)
    access.require_over(call, user.scopes)
    await _require_totp(call, user)
    await _disable(call, user, "admin")


@handles(api.complete_session)
async def complete_session(call: Call, given: SecondStep) -> Response[Tokens]:
    refusal = ChallengeInvalid("the challenge is unknown, used or expired: log in again")
    ticket = await tickets.find(call, FirstStep.KIND, given.challenge)
    if ticket is None:
        raise refusal
    user = await call.find(store.USER, id=ticket.user_id, tenant=call.tenant)
    if user is None or not await second_factor.factors_of(call, user.id):
        raise refusal
    second = await second_factor.prove(call, user, given)
    if not second:
        raise WrongFactor()
    tickets.spend(call, ticket, refusal)
    first = tickets.read(call, ticket, FirstStep)
    return await begin(call, user, [*first.amr, *second])


async def _require_factor(call: Call, user: KnownUser, given: FactorProof) -> None:
    """Let only those pass who show a second factor. Raises FactorMissing, WrongFactor."""
    if not await second_factor.factors_of(call, user.id):
        raise FactorMissing("there is neither a passkey nor a confirmed authenticator app")
    if not await second_factor.prove(call, user, given):
        raise WrongFactor()


async def _require_totp(call: Call, user: KnownUser) -> None:
    totp = await second_factor.totp_of(call, user.id)
    if totp is None or totp.confirmed_ms is None:
        raise FactorMissing("no authenticator app is confirmed")


async def _disable(call: Call, user: KnownUser, how: str) -> None:
    last = not await passkeys.of_user(call, user.id)
    second_factor.forget_totp(call, user.id, last=last)
    # The version: of two that take one factor each away, the second looks again.
    call.write(USERS.update(user))
    call.emit(api.TotpDisabled(user.id, how))
    await notify(call, user, Purpose.FACTOR_REMOVED)

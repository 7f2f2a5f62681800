"""Checking a second factor: throttled, and each code once, however many processes are asked.

Logging in, stepping up and changing factors check alike.
"""

import hmac
from collections.abc import Sequence

import structlog

from mainspring import Call, Entropy, Invalid, Rerun
from mainspring.kernel.errors import StepUpRequired
from mainspring.kernel.sealed_values import SealedValues
from mainspring.ports.keyring import Keyring
from mainspring.services.users import one_time_codes, passkeys, store
from mainspring.services.users.api import FactorRefused, PasskeyDeleted, RecoveryCodeUsed
from mainspring.services.users.api.errors import FactorThrottled
from mainspring.services.users.api.structs import FactorProof
from mainspring.services.users.model import tells_of_failure
from mainspring.services.users.password_check import (
    count_failure,
    forget_failures,
    refuse_throttled,
)
from mainspring.services.users.store import (
    RECOVERY_CODES,
    TOTPS,
    KnownUser,
    RecoveryCodeRow,
    TotpRow,
)

log = structlog.get_logger()

TOTP, PASSKEY, RECOVERY_CODE = "totp", "passkey", "recovery_code"
MFA = "mfa"  # what a token says of who has shown two factors (RFC 8176)


def account_of(call: Call, user_id: str) -> bytes:
    """Name a user where wrong codes are counted, apart from wrong passwords."""
    return call.use(Keyring).fingerprint(user_id.encode(), purpose="users.factor")


async def totp_of(call: Call, user_id: str) -> TotpRow | None:
    """Return a user's authenticator app, confirmed or not."""
    return await call.find(store.TOTP, tenant=call.tenant, user_id=user_id)


async def factors_of(call: Call, user_id: str) -> list[str]:
    """Name what may be a user's second factor; none where the first is enough."""
    totp = await totp_of(call, user_id)
    found = [TOTP] if totp is not None and totp.confirmed_ms is not None else []
    if await passkeys.of_user(call, user_id):
        found.append(PASSKEY)
    if found and await recovery_codes_of(call, user_id):
        found.append(RECOVERY_CODE)
    return found


async def recovery_codes_of(call: Call, user_id: str) -> Sequence[RecoveryCodeRow]:
    """Return the recovery codes that a user has left."""
    return await call.all(store.RECOVERY_CODES_OF, tenant=call.tenant, user_id=user_id)


async def require_shown(call: Call, user_id: str) -> None:
    """Let a session pass that was proved by a second factor, or whose user has none.

    What adds or takes away a factor asks it: a session of before the first one knows a password
    alone. Raises StepUpRequired.
    """
    session = await call.find(store.SESSION, id=call.caller.session_id or "", tenant=call.tenant)
    if session is not None and MFA in session.amr.split():
        return
    if await factors_of(call, user_id):
        raise StepUpRequired("this needs a step-up of the session by a second factor")


async def seal_secret(call: Call, user_id: str, totp_id: str, secret: bytes) -> bytes:
    """Seal a secret for this user: in the row of another it is nobody's."""
    plain = f"{user_id}/".encode() + secret
    return await call.use(SealedValues).seal(call, store.TOTP_SECRET, plain, totp_id)


async def prove(call: Call, user: KnownUser, given: FactorProof) -> Sequence[str]:
    """Return by what a second factor of the user is shown (RFC 8176), nothing where it is wrong.

    A wrong code is counted: raise a failure that keeps what is staged. A right one is used up, and
    commits only while nobody has used it, or guessed wrong, or changed the password since. What a
    passkey signs nobody guesses: it is not counted. Raises FactorThrottled, Invalid, PasskeysOff.
    """
    proofs = (given.code, given.recovery_code, given.passkey)
    if sum(proof is not None for proof in proofs) != 1:
        raise Invalid.at("/code", "give one of code, recovery_code and passkey")
    if given.passkey is not None:
        ceremony = passkeys.Ceremony.FACTOR
        row = await passkeys.prove(call, ceremony, given.passkey, user.id)
        return () if row is None else passkeys.AMR
    return ("otp", MFA) if await _code_is_right(call, user, given) else ()


async def _code_is_right(call: Call, user: KnownUser, given: FactorProof) -> bool:
    failures = await refuse_throttled(call, account_of(call, user.id), FactorThrottled)
    totp = await totp_of(call, user.id)
    if given.code is None:
        right = await _use_recovery_code(call, user.id, given.recovery_code or "")
    else:
        right = (
            totp is not None
            and totp.confirmed_ms is not None
            and await use_code(call, totp, given.code)
        )
    settle(call, user, failures, right)
    return right


def settle(call: Call, user: KnownUser, failures: int, right: bool) -> None:
    """Stage what a right or wrong code does to the count of wrong ones."""
    account = account_of(call, user.id)
    if right:
        forget_failures(call, account, failures, user)
        return
    count_failure(call, account)
    log.warning(
        "wrong_factor", user_id=user.id, failures=failures + 1,
        caller=call.caller.actor, request_id=call.request_id,
    )  # fmt: skip
    if tells_of_failure(failures + 1):
        call.emit(FactorRefused(user.id, failures + 1))


async def use_code(call: Call, totp: TotpRow, code: str, **changes: object) -> bool:
    """Tell whether a code is of this app and was not used; stage that it is now."""
    try:
        plain = await call.use(SealedValues).open(call, store.TOTP_SECRET, totp.secret, totp.id)
    except ValueError as error:  # of another row, or of a keyring that is gone
        log.error("factor_not_opened", user_id=totp.user_id, error=str(error))
        return False
    owner, _, secret = plain.partition(b"/")
    if owner.decode() != totp.user_id:
        return False
    step = one_time_codes.step_of(secret, code, call.now_ms, totp.step)
    if step is None:
        return False
    call.write(TOTPS.update(totp, step=step, **changes))
    return True


async def _use_recovery_code(call: Call, user_id: str, code: str) -> bool:
    of_user = {"tenant": call.tenant, "user_id": user_id}
    hashed = _recovery_hash(call, user_id, one_time_codes.typed_recovery_code(code))
    left = await call.all(store.RECOVERY_CODES_OF, **of_user)
    if not any(hmac.compare_digest(row.hash, hashed) for row in left):
        return False
    call.write(store.SPEND_RECOVERY_CODE(**of_user, hash=hashed).expect(1, Rerun))
    call.emit(RecoveryCodeUsed(user_id, len(left) - 1))
    return True


def make_recovery_codes(call: Call, user_id: str) -> list[str]:
    """Stage other recovery codes for a user, and return them."""
    call.write(store.END_RECOVERY_CODES(tenant=call.tenant, user_id=user_id))
    codes = []
    for _ in range(one_time_codes.RECOVERY_CODES):
        random = call.use(Entropy).token(one_time_codes.RECOVERY_CODE_BYTES)
        code = one_time_codes.recovery_code(random)
        hashed = _recovery_hash(call, user_id, one_time_codes.typed_recovery_code(code))
        row = RecoveryCodeRow(call.tenant, user_id, hashed)
        call.write(RECOVERY_CODES.insert(row, on_conflict=Rerun))
        codes.append(code)
    return codes


def forget_totp(call: Call, user_id: str, *, last: bool) -> None:
    """Stage the end of a user's authenticator app; of the recovery codes where it is the last."""
    of_user = {"tenant": call.tenant, "user_id": user_id}
    call.write(store.END_TOTP(**of_user))
    if last:
        call.write(
            store.END_RECOVERY_CODES(**of_user),
            store.FORGET_FAILURES(tenant=call.tenant, account=account_of(call, user_id)),
        )


def forget_factors(call: Call, user_id: str) -> None:
    """Stage the end of all of a user's second factors, and of the count of wrong codes."""
    call.write(store.END_PASSKEYS(tenant=call.tenant, user_id=user_id))
    forget_totp(call, user_id, last=True)


async def forget_what_strangers_made(call: Call, user_id: str, how: str) -> None:
    """Stage the end of the factors and issuers of an account whose address nobody had proved.

    Somebody may have signed up with the address of another, and waits for them with a passkey.
    """
    if await passkeys.of_user(call, user_id):
        call.emit(PasskeyDeleted(user_id, None, how))
    forget_factors(call, user_id)
    call.write(store.END_IDENTITIES(tenant=call.tenant, user_id=user_id))


def _recovery_hash(call: Call, user_id: str, code: str) -> bytes:
    said = f"{user_id}/{code}".encode()
    return call.use(Keyring).fingerprint(said, purpose="users.recovery_code")

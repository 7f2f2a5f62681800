"""Contracts of the second factor: an authenticator app and its recovery codes."""

from mainspring import Call, RateClass, Response
from mainspring.services.users.api.errors import (
    AccountDisabled,
    ChallengeInvalid,
    FactorEnrolled,
    FactorMissing,
    FactorThrottled,
    ScopeNotHeld,
    SessionNeeded,
    WrongFactor,
)
from mainspring.services.users.api.settings import OWN, RECENT_S, WRITE, service
from mainspring.services.users.api.structs import (
    FactorProof,
    Factors,
    RecoveryCodes,
    SecondStep,
    Tokens,
    TotpCode,
    TotpEnrolment,
)


@service.contract.operation("GET /v1/users/me/factors", scope=OWN, raises=(SessionNeeded,))
async def get_factors(call: Call) -> Factors:
    """Read what a log-in of yours takes beside the first factor."""


@service.contract.operation(
    "POST /v1/users/me/totp",
    scope=OWN,
    status=201,
    secret=True,
    recent_s=RECENT_S,
    raises=(FactorEnrolled, SessionNeeded),
)
async def create_totp(call: Call) -> Response[TotpEnrolment]:
    """Enrol an authenticator app (RFC 6238); the secret is shown this once.

    It counts once a code of it confirms that the app has it. One that was not confirmed is
    replaced.
    """


@service.contract.operation(
    "POST /v1/users/me/totp:confirm",
    scope=OWN,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    raises=(WrongFactor, FactorThrottled, FactorEnrolled, FactorMissing, SessionNeeded),
)
async def confirm_totp(call: Call, given: TotpCode) -> RecoveryCodes:
    """Confirm the authenticator app with a code of it: from now on a log-in takes one.

    The recovery codes are shown this once. Emits users.totp.enabled.
    """


@service.contract.operation(
    "POST /v1/users/me/totp:disable",
    scope=OWN,
    status=204,
    rate=RateClass.LOGIN,
    recent_s=RECENT_S,
    raises=(WrongFactor, FactorThrottled, FactorMissing, SessionNeeded),
)
async def disable_totp(call: Call, given: FactorProof) -> None:
    """Log in without the authenticator app from now on; a code of it or a recovery code allows it.

    Emits users.totp.disabled.
    """


@service.contract.operation(
    "POST /v1/users/me/recovery_codes",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    recent_s=RECENT_S,
    raises=(WrongFactor, FactorThrottled, FactorMissing, SessionNeeded),
)
async def create_recovery_codes(call: Call, given: FactorProof) -> Response[RecoveryCodes]:
    """Get other recovery codes for a code; the former hold no more.

    Emits users.recovery_codes.created.
    """


@service.contract.operation(
    "POST /v1/users/{id}:reset_totp", scope=WRITE, raises=(FactorMissing, ScopeNotHeld)
)
async def reset_totp(call: Call, id: str) -> None:
    """Let a user who lost the authenticator app log in without it.

    The user may do no more than you. Emits users.totp.disabled.
    """


@service.contract.operation(
    "POST /v1/sessions:complete",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(ChallengeInvalid, WrongFactor, FactorThrottled, AccountDisabled),
)
async def complete_session(call: Call, given: SecondStep) -> Response[Tokens]:
    """Log in with the second factor, after factor_required. Emits users.session.created.

    The challenge holds for five minutes, also after a wrong code; these are counted. After five in
    a row the user waits, up to a quarter of an hour.
    """

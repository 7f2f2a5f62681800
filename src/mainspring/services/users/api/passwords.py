"""Contracts of changing and resetting passwords."""

from mainspring import Call, RateClass
from mainspring.services.users.api.errors import (
    BadMailToken,
    CaptchaRefused,
    CaptchaRequired,
    MailThrottled,
    PasswordThrottled,
    SessionNeeded,
    WrongPassword,
)
from mainspring.services.users.api.settings import OWN, RECENT_S, service
from mainspring.services.users.api.structs import PasswordChange, PasswordReset, ResetRequest


@service.contract.operation(
    "POST /v1/users/me:change_password",
    scope=OWN,
    recent_s=RECENT_S,
    raises=(WrongPassword, SessionNeeded, PasswordThrottled),
)
async def change_password(call: Call, change: PasswordChange) -> None:
    """Change your password; your other sessions and your API keys end.

    With ``keep_api_keys`` the keys stay. Emits users.password.changed.
    """


@service.contract.operation(
    "POST /v1/users:request_password_reset",
    scope=None,
    status=202,
    rate=RateClass.LOGIN,
    raises=(MailThrottled, CaptchaRequired, CaptchaRefused),
)
async def request_password_reset(call: Call, request: ResetRequest) -> None:
    """Mail a token to the address if somebody has signed up with it; the answer does not tell."""


@service.contract.operation(
    "POST /v1/users:reset_password", scope=None, rate=RateClass.LOGIN, raises=(BadMailToken,)
)
async def reset_password(call: Call, reset: PasswordReset) -> None:
    """Set a password with the token that was mailed; every session and API key of the user ends.

    The address counts as proved. Emits users.password.changed.
    """

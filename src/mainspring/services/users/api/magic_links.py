"""Contracts of logging in with a link or a code that is mailed."""

from mainspring import Call, RateClass, Response
from mainspring.services.users.api.errors import (
    AccountDisabled,
    BadMailToken,
    CaptchaRefused,
    CaptchaRequired,
    FactorRequired,
    LogInLinksOff,
    LogInThrottled,
    MailThrottled,
    WrongLogInCode,
)
from mainspring.services.users.api.settings import service
from mainspring.services.users.api.structs import LogInAsked, LogInProof, LogInWish, Tokens


@service.contract.operation(
    "POST /v1/sessions/magic",
    scope=None,
    status=202,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(LogInLinksOff, MailThrottled, CaptchaRequired, CaptchaRefused),
)
async def magic_session(call: Call, wish: LogInWish) -> LogInAsked:
    """Mail a link and a code to log in with, if somebody has signed up with the address.

    The answer does not tell. The link works in any browser; the code only with the ``request`` that
    is answered here. Where `[users] log_in_links` is off it is refused.
    """


@service.contract.operation(
    "POST /v1/sessions/magic:redeem",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(
        LogInLinksOff,
        BadMailToken,
        WrongLogInCode,
        LogInThrottled,
        FactorRequired,
        AccountDisabled,
    ),
)
async def redeem_log_in(call: Call, proof: LogInProof) -> Response[Tokens]:
    """Log in with the token of the link, or the request and its code; either ends both.

    Wrong codes are counted; after five in a row the address waits, up to a quarter of an hour. The
    address counts as proved. Where it was not before, whoever signed up with it may have been
    somebody else: the password, sessions and API keys of then hold no more. Emits
    users.session.created.
    """

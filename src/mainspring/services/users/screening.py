"""What is asked elsewhere before a commit: did a password leak, and is somebody there.

Not in the usual shape of a service because it talks to others: one of each for the process, unless
the app provides its own. What cannot be asked in time lets pass or refuses, as settings say.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
import structlog

from mainspring import Call, Clock, ExpiringCache, Invalid, Unavailable
from mainspring.ports.captcha import Captcha
from mainspring.ports.http_client import ANSWER_BYTES_MAX, HttpClient, WebError
from mainspring.ports.password_screen import PasswordScreen
from mainspring.services.users import store
from mainspring.services.users.api import UsersSettings, service
from mainspring.services.users.api.errors import CaptchaRefused, CaptchaRequired

log = structlog.get_logger()

T = TypeVar("T")

TIMEOUT_S = 4.0  # of whoever is asked; a sign-up waits no longer for it
PREFIX_CHARS = 5  # of a SHA-1 in hexadecimal: all that is said of a password
VERDICTS_MAX = 4_096
VERDICT_KEPT_MS = 60_000
OUR_FAULTS = ("missing-input-secret", "invalid-input-secret", "bad-request", "internal-error")


class RangeScreen:
    """Asks by the first letters of a hash (k-anonymity), as Have I Been Pwned answers."""

    def __init__(self, http: HttpClient, settings: UsersSettings) -> None:
        self._http = http
        self._url = settings.breached_passwords_url

    async def is_breached(self, password: str) -> bool:
        """Tell whether the password is among those that leaked. Raises Unavailable."""
        hashed = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        url = self._url.replace("{prefix}", hashed[:PREFIX_CHARS])
        headers = {"Add-Padding": "true", "User-Agent": "Mainspring"}
        try:
            answer = await self._http.get(url, headers, timeout_s=TIMEOUT_S)
        except WebError as error:
            raise Unavailable(f"{error.code}: {error.detail}") from error
        if answer.status != 200:
            raise Unavailable(f"answered {answer.status}")
        ours, found = hashed[PREFIX_CHARS:].encode(), False
        for line in answer.body.splitlines():
            suffix, _, count = line.strip().partition(b":")
            # Lines that are there to make all answers alike count 0.
            found |= hmac.compare_digest(suffix.upper(), ours) and count.strip(b"0") != b""
        if not found and len(answer.body) >= ANSWER_BYTES_MAX:
            raise Unavailable("answered more than is read")
        return found


class _Verdict(msgspec.Struct, frozen=True):
    success: bool
    hostname: str = ""
    score: float | None = None
    action: str = ""
    error_codes: list[str] = msgspec.field(default_factory=list, name="error-codes")


class SiteVerify:
    """Asks for a token at ``siteverify``, which Turnstile, hCaptcha and reCAPTCHA have alike."""

    def __init__(self, http: HttpClient, settings: UsersSettings, clock: Clock) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._told: ExpiringCache[str, bool] = ExpiringCache(VERDICTS_MAX)

    async def is_solved(self, token: str, action: str, address: str | None, once: str) -> bool:
        """Tell whether a token is good. A call that runs again does not send it again."""
        now_ms = self._clock.now_ms()
        known = self._told.get(once, now_ms)
        if known is None:
            known = self._judge(await self._verdict(token, address), action)
            self._told.put(once, known, now_ms, now_ms + VERDICT_KEPT_MS)
        return known

    async def _verdict(self, token: str, address: str | None) -> _Verdict:
        fields = {"secret": self._settings.captcha_secret, "response": token}
        if address:
            fields["remoteip"] = address
        headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Mainspring"}
        url, body = self._settings.captcha_url, urlencode(fields).encode()
        try:
            answer = await self._http.post(url, body, headers, timeout_s=TIMEOUT_S)
            verdict = msgspec.json.decode(answer.body, type=_Verdict)
        except WebError as error:
            raise Unavailable(f"{error.code}: {error.detail}") from error
        except msgspec.DecodeError as error:
            raise Unavailable(f"answered {answer.status}, which cannot be read") from error
        if faults := [code for code in verdict.error_codes if code in OUR_FAULTS]:
            raise Unavailable(f"answered {faults[0]}: is captcha_secret right?")
        return verdict

    def _judge(self, verdict: _Verdict, action: str) -> bool:
        """A widget of another site, of another form, or one that takes somebody for a program."""
        settings = self._settings
        hosts = settings.captcha_hostnames
        return (
            verdict.success
            and (not hosts or verdict.hostname in hosts)
            and (verdict.score is None or verdict.score >= settings.captcha_score_min)
            and verdict.action in ("", action)
        )


service.provide(RangeScreen, needs=(HttpClient, UsersSettings))
service.provide(SiteVerify, needs=(HttpClient, UsersSettings, Clock))


async def refuse_breached(call: Call, password: str, pointer: str) -> None:
    """Refuse a password that leaked somewhere. Raises Invalid at ``pointer``, Unavailable."""
    settings = call.use(UsersSettings)
    screen = call.offered(PasswordScreen)
    if screen is None and settings.breached_passwords_url:
        screen = call.use(RangeScreen)
    if screen is None:
        return
    open_ = settings.breached_passwords_fail == "open"
    if await _asked("password screen", screen.is_breached(password), otherwise=False, open_=open_):
        raise Invalid.at(pointer, "is known from a leak of passwords elsewhere: choose another")


async def require_human(call: Call, action: str, token: str | None) -> None:
    """Let pass who has solved the task, where settings ask for one here.

    Raises CaptchaRequired, CaptchaRefused, Unavailable.
    """
    settings = call.use(UsersSettings)
    if action not in settings.captcha_on or call.caller.kind in ("system", "key"):
        return
    captcha = call.offered(Captcha) or (call.use(SiteVerify) if settings.captcha_url else None)
    if captcha is None:
        return
    if not token:
        raise CaptchaRequired("solve the task of the page, and send its token as captcha")
    address = None if call.sender is None else call.sender.address
    solved = captcha.is_solved(token, action, address, call.new_id("capt"))
    if not await _asked("captcha", solved, otherwise=True, open_=settings.captcha_fail == "open"):
        raise CaptchaRefused("the token is not good, or was used: solve the task once more")


async def require_human_after_failures(call: Call, account: bytes, token: str | None) -> None:
    """Ask for a solved task where an account was tried with so many wrong passwords in a row."""
    if "log_in" not in call.use(UsersSettings).captcha_on:
        return
    row = await call.find(store.FAILURE, tenant=call.tenant, account=account)
    failures = 0 if row is None else row.failures
    if failures >= call.use(UsersSettings).captcha_after_failures:
        await require_human(call, "log_in", token)


async def _asked(what: str, answer: Awaitable[T], *, otherwise: T, open_: bool) -> T:
    """Wait a bounded time for an answer. Where none comes: ``otherwise``, or Unavailable."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await answer
    except (TimeoutError, Unavailable) as error:
        log.warning("screening_failed", what=what, error=str(error)[:300], passes=open_)
        if open_:
            return otherwise
        raise Unavailable(f"the {what} cannot be asked: try again later", retry_after_s=5) from None

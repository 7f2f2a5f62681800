"""An authenticator app: RFC 6238 written down once more, so that nothing checks itself."""

import base64
import hashlib
import hmac
import struct
from urllib.parse import parse_qs, unquote, urlsplit

from mainspring.kernel.call import Caller
from mainspring.services.users.api.structs import RecoveryCodes, TotpCode, TotpEnrolment
from tests.services.users.people import People


def code_at(secret: str, now_ms: int) -> str:
    """Return the six digits that an app shows."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", now_ms // 30_000), hashlib.sha1).digest()
    at = digest[-1] & 15
    number = struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFF_FFFF
    return f"{number % 1_000_000:06}"


def secret_in(uri: str) -> str:
    """Return the secret that an app reads out of the QR code."""
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    return parse_qs(parts.query)["secret"][0]


def label_in(uri: str) -> str:
    return unquote(urlsplit(uri).path.removeprefix("/"))


class Authenticator:
    """The app of one person, and the recovery codes beside it."""

    def __init__(self, people: People, enrolment: TotpEnrolment) -> None:
        self.people = people
        self.secret = secret_in(enrolment.uri)
        assert self.secret == enrolment.secret
        self.recovery_codes: list[str] = []

    def code(self, ahead_s: int = 0) -> str:
        return code_at(self.secret, self.people.clock.now_ms() + ahead_s * 1000)

    def wrong_code(self) -> str:
        near = {self.code(ahead_s) for ahead_s in (-30, 0, 30)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in near)


async def enrol(people: People, me: Caller) -> Authenticator:
    """Enrol and confirm an app; the next code is of the next time step."""
    enrolment: TotpEnrolment = (await people.ask("create_totp", caller=me)).value
    app = Authenticator(people, enrolment)
    confirmed: RecoveryCodes = (
        await people.ask("confirm_totp", caller=me, given=TotpCode(code=app.code()))
    ).value
    app.recovery_codes = confirmed.recovery_codes
    people.clock.move(30)
    return app

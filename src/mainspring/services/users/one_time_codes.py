"""Codes of an authenticator app (RFC 6238) and recovery codes beside them. No I/O.

Not in ``model.py`` because only log-in needs the cipher library that this loads.
"""

import base64
import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

# What every authenticator app takes; most ignore other values in the URI.
DIGITS = 6
STEP_S = 30
SECRET_BYTES = 20  # RFC 4226, section 4: as long as the hash
STEPS_AROUND = 1  # RFC 6238, section 5.2: the telephone's clock may be off, and typing takes time

RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 7  # of which 50 bits are shown; they are hashed with a key, and throttled
_RECOVERY_CHARS = 10


def otpauth_uri(secret: bytes, account: str, issuer: str) -> str:
    """Return what an app reads out of a QR code."""
    totp = TOTP(secret, DIGITS, SHA1(), STEP_S)  # noqa: S303 the standard's: HMAC-SHA1 holds
    return totp.get_provisioning_uri(account, issuer or None)


def secret_text(secret: bytes) -> str:
    """Write a secret as people type it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def step_of(secret: bytes, code: str, now_ms: int, after: int) -> int | None:
    """Return the time step whose code this is, the first that is later than ``after``.

    One before and one after the present are taken too. None when it is no code of these, or of one
    that was used.
    """
    typed = "".join(code.split()).encode()
    now = now_ms // 1000 // STEP_S
    hotp = HOTP(secret, DIGITS, SHA1())  # noqa: S303
    found = [
        step
        for step in range(now - STEPS_AROUND, now + STEPS_AROUND + 1)
        if hmac.compare_digest(hotp.generate(step), typed) and step > after
    ]
    return min(found, default=None)


def recovery_code(random: bytes) -> str:
    """Write a recovery code in two groups of five letters and digits."""
    text = base64.b32encode(random).decode().lower()[:_RECOVERY_CHARS]
    return f"{text[:5]}-{text[5:]}"


def typed_recovery_code(text: str) -> str:
    """Return a recovery code as somebody typed it in the form it is compared in."""
    return "".join(text.split()).replace("-", "").lower()

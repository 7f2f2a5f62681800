"""Hashes of passwords that other systems made: which are taken, at what cost, and what they say.

Pure computation, slow on purpose: ``Passwords`` does it off the event loop. What is not taken is
said when users are imported; later a hash is only compared.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable

# What a log-in may cost at most: somebody else chose the parameters.
MEMORY_KIB_MAX = 64 * 1024
ARGON2_PASSES_MAX = 10
ARGON2_LANES_MAX = 8
BCRYPT_COST_MAX, BCRYPT_COST_MIN = 14, 4
PBKDF2_ITERATIONS_MAX, PBKDF2_ITERATIONS_MIN = 2_000_000, 1_000
SCRYPT_BLOCKS_MAX = 16
SCRYPT_LANES_MAX = 4
BCRYPT_BYTES = 72  # of a password; its makers ignore the rest
SALT_BYTES_MAX, DIGEST_BYTES_MIN, DIGEST_BYTES_MAX = 128, 16, 128

Comparison = Callable[[bytes], bool]

_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})"
    r"\$([A-Za-z0-9+/]{11,128})\$([A-Za-z0-9+/]{22,128})"
)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_PBKDF2 = re.compile(r"pbkdf2_(sha1|sha256|sha512)\$(\d{1,9})\$([^$]{1,128})\$([A-Za-z0-9+/=]+)")
_SCRYPT = re.compile(r"scrypt\$(\d{1,9})\$([^$]{1,128})\$(\d{1,4})\$(\d{1,4})\$([A-Za-z0-9+/=]+)")
_FIREBASE = re.compile(
    r"\$fbscrypt\$v=1,n=(\d{1,2}),r=(\d{1,4}),p=(\d{1,4}),ss=([A-Za-z0-9+/=]*),"
    r"sk=([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)"
)
_FORMS = "Argon2, bcrypt, Django's PBKDF2 and scrypt, and Firebase's scrypt"


def is_foreign(hashed: str) -> bool:
    """Tell whether a hash is none of Argon2's, which ``PasswordHasher`` itself compares."""
    return not hashed.startswith("$argon2")


def require_taken(hashed: str) -> None:
    """Raise ValueError, which says what would fit, for a hash that is not taken."""
    if not is_foreign(hashed):
        _require_argon2(hashed)
        return
    comparison_of(hashed)


def matches(hashed: str, password: str) -> bool:
    """Tell whether a password is that of a foreign hash; False for one that is not taken."""
    try:
        check = comparison_of(hashed)
    except ValueError:
        return False
    return check(password.encode())


def comparison_of(hashed: str) -> Comparison:
    """Return what tells whether a password is that of a foreign hash. Raises ValueError."""
    if (found := _BCRYPT.fullmatch(hashed)) is not None:
        return _bcrypt(hashed, int(found[1]))
    if (found := _PBKDF2.fullmatch(hashed)) is not None:
        return _pbkdf2(found[1], int(found[2]), found[3].encode(), _digest(found[4]))
    if (found := _SCRYPT.fullmatch(hashed)) is not None:
        costs = int(found[1]), int(found[3]), int(found[4])
        return _scrypt(costs, found[2].encode(), _digest(found[5]))
    if (found := _FIREBASE.fullmatch(hashed)) is not None:
        costs = 1 << int(found[1]), int(found[2]), int(found[3])
        salt = _bytes(found[6], SALT_BYTES_MAX) + _bytes(found[4], SALT_BYTES_MAX)
        return _firebase(costs, salt, _bytes(found[5], DIGEST_BYTES_MAX), _digest(found[7]))
    raise ValueError(f"is not a hash of a known form: {_FORMS} are")


def decoy_of(hashed: str) -> str:
    """Return a hash that is nobody's, and costs as much to compare as this one."""
    parts = hashed.split("$")
    if (found := _BCRYPT.fullmatch(hashed)) is not None:
        return f"$2b${found[1]}$" + "." * 53
    if parts[0]:  # Django's, whose salt is the third part
        nobodys = base64.b64encode(bytes(len(_bytes(parts[-1], DIGEST_BYTES_MAX)))).decode()
        return "$".join([*parts[:2], "nobody", *parts[3:-1], nobodys])
    if (found := _FIREBASE.fullmatch(hashed)) is not None:
        key = base64.b64encode(bytes(len(_bytes(found[5], DIGEST_BYTES_MAX)))).decode()
        return f"$fbscrypt$v=1,n={found[1]},r={found[2]},p={found[3]},ss=,sk={key}$AAAA${key}"
    return "$".join([*parts[:4], "A" * 22, "A" * len(parts[-1])])  # Argon2


def _require_argon2(hashed: str) -> None:
    found = _ARGON2.fullmatch(hashed)
    if found is None:
        raise ValueError("is not a hash of Argon2 in its PHC form, of version 19")
    memory, passes, lanes = (int(found[i]) for i in (1, 2, 3))
    if not (8 * lanes <= memory <= MEMORY_KIB_MAX and 1 <= passes <= ARGON2_PASSES_MAX):
        raise ValueError(
            f"costs more than a log-in may: m up to {MEMORY_KIB_MAX}, t up to {ARGON2_PASSES_MAX}"
        )
    if not 1 <= lanes <= ARGON2_LANES_MAX:
        raise ValueError(f"costs more than a log-in may: p up to {ARGON2_LANES_MAX}")


def _bcrypt(hashed: str, cost: int) -> Comparison:
    if not BCRYPT_COST_MIN <= cost <= BCRYPT_COST_MAX:
        raise ValueError(f"costs more than a log-in may: up to {BCRYPT_COST_MAX}")

    def check(password: bytes) -> bool:
        import bcrypt

        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed.encode())

    return check


def _pbkdf2(name: str, iterations: int, salt: bytes, digest: bytes) -> Comparison:
    if not PBKDF2_ITERATIONS_MIN <= iterations <= PBKDF2_ITERATIONS_MAX:
        raise ValueError(
            f"must have {PBKDF2_ITERATIONS_MIN:,} to {PBKDF2_ITERATIONS_MAX:,} iterations"
        )

    def check(password: bytes) -> bool:
        made = hashlib.pbkdf2_hmac(name, password, salt, iterations, len(digest))
        return hmac.compare_digest(made, digest)

    return check


def _derived(costs: tuple[int, int, int], salt: bytes, length: int) -> Callable[[bytes], bytes]:
    """Return scrypt (RFC 7914) with these costs. Raises ValueError for more than a log-in may."""
    n, r, p = costs
    if not (
        n >= 2
        and n & (n - 1) == 0
        and 1 <= r <= SCRYPT_BLOCKS_MAX
        and 1 <= p <= SCRYPT_LANES_MAX
        and 128 * n * r <= MEMORY_KIB_MAX * 1024
    ):
        raise ValueError(
            f"costs more than a log-in may: 128·N·r up to {MEMORY_KIB_MAX} KiB, N a power of two,"
            f" r up to {SCRYPT_BLOCKS_MAX}, p up to {SCRYPT_LANES_MAX}"
        )
    memory = 128 * r * (n + p + 2) + (1 << 20)

    def derive(password: bytes) -> bytes:
        return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)

    return derive


def _scrypt(costs: tuple[int, int, int], salt: bytes, digest: bytes) -> Comparison:
    derive = _derived(costs, salt, len(digest))
    return lambda password: hmac.compare_digest(derive(password), digest)


def _firebase(costs: tuple[int, int, int], salt: bytes, key: bytes, digest: bytes) -> Comparison:
    """Firebase's own: what scrypt derives encrypts a key of the project (AES-256, CTR)."""
    derive = _derived(costs, salt, 32)

    def check(password: bytes) -> bool:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES(derive(password)), modes.CTR(bytes(16)))
        return hmac.compare_digest(cipher.encryptor().update(key), digest)

    return check


def _digest(text: str) -> bytes:
    found = _bytes(text, DIGEST_BYTES_MAX)
    if len(found) < DIGEST_BYTES_MIN:
        raise ValueError(f"holds fewer than {DIGEST_BYTES_MIN} bytes that were derived")
    return found


def _bytes(text: str, most: int) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("holds what is not base64") from None
    if len(found) > most:
        raise ValueError(f"holds a part of more than {most} bytes")
    return found

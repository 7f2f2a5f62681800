"""The keys that ID tokens are signed with: RSA, in the database, sealed with the keyring.

Not the keyring's own: those are EdDSA, which many applications cannot verify, and RS256 is what
every one can (OpenID Connect Core 1.0, 15.1). Apart from the keys of access tokens, so that neither
is ever taken for the other. A new key is shown a day before it signs, whatever was cached of the
former ones; these stay as long as anybody may hold what they signed.
"""

import asyncio
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from mainspring import Call, LruCache, Rerun
from mainspring.kernel.sealed_values import SealedValues
from mainspring.services.users import store
from mainspring.services.users.api import DAY_S, UsersSettings, service
from mainspring.services.users.api.oauth_structs import RsaKey
from mainspring.services.users.store import SIGNING_KEYS, SigningKeyRow

ALGORITHM = "RS256"
KEY_BITS = 2_048
SHOWN_FIRST_MS = DAY_S * 1000  # before it signs
KEYS_MAX = 3  # the next one, the one that signs, and the one before
TOKEN_CHARS_MAX = 8_192


class SigningKeys:
    """The keys as they are used, once they were unsealed and read. One for the process."""

    def __init__(self) -> None:
        self._keys: LruCache[str, RSAKey] = LruCache(KEYS_MAX * 4)

    async def key(self, call: Call, row: SigningKeyRow) -> RSAKey:
        """Return the key of a row."""
        known = self._keys.get(row.id)
        if known is None:
            column, place = store.SIGNING_KEY, (row.tenant, row.number)
            pem = await call.use(SealedValues).open(call, column, row.sealed, *place)
            known = RSAKey.import_key(pem, {"kid": row.id, "alg": ALGORITHM, "use": "sig"})
            self._keys.put(row.id, known)
        return known


service.provide(SigningKeys)


async def public_keys(call: Call) -> list[RsaKey]:
    """Return what others verify with."""
    rows, held = await _rows(call), call.use(SigningKeys)
    keys = [(await held.key(call, row)).as_dict(private=False) for row in rows]
    return [msgspec.convert(key, RsaKey) for key in keys]


async def sign(call: Call, claims: dict[str, Any]) -> str:
    """Make a JWT that others verify with ``public_keys``."""
    rows = await _rows(call)
    shown = [row for row in rows if row.created_ms + SHOWN_FIRST_MS <= call.now_ms]
    row = shown[0] if shown else rows[-1]
    key = await call.use(SigningKeys).key(call, row)
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": row.id}, claims, key)


async def read_signed(call: Call, token: str) -> dict[str, Any] | None:
    """Return what a JWT says that was signed here, also when it has run out; None for others."""
    if not token or len(token) > TOKEN_CHARS_MAX:
        return None
    rows, held = await _rows(call), call.use(SigningKeys)
    keys = KeySet([await held.key(call, row) for row in rows])
    try:
        return dict(jwt.decode(token, keys, algorithms=[ALGORITHM]).claims)
    except (JoseError, ValueError, TypeError):  # the last for a header of other types
        return None


async def _rows(call: Call) -> list[SigningKeyRow]:
    """Return the keys, the newest first; the next one is made when its time has come."""
    rows = await call.all(store.SIGNING_KEYS_KEPT, tenant=call.tenant, limit=KEYS_MAX)
    life_ms = call.use(UsersSettings).signing_key_days * DAY_S * 1000
    if rows and call.now_ms - rows[0].created_ms < life_ms:
        return rows
    pem = await asyncio.to_thread(_new_key)
    number, column = rows[0].number + 1 if rows else 1, store.SIGNING_KEY
    row = SigningKeyRow(
        tenant=call.tenant,
        number=number,
        id=call.new_id("sigkey"),
        sealed=await call.use(SealedValues).seal(call, column, pem, call.tenant, number),
        created_ms=call.now_ms,
    )
    call.write(SIGNING_KEYS.insert(row, on_conflict=Rerun))  # of two that make one, one is kept
    if len(rows) == KEYS_MAX:
        call.write(SIGNING_KEYS.delete_unguarded(rows[-1]))
    return [row, *rows][:KEYS_MAX]


def _new_key() -> bytes:
    key = generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

"""A keyring in one file: random root keys, from which every key of every purpose is derived.

The file is JSON, mode 0600. ``current`` names the root that seals and signs, ``fingerprints`` the
one that fingerprints are made under: it stays when keys rotate, because a fingerprint is compared
with stored ones and another key would forget them all. Older roots stay to unseal and verify, and
sign trees beside the current one, as far back as ``trees_since``. What was signed stands in a file
of its own, ``signed_trees.py``.

A process seals and signs with what was current when it started. What others seal and sign since a
rotation it reads: at a key that it does not know it looks whether the file has grown meanwhile.
"""

import asyncio
import base64
import hmac
import threading
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet, OKPKey
from joserfc.jws import JWSRegistry

from mainspring.adapters import private_file
from mainspring.adapters.keyring import xaes
from mainspring.adapters.keyring.signed_trees import SignedTrees
from mainspring.adapters.keyring.xaes import XAesGcm
from mainspring.kernel.clock import Clock, Entropy, rfc3339
from mainspring.ports.database import StartError
from mainspring.ports.keyring import NoKeyring, SignedTree
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, path_of

KEYS_MAX = 64  # root keys one file may hold
TOKEN_CHARS_MAX = 4_096

ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1

# The first byte of everything sealed, before the id of its key and a random nonce.
_BOUND = b"\x03"  # XAES-256-GCM, of what is sealed about something
_XAES_GCM = b"\x02"
_AES_GCM = b"\x01"  # until 0.1: it is opened and made no more
_AES_GCM_NONCE_BYTES = 12
_ID_BYTES = 4
_HEAD_BYTES = 1 + _ID_BYTES
_ROOT_BYTES = 32

KeyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z")]

log = structlog.get_logger()


class _Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A root key as the file holds it; ``secret`` is base64 of 32 bytes."""

    id: KeyId
    created_at: str
    secret: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. ``keys`` is in the order they were made; ``seals`` is 0.1's, which counted them."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    current: KeyId
    fingerprints: KeyId
    keys: Annotated[list[_Root], msgspec.Meta(min_length=1, max_length=KEYS_MAX)]
    seals: dict[KeyId, int] = {}
    trees_since: KeyId | None = None  # the oldest that signs trees; all of them without it


class _OnlyOurs(JWSRegistry):
    """Knows one algorithm. RFC 9864 calls it Ed25519, but what verifies our tokens knows EdDSA.

    The library warns of the old name at every use; here it is meant.
    """

    def get_alg(self, name: str) -> Any:  # used by joserfc
        """Return the algorithm. Raises UnsupportedAlgorithmError for every other name."""
        if name != ALGORITHM:
            raise UnsupportedAlgorithmError(f"{name!r} is not {ALGORITHM}")
        return self.algorithms[name]


_ALGORITHMS = _OnlyOurs()


class _Keys:
    """What is derived from one root key (HKDF-SHA256, RFC 5869)."""

    __slots__ = (
        "_secret", "checkpoint_key", "checkpoints", "cipher", "former_cipher", "id", "mac",
        "tokens",
    )  # fmt: skip

    def __init__(self, key_id: str, secret: bytes) -> None:
        self.id = bytes.fromhex(key_id)
        self._secret = secret
        self.cipher = cache(lambda purpose: XAesGcm(self._derive(f"xaes/{purpose}")))
        self.former_cipher = cache(lambda purpose: AESGCM(self._derive(f"seal/{purpose}")))
        self.mac = cache(
            lambda purpose: hmac.new(self._derive(f"fingerprint/{purpose}"), digestmod="sha256")
        )
        self.checkpoints = Ed25519PrivateKey.from_private_bytes(self._derive("checkpoints"))
        self.checkpoint_key = self.checkpoints.public_key().public_bytes_raw()
        seed = self._derive("tokens")
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self.tokens = OKPKey.import_key(
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "kid": key_id,
                "alg": ALGORITHM,
                "use": "sig",
                "x": _base64url(public),
                "d": _base64url(seed),
            }
        )

    def _derive(self, purpose: str) -> bytes:
        info = b"mainspring/1/" + purpose.encode()
        return HKDF(SHA256(), _ROOT_BYTES, salt=None, info=info).derive(self._secret)


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "FileKeyring":
    """Keep keys in a file: ``file:PATH``. Raises StartError."""
    return FileKeyring(path_of(url), sources.clock, sources.entropy)


class FileKeyring:
    """Fills the keyring port from a file."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        entropy: Entropy,
        *,
        issuer: str = "mainspring",
        audience: str = "mainspring",
    ) -> None:
        self._path = path
        self._clock = clock
        self._entropy = entropy
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[bytes, _Keys] = {}
        self._tree_signers: list[_Keys] = []
        self._looking = threading.Lock()  # around looking at the file again
        self._looked_at: tuple[int, ...] = ()
        self._signed = SignedTrees(path.with_suffix(".signed.json"))

    async def open(self, *, create: bool = True) -> None:
        """Load the keys, making them on the first start. Raises NoKeyring, StartError."""
        await asyncio.to_thread(self._open, create)

    def _open(self, create: bool) -> None:
        if create:
            private_file.create_once(self._path, self._first)
        try:
            self._looked_at = self._version()
            self._load(private_file.read(self._path))
        except FileNotFoundError:
            raise NoKeyring(f"{self._path} is missing") from None

    async def rotate(self, *, for_new_log: bool = False) -> str:
        """Add a root key, make it current and return its id. Raises StartError.

        Processes that are running read what it seals at once, and seal with it after a restart. The
        older keys stay, to read what they sealed and to verify what they signed; ``for_new_log``
        they sign no tree any more.
        """
        rotated = partial(self._rotated, for_new_log=for_new_log)
        data = await asyncio.to_thread(private_file.change, self._path, rotated)
        with self._looking:
            self._load(data)
        return self._current.id.hex()

    def current_key(self) -> str:
        """Name the key that seals and signs."""
        return self._current.id.hex()

    def seal(self, plain: bytes, *, purpose: str, about: bytes = b"") -> bytes:
        """Encrypt with XAES-256-GCM under the current key of this purpose and a random nonce."""
        keys = self._current
        head = (_BOUND if about else _XAES_GCM) + keys.id
        nonce = self._entropy.token(xaes.NONCE_BYTES)
        return head + nonce + keys.cipher(purpose).encrypt(nonce, plain, head + about)

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether it was sealed about something under the current key."""
        return sealed.startswith(_BOUND + self._current.id)

    def unseal(self, sealed: bytes, *, purpose: str, about: bytes = b"") -> bytes:
        """Decrypt, under whichever key sealed it. Raises ValueError when none of ours did."""
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        keys = self._keys.get(head[1:]) or self._added(head[1:])
        former, bound = head.startswith(_AES_GCM), head.startswith(_BOUND)
        nonce_bytes = _AES_GCM_NONCE_BYTES if former else xaes.NONCE_BYTES
        known = former or bound or head.startswith(_XAES_GCM)
        if keys is None or not known or len(rest) < nonce_bytes:
            raise ValueError("not sealed with a key of this keyring")
        cipher = keys.former_cipher(purpose) if former else keys.cipher(purpose)
        try:
            said = head + about if bound else head
            return cipher.decrypt(rest[:nonce_bytes], rest[nonce_bytes:], said)
        except InvalidTag:
            raise ValueError(f"not sealed for {purpose}, or there, or changed since") from None

    def fingerprint(self, data: bytes, *, purpose: str) -> bytes:
        """HMAC-SHA256 under the key of this purpose: 32 bytes, the same after a rotation."""
        # A copy keeps the interpreter's lock for short data; hmac.digest gives it away each time.
        mac = self._fingerprints.mac(purpose).copy()
        mac.update(data)
        return mac.digest()

    def sign_token(self, claims: dict[str, Any]) -> str:
        """Make a JWT signed with EdDSA (RFC 7519, RFC 8037, RFC 9068)."""
        key = self._current.tokens
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": key.kid}
        claims = {"iss": self._issuer, "aud": self._audience, **claims}
        return jwt.encode(header, claims, key, registry=_ALGORITHMS)

    def verify_token(self, token: str, *, now_s: float) -> dict[str, Any]:
        """Return the claims of a token of ours. Raises ValueError when it does not hold."""
        if len(token) > TOKEN_CHARS_MAX:
            raise ValueError(f"a token has at most {TOKEN_CHARS_MAX} characters")
        try:
            found = self._decode_token(token)
            if found.header.keys() != {"alg", "typ", "kid"} or found.header["typ"] != TOKEN_TYPE:
                raise ValueError("not an access token")
            claims = dict(found.claims)
            rules = jwt.JWTClaimsRegistry(
                now=int(now_s),
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._audience},
                sub={"essential": True},
                exp={"essential": True},
            )
            # The clock of whoever signed may be ahead of ours, so iat is told and not judged.
            rules.validate({name: value for name, value in claims.items() if name != "iat"})
        except JoseError as error:
            raise ValueError(f"the token does not hold: {error.error}") from None
        except TypeError:  # the library's, of a header whose crit is a number, say
            raise ValueError("the token does not hold: its header is of other types") from None
        return claims

    def _decode_token(self, token: str) -> jwt.Token:
        verifying = self._verifying
        try:
            return jwt.decode(token, verifying, registry=_ALGORITHMS)
        except InvalidKeyIdError:
            self._look_again()
            if self._verifying is verifying:
                raise
            return jwt.decode(token, self._verifying, registry=_ALGORITHMS)

    def jwks(self) -> dict[str, Any]:
        """Public keys that tokens may be signed with (RFC 7517), the current one first."""
        self._look_again()  # another process may sign with it by now, and ours is asked for the key
        return {"keys": [keys.tokens.as_dict(private=False) for keys in self._newest_first()]}

    async def last_signed(self, log: str) -> SignedTree | None:
        """Return the tree that was signed last for a log. Raises Unavailable."""
        signers = [keys.id.hex() for keys in self._tree_signers]
        return await asyncio.to_thread(self._signed.last, log, signers)

    async def sign_tree(
        self, log: str, tree: SignedTree, message: bytes, proof: Sequence[bytes]
    ) -> Mapping[bytes, bytes]:
        """Note a tree that extends what was signed last, then sign it with every key that does.

        Raises TreeContradicts, Unavailable.
        """
        signers = self._tree_signers
        ids = [keys.id.hex() for keys in signers]
        await asyncio.to_thread(self._look_again)  # what an added key signed is not to be forgotten
        await asyncio.to_thread(self._signed.note, log, tree, ids, proof, self.key_ids())
        return {keys.checkpoint_key: keys.checkpoints.sign(message) for keys in signers}

    def key_ids(self) -> list[str]:
        """Name every key it holds, in the order they were made."""
        return [key_id.hex() for key_id in self._keys]

    def public_key(self) -> bytes:
        """The newest of ``public_keys``: 32 bytes, Ed25519."""
        return self._current.checkpoint_key

    def public_keys(self) -> list[bytes]:
        """The keys that sign trees, the current one first."""
        return [keys.checkpoint_key for keys in self._tree_signers]

    def _newest_first(self) -> list[_Keys]:
        newest_first = list(reversed(self._keys.values()))
        return sorted(newest_first, key=lambda keys: keys is not self._current)

    def _new_root(self) -> _Root:
        secret = base64.b64encode(self._entropy.token(_ROOT_BYTES)).decode()
        key_id = self._entropy.token(_ID_BYTES).hex()
        return _Root(key_id, rfc3339(self._clock.now_ms()), secret)

    def _first(self) -> bytes:
        root = self._new_root()
        return _write(_File(1, current=root.id, fingerprints=root.id, keys=[root]))

    def _rotated(self, data: bytes | None, *, for_new_log: bool = False) -> bytes:
        if data is None:
            return self._first()
        file, root = self._read(data), self._new_root()
        if len(file.keys) == KEYS_MAX:
            raise StartError(f"{self._path}: {KEYS_MAX} keys are all it holds")
        return _write(
            msgspec.structs.replace(
                file,
                current=root.id,
                keys=[*file.keys, root],
                trees_since=root.id if for_new_log else file.trees_since,
            )
        )

    def _read(self, data: bytes) -> _File:
        try:
            file = msgspec.json.decode(data, type=_File)
        except msgspec.DecodeError as error:
            raise StartError(f"{self._path}: not a keyring: {error}") from None
        ids = [root.id for root in file.keys]
        named = {file.current, file.fingerprints, file.trees_since or file.current}
        if not named <= set(ids) or len(set(ids)) < len(ids):
            raise StartError(f"{self._path}: the key ids do not fit together")
        return file

    def _load(self, data: bytes) -> None:
        """Go by the file from now on."""
        file = self._read(data)
        keys = self._made(file.keys)
        self._keys = keys
        self._current = keys[bytes.fromhex(file.current)]
        self._fingerprints = keys[bytes.fromhex(file.fingerprints)]
        self._verifying = KeySet([one.tokens for one in keys.values()])
        since = list(keys).index(bytes.fromhex(file.trees_since)) if file.trees_since else 0
        sign = list(keys)[since:]
        self._tree_signers = [one for one in self._newest_first() if one.id in sign]

    def _made(self, roots: Sequence[_Root]) -> dict[bytes, _Keys]:
        try:
            made = [_Keys(root.id, _secret(root.secret)) for root in roots]
        except ValueError:
            raise StartError(f"{self._path}: a secret is not base64 of 32 bytes") from None
        return {keys.id: keys for keys in made}

    # What is added while it runs

    def _added(self, key_id: bytes) -> _Keys | None:
        """Return a key that was added to the file since it was read."""
        self._look_again()
        return self._keys.get(key_id)

    def _look_again(self) -> None:
        """Take the keys that were added, to read what others seal and sign with them.

        Each version of the file is read once, and nothing is unless it is this keyring's still:
        who sends unknown key ids has the file looked up, no more.
        """
        try:
            with self._looking:
                if (version := self._version()) == self._looked_at:
                    return
                self._looked_at = version
                file = self._read(private_file.read(self._path))
                known = {keys.id.hex() for keys in self._keys.values()}
                if not known <= {root.id for root in file.keys} or (
                    bytes.fromhex(file.fingerprints) != self._fingerprints.id
                ):
                    raise StartError(f"{self._path}: lacks keys of the keyring that was opened")
                added = self._made([root for root in file.keys if root.id not in known])
                self._keys = {**self._keys, **added}
                self._verifying = KeySet([keys.tokens for keys in self._keys.values()])
        except (FileNotFoundError, StartError) as error:
            log.error("keyring_not_read_again", file=str(self._path), error=str(error))

    def _version(self) -> tuple[int, ...]:
        """Tell one version of the file from the next: it is replaced, or copied over."""
        try:
            status = self._path.stat()
        except OSError:  # whoever reads it is told why
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _write(file: _File) -> bytes:
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"


def _secret(text: str) -> bytes:
    secret = base64.b64decode(text, validate=True)
    if len(secret) != _ROOT_BYTES:
        raise ValueError("too short or too long")
    return secret


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""A data key in use: AES-256-GCM under keys that are derived from it, one per memory of a process.

AES-GCM under random nonces of 96 bits ends before 2**32 messages of one key (NIST SP 800-38D, 8.3).
A count of them in the database would go back with a restored backup, and cost a write. So whoever
holds a data key draws a salt, derives a key of its own from both (HKDF-SHA256, RFC 5869) and counts
in memory: after ``USES_MAX`` it draws another. Salts stand in what was sealed. A process that was
forked, or a machine that was set back to a snapshot, shares at most that salt's count with its
twin: nonces come from the system each time, and the bound leaves room for sixteen twins.
"""

import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mainspring.kernel.clock import Entropy
from mainspring.kernel.lru_cache import LruCache

USES_MAX = 2**28  # of one derived key
SECRET_BYTES = 32
ID_BYTES = 8
MARK = b"\x04"  # the first byte; what a keyring seals itself begins with a lower one
_SALT_BYTES = 16
_NONCE_BYTES = 12
_SALT_AT = 1 + ID_BYTES
_NONCE_AT = _SALT_AT + _SALT_BYTES
_TEXT_AT = _NONCE_AT + _NONCE_BYTES
_INFO = b"mainspring/1/data-key"
_DERIVED_MAX = 256  # keys of other salts in memory, to open with


class DataKey:
    """Seals and opens under one data key, in any number of threads."""

    __slots__ = ("_cipher", "_entropy", "_head", "_left", "_lock", "_opening", "_secret", "id")

    def __init__(self, key_id: bytes, secret: bytes, entropy: Entropy) -> None:
        if len(key_id) != ID_BYTES or len(secret) != SECRET_BYTES:
            raise ValueError("a data key has another length")
        self.id = key_id
        self._secret = secret
        self._entropy = entropy
        self._lock = threading.Lock()  # around what follows
        self._opening: LruCache[bytes, AESGCM] = LruCache(_DERIVED_MAX)
        self._left = 0

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt; it opens about the same and nothing else."""
        with self._lock:
            if not self._left:
                self._renew()
            self._left -= 1
            head, cipher = self._head, self._cipher
        nonce = self._entropy.token(_NONCE_BYTES)
        return head + nonce + cipher.encrypt(nonce, plain, head + about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt what ``seal`` made. Raises ValueError for anything else."""
        if not sealed.startswith(MARK + self.id) or len(sealed) < _TEXT_AT:
            raise ValueError("not sealed with this data key")
        head = sealed[:_NONCE_AT]
        salt = head[_SALT_AT:]
        with self._lock:
            if (cipher := self._opening.get(salt)) is None:
                cipher = self._derived(salt)
                self._opening.put(salt, cipher)
        try:
            return cipher.decrypt(sealed[_NONCE_AT:_TEXT_AT], sealed[_TEXT_AT:], head + about)
        except InvalidTag:
            raise ValueError("not sealed for this, or there, or changed since") from None

    def _renew(self) -> None:
        salt = self._entropy.token(_SALT_BYTES)
        self._head = MARK + self.id + salt
        self._cipher = self._derived(salt)
        self._opening.put(salt, self._cipher)
        self._left = USES_MAX

    def _derived(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), SECRET_BYTES, salt, _INFO).derive(self._secret))


def key_id_of(sealed: bytes) -> str:
    """Name the data key that sealed a value; empty where the keyring itself did."""
    return sealed[1:_SALT_AT].hex() if sealed.startswith(MARK) else ""

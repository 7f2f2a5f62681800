"""XAES-256-GCM (C2SP, https://c2sp.org/XAES-256-GCM): AES-256-GCM with a nonce of 24 bytes.

Half of the nonce makes a key of the message's own, so that one key seals 2**80 messages under
random nonces, where AES-GCM's own 12 bytes end at 2**32 (NIST SP 800-38D, section 8.3).
"""

import threading

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

NONCE_BYTES = 24
_FIRST, _SECOND = b"\0\1X\0", b"\0\2X\0"
_BLOCK_BITS = 128
_POLYNOMIAL = 0x87  # of the field that CMAC doubles in: NIST SP 800-38B, section 5.3


class XAesGcm:
    """Seals and opens under one key of 32 bytes, in any number of threads."""

    __slots__ = ("_aes", "_mask", "_one_by_one")

    def __init__(self, key: bytes) -> None:
        self._aes = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 - blocks, to derive a key
        self._one_by_one = threading.Lock()
        zero = int.from_bytes(self._encrypted(bytes(16)), "big")
        doubled = (zero << 1) % (1 << _BLOCK_BITS)
        mask = doubled ^ (_POLYNOMIAL if zero >> (_BLOCK_BITS - 1) else 0)
        self._mask = mask << _BLOCK_BITS | mask  # of two blocks

    def encrypt(self, nonce: bytes, plain: bytes, said: bytes) -> bytes:
        """Encrypt, and authenticate ``said`` beside it."""
        return self._cipher(nonce).encrypt(nonce[12:], plain, said)

    def decrypt(self, nonce: bytes, sealed: bytes, said: bytes) -> bytes:
        """Decrypt what ``encrypt`` made. Raises InvalidTag for anything else."""
        return self._cipher(nonce).decrypt(nonce[12:], sealed, said)

    def _cipher(self, nonce: bytes) -> AESGCM:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        half = nonce[:12]
        blocks = int.from_bytes(_FIRST + half + _SECOND + half, "big") ^ self._mask
        return AESGCM(self._encrypted(blocks.to_bytes(32, "big")))

    def _encrypted(self, blocks: bytes) -> bytes:
        with self._one_by_one:
            return self._aes.update(blocks)

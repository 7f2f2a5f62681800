"""The vectors of the specification, https://c2sp.org/XAES-256-GCM."""

import pytest
from cryptography.exceptions import InvalidTag

from mainspring.adapters.keyring.xaes import XAesGcm

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PLAIN = b"XAES-256-GCM"


@pytest.mark.parametrize(
    ("byte", "said", "sealed"),
    [
        (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        # The other branch of the doubling: the first bit of the encrypted zero is set.
        (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_vectors(byte: int, said: bytes, sealed: str) -> None:
    cipher = XAesGcm(bytes([byte]) * 32)
    assert cipher.encrypt(NONCE, PLAIN, said).hex() == sealed
    assert cipher.decrypt(NONCE, bytes.fromhex(sealed), said) == PLAIN
    with pytest.raises(InvalidTag):
        cipher.decrypt(NONCE, bytes.fromhex(sealed), said + b"x")


def test_each_half_of_the_nonce_counts() -> None:
    cipher = XAesGcm(bytes(32))
    texts = {
        cipher.encrypt(nonce, PLAIN, b"") for nonce in (NONCE, b"Z" + NONCE[1:], NONCE[:-1] + b"Z")
    }
    assert len(texts) == 3
    with pytest.raises(ValueError, match="24 bytes"):
        cipher.encrypt(NONCE[:12], PLAIN, b"")

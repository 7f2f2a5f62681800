"""The keyring port: secrets the platform itself holds. Keys never leave it in the clear.

A *purpose* is a word in the code, such as ``answers``; it is never made from input. Keys of
different purposes are independent: what was sealed for one does not open for another.
"""

from typing import Any, Protocol

from mainspring.ports.database import StartError


class NoKeyring(StartError):
    """There is no keyring, and none was to be made."""


class Keyring(Protocol):
    """Seals, signs and fingerprints. Every method is fast and does no I/O once it is open."""

    async def open(self, *, create: bool = True) -> None:
        """Load the keys, making them on the first start. Raises StartError.

        Without ``create`` it raises NoKeyring where there are none.
        """
        ...

    async def rotate(self) -> str:
        """Add a key, which seals and signs from now on; return its id. The older ones stay."""
        ...

    def key_ids(self) -> list[str]:
        """Name every key it holds, in the order they were made."""
        ...

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """Encrypt with AES-256-GCM under the current key of this purpose and a random nonce."""
        ...

    def unseal(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt, under whichever key sealed it. Raises ValueError when none of ours did."""
        ...

    def fingerprint(self, data: bytes, *, purpose: str) -> bytes:
        """HMAC-SHA256 under the key of this purpose: 32 bytes, the same after a rotation."""
        ...

    def sign_token(self, claims: dict[str, Any]) -> str:
        """Make a JWT signed with EdDSA (RFC 7519, RFC 8037, RFC 9068).

        ``claims`` hold ``sub``, ``iat`` and ``exp`` (seconds); issuer and audience are added.
        """
        ...

    def verify_token(self, token: str, *, now_s: float) -> dict[str, Any]:
        """Return the claims of a token of ours. Raises ValueError when it does not hold.

        Signature, algorithm, key id, issuer, audience and expiry are checked.
        """
        ...

    def jwks(self) -> dict[str, Any]:
        """Public keys that tokens may be signed with (RFC 7517), the current one first."""
        ...

    def sign(self, message: bytes, *, public: bytes | None = None) -> bytes:
        """Ed25519 signature of a message (checkpoints of the audit log): 64 bytes.

        It is made with the key whose public half is given, or the current one.
        """
        ...

    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key that ``sign`` signs with."""
        ...

    def public_keys(self) -> list[bytes]:
        """Every key that ``sign`` has ever signed with, the current one first."""
        ...

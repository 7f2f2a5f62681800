"""The keyring port: secrets the platform itself holds. Keys never leave it in the clear."""

from typing import Any, Protocol


class Keyring(Protocol):
    """Seals, signs and fingerprints. Every method is fast and does no I/O once it is open."""

    async def open(self) -> None:
        """Load the keys, making them on the first start. Raises StartError."""
        ...

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """Encrypt with AES-256-GCM under the key of this purpose and a random nonce."""
        ...

    def unseal(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt. Raises ValueError when it was not sealed here for this purpose."""
        ...

    def fingerprint(self, data: bytes, *, purpose: str) -> bytes:
        """HMAC-SHA256 under the key of this purpose: 32 bytes."""
        ...

    def sign_token(self, claims: dict[str, Any]) -> str:
        """Make a JWT signed with EdDSA (RFC 7519, RFC 8037)."""
        ...

    def verify_token(self, token: str, *, now_s: float) -> dict[str, Any]:
        """Return the claims of a token of ours. Raises ValueError when it does not hold."""
        ...

    def jwks(self) -> dict[str, Any]:
        """Public keys that tokens may be signed with (RFC 7517)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature of a message (checkpoints of the audit log): 64 bytes."""
        ...

    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key that ``sign`` signs with."""
        ...

"""The keyring port: secrets the platform itself holds. Keys never leave it in the clear.

A *purpose* is a word in the code, such as ``answers``; it is never made from input. Keys of
different purposes are independent: what was sealed for one does not open for another.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mainspring.ports.database import StartError


class NoKeyring(StartError):
    """There is no keyring, and none was to be made."""


class SignedTree(msgspec.Struct, frozen=True):
    """What is signed for a log: that its first ``size`` entries have this root (RFC 9162)."""

    size: int
    root: bytes


class TreeContradicts(Exception):
    """A tree does not extend the one that was ``signed`` last, so nobody may be told of it."""

    def __init__(self, signed: SignedTree) -> None:
        super().__init__(f"a tree of {signed.size} was signed that this one does not extend")
        self.signed = signed


class Keyring(Protocol):
    """Seals, signs and fingerprints. What is no coroutine is fast: it waits for no other machine.

    A process seals and signs with what was current when it opened; it reads what others seal and
    sign after a rotation, as soon as the new key has come to where its own keys are.
    """

    async def open(self, *, create: bool = True) -> None:
        """Load the keys, making them on the first start. Raises StartError.

        Without ``create`` it raises NoKeyring where there are none.
        """
        ...

    async def rotate(self, *, for_new_log: bool = False) -> str:
        """Add a key, which seals and signs from now on; return its id. The older ones stay.

        Another process that has these keys open goes on with its own, and reads the new one's.

        ``for_new_log`` is for a log that lost what was signed: the older ones sign no tree any
        more, whatever process holds them.
        """
        ...

    def key_ids(self) -> list[str]:
        """Name every key it holds, in the order they were made."""
        ...

    def current_key(self) -> str:
        """Name the key that seals and signs."""
        ...

    def seal(self, plain: bytes, *, purpose: str, about: bytes = b"") -> bytes:
        """Encrypt under the current key of this purpose; no two texts are the same.

        What is sealed ``about`` something opens for that and for nothing else.
        """
        ...

    def unseal(self, sealed: bytes, *, purpose: str, about: bytes = b"") -> bytes:
        """Decrypt, under whichever key sealed it. Raises ValueError when none of ours did.

        What was sealed about nothing opens about anything, as before there was such a thing.
        """
        ...

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether it was sealed about something under the current key: as it would be now."""
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

    async def last_signed(self, log: str) -> SignedTree | None:
        """Return the tree that was signed last for a log of this name, by any of ``public_keys``.

        It is remembered beside the keys. Raises Unavailable when it cannot be read.
        """
        ...

    async def sign_tree(
        self, log: str, tree: SignedTree, message: bytes, proof: Sequence[bytes]
    ) -> Mapping[bytes, bytes]:
        """Sign a message that states a tree of a log; return an Ed25519 signature by public key.

        There is one of each of ``public_keys``, in their order. ``proof`` (RFC 9162, 2.1.4) shows
        that the tree extends ``last_signed``; that is checked, and the tree remembered on the
        disk, before anything is signed. Raises TreeContradicts, also where another process has
        signed a tree meanwhile, and Unavailable.
        """
        ...

    def public_key(self) -> bytes:
        """The newest of ``public_keys``: 32 bytes, Ed25519."""
        ...

    def public_keys(self) -> list[bytes]:
        """The keys that sign trees, the current one first: those of before a rotation too."""
        ...

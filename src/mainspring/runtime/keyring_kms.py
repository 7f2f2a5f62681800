"""The KMS that a platform has without another: its keyring's root key wraps data keys."""

from collections.abc import Mapping

import msgspec

from mainspring.ports.keyring import Keyring
from mainspring.ports.kms import Wrapped, WrappingKey

_PURPOSE = "data_keys"
_encode = msgspec.json.Encoder(order="sorted").encode


class KeyringKms:
    """Fills the KMS port from a keyring that is open. It is never away."""

    __slots__ = ("_keyring",)

    scheme = "keyring"

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def open(self) -> None:
        """Do nothing: the keyring is opened by its owner."""

    async def close(self) -> None:
        """Do nothing."""

    def away(self) -> str:
        """Say nothing."""
        return ""

    async def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        """Seal a key with the current root, about its context."""
        sealed = self._keyring.seal(key, purpose=_PURPOSE, about=_encode(context))
        return Wrapped(sealed, f"{self.scheme}:{self._keyring.current_key()}")

    async def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        """Unseal a key with whichever root sealed it. Raises ValueError when none of ours did."""
        return self._keyring.unseal(wrapped.text, purpose=_PURPOSE, about=_encode(context))

    async def describe(self) -> WrappingKey:
        """Name the current root."""
        return WrappingKey(f"{self.scheme}:{self._keyring.current_key()}")

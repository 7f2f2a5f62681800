"""The KMS port: what holds the key that data keys are wrapped with, and never gives it away.

A *context* says what a data key is for. It is no secret, and what was wrapped with one context is
not unwrapped with another.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Wrapped(msgspec.Struct, frozen=True):
    """A key as it may be stored, and the name of the one that wrapped it: ``SCHEME:KEY``."""

    text: bytes
    by: str


class WrappingKey(msgspec.Struct, frozen=True):
    """The key that wraps from now on. ``why`` says what keeps it from that; empty when nothing."""

    name: str
    why: str = ""


class Kms(Protocol):
    """Wraps and unwraps keys. Every method but ``away`` may wait for another machine."""

    @property
    def scheme(self) -> str:
        """What the names of its keys start with."""
        ...

    async def open(self) -> None:
        """Begin. A KMS that is away is no reason not to. Raises StartError for one that refuses."""
        ...

    async def close(self) -> None:
        """Let go of what ``open`` took."""
        ...

    def away(self) -> str:
        """Say why nothing could be asked a moment ago; empty when it could."""
        ...

    async def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        """Encrypt a key of 32 bytes under the current one.

        Raises Unavailable.
        """
        ...

    async def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        """Decrypt what any key of its own wrapped with this context.

        Raises ValueError where it never did, and Unavailable where it cannot be asked, or the key
        may not be used now.
        """
        ...

    async def describe(self) -> WrappingKey:
        """Tell which key wraps from now on. Raises Unavailable."""
        ...


class FormerKms(Kms, Protocol):
    """The one that wrapped before, and only unwraps now."""

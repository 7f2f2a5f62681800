"""The blobs port: bytes by key, durable before they are referenced."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class Blob(msgspec.Struct, frozen=True):
    """What was stored: its key, size and SHA-256 in hex."""

    key: str
    size_bytes: int
    sha256: str


class Blobs(Protocol):
    """A store of immutable bytes."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably; replaces nothing half-way. Raises TooLarge past ``size_bytes_max``."""
        ...

    def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream the bytes. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; removing what is not there is fine."""
        ...

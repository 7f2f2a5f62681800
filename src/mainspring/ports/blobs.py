"""The blobs port: bytes by key, durable before they are referenced."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

KEY_CHARS_MAX = 160  # of ``A-Z a-z 0-9 _ - /``, which every store takes as they are


class Blob(msgspec.Struct, frozen=True):
    """What was stored: its key, size and SHA-256 in hex."""

    key: str
    size_bytes: int
    sha256: str


class StoredBlob(msgspec.Struct, frozen=True):
    """What the store has under a key, unfinished puts included, and when it was last written.

    It is ``finished`` where there is a blob to get.
    """

    key: str
    size_bytes: int
    written_ms: int
    finished: bool


class Blobs(Protocol):
    """A store of immutable bytes. Every method raises ValueError of what cannot be a key."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably; replaces nothing half-way. Raises TooLarge past ``size_bytes_max``."""
        ...

    def get(self, key: str, offset: int = 0, size_bytes: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes, or so many from an offset, as far as there are any. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove, what is left of an unfinished put too; nothing being there is fine."""
        ...

    async def older(
        self, prefix: str, before_ms: int, *, limit: int, after: str | None = None
    ) -> list[StoredBlob]:
        """Return up to ``limit`` keys with this prefix that were last written before a moment.

        Unfinished puts count. The order is the store's own; ``after`` is the last key of the page
        before.
        """
        ...

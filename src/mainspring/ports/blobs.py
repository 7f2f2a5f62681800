"""The blobs port: bytes by key, durable before they are referenced."""

import re
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

KEY_CHARS_MAX = 160  # of ``A-Z a-z 0-9 _ - /``, which every store takes as they are

_KEY = re.compile(rf"(?=.{{1,{KEY_CHARS_MAX}}}\Z)[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")


def is_key(key: str) -> bool:
    """Tell whether this can be a key; no part between its ``/`` is empty."""
    return _KEY.fullmatch(key) is not None


def require_key(key: str) -> None:
    """Raise ValueError of what cannot be a key."""
    if not is_key(key):
        raise ValueError(f"{key!r} cannot be a blob's key")


class Blob(msgspec.Struct, frozen=True):
    """What was stored: its key, size and SHA-256 in hex."""

    key: str
    size_bytes: int
    sha256: str


class StoredBlob(msgspec.Struct, frozen=True):
    """What the store has under a key, unfinished puts included, and when it was last written.

    It is ``finished`` where there is a blob to get. ``place`` is where a listing goes on behind it.
    """

    key: str
    size_bytes: int
    written_ms: int
    finished: bool
    place: str


class Checked(msgspec.Struct, frozen=True):
    """Where blobs lie, and what would better be done there; empty where all is well."""

    found: str
    advice: str = ""


class DirectPut(msgspec.Struct, frozen=True):
    """Where a client puts a file, and the headers that it sends with it as they are."""

    url: str
    headers: dict[str, str]


class DirectUrls(Protocol):
    """URLs at which clients reach the store itself: each good for one request, for a while.

    Nobody can change what they say, nor ask for more with them. Made without asking the store.
    """

    def to_get(self, key: str, *, life_s: int, media_type: str, disposition: str) -> str:
        """Return where a blob is to be had, under these headers, and a ``Range`` of it."""
        ...

    def to_put(
        self, key: str, *, life_s: int, size_bytes: int, sha256: str, media_type: str
    ) -> DirectPut:
        """Return where a blob is to be put: of this size and SHA-256, and no other."""
        ...

    async def arrived(self, key: str, *, size_bytes: int, sha256: str) -> bool:
        """Tell whether the store took exactly that. Raises NotFound, Unavailable.

        If so nothing else takes its place: what may still be put there is the same.
        """
        ...


class Blobs(Protocol):
    """A store of immutable bytes. Every method raises ValueError of what cannot be a key."""

    @property
    def direct(self) -> DirectUrls | None:
        """Where clients may go themselves; None where the bytes come through the platform."""
        ...

    def away(self) -> str:
        """Say why nothing could be stored or read a moment ago; empty when it could."""
        ...

    async def check(self) -> Checked:
        """Store something, read it back and remove it. Raises Unavailable."""
        ...

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably; replaces nothing half-way. Raises TooLarge past ``size_bytes_max``.

        Raises Unavailable where the store is full or away, as every other method does.
        """
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

        Unfinished puts count as far as the store has anything of them; with some a key whose blob
        is whole may be met twice. The order is the store's own; ``after`` is the ``place`` of the
        last one of the page before.
        """
        ...

"""Blobs in a directory: written aside, synced, then renamed, so a key names all of it or nothing.

A file is named by the SHA-256 of its key, so a key may hold any text.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from mainspring.kernel.errors import NotFound, TooLarge
from mainspring.ports.blobs import Blob

CHUNK_BYTES = 256 * 1024
_HALF = ".half"


class DirectoryBlobs:
    """Immutable bytes as files under one directory, spread over 256 folders."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably. Raises TooLarge past ``size_bytes_max`` and leaves nothing then."""
        path = self._path(key)
        half = path.with_name(path.name + _HALF)
        digest = hashlib.sha256()
        size_bytes = 0
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
        file = await asyncio.to_thread(half.open, "wb")
        try:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > size_bytes_max:
                    raise TooLarge(f"at most {size_bytes_max} bytes")
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_settle, file)
        except BaseException:
            file.close()
            await asyncio.to_thread(half.unlink, missing_ok=True)
            raise
        file.close()
        await asyncio.to_thread(_rename, half, path)
        return Blob(key, size_bytes, digest.hexdigest())

    async def get(self, key: str) -> AsyncIterator[bytes]:
        """Stream the bytes. Raises NotFound."""
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise NotFound("no such blob") from None
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """Remove; removing what is not there is fine."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._directory / name[:2] / name[2:]


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(half: Path, path: Path) -> None:
    """Give the file its name, and make the name itself durable."""
    half.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

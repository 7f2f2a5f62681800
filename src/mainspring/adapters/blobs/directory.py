"""Blobs in a directory: written aside, synced, then renamed, so a key names all of it or nothing.

A file is named after its key, with ``=`` for ``/``, in the folder of two hex digits that the key's
SHA-256 begins with. What a put has not finished has a name of its own, which begins with the key's.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from mainspring.adapters import private_file
from mainspring.adapters.blobs.trial import check_by_trying
from mainspring.adapters.outage import Outage
from mainspring.kernel.errors import NotFound, TooLarge, Unavailable
from mainspring.ports.blobs import Blob, Checked, StoredBlob, require_key
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, path_of

CHUNK_BYTES = 256 * 1024
_CANNOT_WRITE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
)
_HALF = ".half"


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "DirectoryBlobs":
    """Keep blobs in a directory: ``file:PATH``. Raises StartError."""
    return DirectoryBlobs(path_of(url))


class DirectoryBlobs:
    """Immutable bytes as files under one directory, spread over 256 folders."""

    def __init__(self, directory: Path) -> None:
        self.direct = None  # nobody reaches it but us
        self._directory = directory
        self._outage = Outage("blobs")

    def away(self) -> str:
        """Say nothing: the disk is looked at by itself."""
        return ""

    async def check(self) -> Checked:
        """Store something, read it back and remove it. Raises Unavailable.

        Before there is anything it leaves that so.
        """
        if not await asyncio.to_thread(self._directory.is_dir):
            return Checked(f"none yet in {self._directory}")
        await check_by_trying(self)
        return Checked(f"in {self._directory}")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably. Raises TooLarge past ``size_bytes_max``, and Unavailable of a full disk.

        Then it leaves nothing.
        """
        try:
            blob = await self._put(key, chunks, size_bytes_max)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            why = os.strerror(error.errno)
            self._outage.failed(why)
            raise Unavailable(f"files cannot be stored: {why}", retry_after_s=1) from error
        self._outage.worked()
        return blob

    async def _put(self, key: str, chunks: AsyncIterator[bytes], size_bytes_max: int) -> Blob:
        path = self._path(key)
        digest = hashlib.sha256()
        size_bytes = 0
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
        aside = contextlib.ExitStack()
        try:
            opened = private_file.aside(path, _HALF)
            file, half = await asyncio.to_thread(aside.enter_context, opened)
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > size_bytes_max:
                    raise TooLarge(f"at most {size_bytes_max} bytes")
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_settle, file)
            await asyncio.to_thread(_rename, half, path)
        finally:
            await asyncio.to_thread(aside.close)
        return Blob(key, size_bytes, digest.hexdigest())

    async def get(
        self, key: str, offset: int = 0, size_bytes: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes, or so many from an offset, as far as there are any. Raises NotFound."""
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb")
        except FileNotFoundError:
            raise NotFound("no such blob") from None
        left = sys.maxsize if size_bytes is None else size_bytes
        try:
            file.seek(offset)
            while chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, left)):
                left -= len(chunk)
                yield chunk
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """Remove, what is left of an unfinished put too; nothing being there is fine."""
        await asyncio.to_thread(_remove, self._path(key))

    async def older(
        self, prefix: str, before_ms: int, *, limit: int, after: str | None = None
    ) -> list[StoredBlob]:
        """Return up to ``limit`` keys with this prefix that were last written before a moment."""
        return await asyncio.to_thread(self._older, prefix, before_ms, limit, after)

    def _older(
        self, prefix: str, before_ms: int, limit: int, after: str | None
    ) -> list[StoredBlob]:
        last = ("", "") if after is None else (_folder(after), after)
        found: list[StoredBlob] = []
        for folder in sorted(self._directory.glob("[0-9a-f][0-9a-f]")):
            if folder.name < last[0] or len(found) >= limit:
                continue
            there: dict[str, StoredBlob] = {}
            for entry in os.scandir(folder):
                key = _key_of(entry.name)
                if not key.startswith(prefix) or (folder.name, key) <= last:
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    there[key] = _with(there.get(key), key, entry)
            found += [there[key] for key in sorted(there) if there[key].written_ms < before_ms]
        return found[:limit]

    def _path(self, key: str) -> Path:
        require_key(key)
        return self._directory / _folder(key) / key.replace("/", "=")


def _folder(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:2]


def _key_of(name: str) -> str:
    return name.partition(".")[0].replace("=", "/")


def _with(known: StoredBlob | None, key: str, entry: os.DirEntry[str]) -> StoredBlob:
    """Return what is known of a key, with one more of its files."""
    status = entry.stat()
    before = known or StoredBlob(key, 0, 0, finished=False, place=key)
    return StoredBlob(
        key,
        before.size_bytes + status.st_size,
        max(before.written_ms, int(status.st_mtime * 1000)),
        finished=before.finished or not entry.name.endswith(_HALF),
        place=key,
    )


def _remove(path: Path) -> None:
    """Remove a blob and what puts of it left unfinished."""
    path.unlink(missing_ok=True)
    for half in path.parent.glob(f"{path.name}.*"):
        half.unlink(missing_ok=True)


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

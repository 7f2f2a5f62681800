"""Blobs in a directory: whole or not there."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.adapters.blobs.directory import DirectoryBlobs
from mainspring.kernel.errors import NotFound, TooLarge


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(blobs: DirectoryBlobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


async def test_what_was_put_comes_back(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blob = await blobs.put("a/../b", chunks(b"one", b"two"), size_bytes_max=10)
    assert (blob.size_bytes, blob.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert await read(blobs, "a/../b") == b"onetwo"


async def test_a_blob_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(TooLarge):
        await blobs.put("k", chunks(b"x" * 6, b"x" * 6), size_bytes_max=10)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


async def test_a_broken_upload_keeps_the_blob_before_it(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("k", chunks(b"whole"), size_bytes_max=10)
    with pytest.raises(ConnectionError):
        await blobs.put("k", broken(), size_bytes_max=10)
    assert await read(blobs, "k") == b"whole"


async def test_deleting_is_final_and_may_be_repeated(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("k", chunks(b"x"), size_bytes_max=10)
    await blobs.delete("k")
    await blobs.delete("k")
    with pytest.raises(NotFound):
        await read(blobs, "k")

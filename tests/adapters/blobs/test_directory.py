"""Blobs in a directory: whole or not there."""

import hashlib
import os
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
    blob = await blobs.put("a/b_1/c-2", chunks(b"one", b"two"), size_bytes_max=10)
    assert (blob.size_bytes, blob.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert await read(blobs, "a/b_1/c-2") == b"onetwo"


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


@pytest.mark.parametrize("key", ["", "a/../b", "a.half", "a\0", "a=b", "a b", "a" * 161])
async def test_a_key_cannot_leave_the_directory(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        await DirectoryBlobs(tmp_path).put(key, chunks(b"x"), size_bytes_max=10)


async def test_old_ones_are_listed_page_by_page(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    keys = {f"mine/{number}" for number in range(20)}
    for key in (*keys, "mine/new", "others/1"):
        await blobs.put(key, chunks(b"x"), size_bytes_max=10)
    (half,) = [p for p in tmp_path.rglob("mine=7") if p.is_file()]
    half.rename(half.with_name("mine=7.half"))  # as a crash leaves it
    for path in tmp_path.rglob("*=*"):
        if path.name != "mine=new":
            os.utime(path, (1000, 1000))
    found: list[str] = []
    while page := await blobs.older(
        "mine/", 1_000_001, limit=6, after=found[-1] if found else None
    ):
        assert len(page) <= 6
        found += page
    assert sorted(found) == sorted(keys)
    assert await blobs.older("mine/", 999_999, limit=6) == []
    await blobs.delete("mine/7")
    assert not half.with_name("mine=7.half").exists()

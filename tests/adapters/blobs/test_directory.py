"""Blobs in a directory: what is on the disk; the rest is in the conformance suite."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainspring.adapters.blobs.directory import DirectoryBlobs
from mainspring.kernel.errors import TooLarge


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_blob_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(TooLarge):
        await blobs.put("k", chunks(b"x" * 6, b"x" * 6), size_bytes_max=10)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


async def test_old_ones_are_listed_page_by_page(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    keys = {f"mine/{number}" for number in range(20)}
    for key in (*keys, "mine/new", "others/1"):
        await blobs.put(key, chunks(b"x"), size_bytes_max=10)
    (half,) = [p for p in tmp_path.rglob("mine=7") if p.is_file()]
    half.rename(half.with_name("mine=7.x1.half"))  # as a crash leaves it
    for path in tmp_path.rglob("*=*"):
        if path.name != "mine=new":
            os.utime(path, (1000, 1000))
    found: list[str] = []
    while page := await blobs.older(
        "mine/", 1_000_001, limit=6, after=found[-1] if found else None
    ):
        assert len(page) <= 6
        found += [blob.key for blob in page]
    assert sorted(found) == sorted(keys)
    assert await blobs.older("mine/", 999_999, limit=6) == []
    await blobs.delete("mine/7")
    assert not half.with_name("mine=7.x1.half").exists()

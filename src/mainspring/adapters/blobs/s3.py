"""Blobs in any S3 store, by obstore: AWS, R2, MinIO, SeaweedFS, Ceph.

A blob is one object, which is there as a whole or not at all. What is larger than a part is put in
parts, of which two are in memory; it is given up where it breaks. Reads ask for a piece at a time,
and one ahead, so that a slow reader holds no connection. Requests that are answered with a server's
error, or not at all, are sent again with jitter, within ``timeout_s`` of the first.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from mainspring.adapters.blobs.s3_place import Place, place_of
from mainspring.adapters.blobs.s3_requests import PAGE_MAX, Arrival, SignedRequests, StoreRefused
from mainspring.adapters.blobs.s3_urls import STORE_CLOCK, S3Urls
from mainspring.adapters.blobs.trial import check_by_trying
from mainspring.adapters.outage import Outage
from mainspring.kernel.errors import NotFound, TooLarge, Unavailable
from mainspring.ports.blobs import Blob, Checked, StoredBlob, is_key, require_key
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

PART_BYTES_MIN = 5 << 20  # S3 takes no smaller ones, the last left out
PARTS_MAX = 10_000
PARTS_AT_ONCE = 1  # of a put, beside the one that fills
PART_BYTES_PER_S = 1 << 20  # a part that comes slower is not waited for
READ_BYTES = 1 << 20
TRIES_MAX = 4
CONNECT_S = 3.0
AWAY_S = 60.0  # how long a failure counts where nobody has asked again
ERROR_CHARS_MAX = 300
ADVICE = (
    "give the bucket a lifecycle rule with AbortIncompleteMultipartUpload: the daily sweep removes "
    "what was not sent to its end, but only while the platform runs"
)

_REFUSED = ("403 Forbidden", ": 403 ", "401 Unauthorized", ": 401 ")
_FULL = ("507 Insufficient", "InsufficientStorage", "QuotaExceeded", "no free volumes")
_UNFINISHED = "unfinished:"  # what the place of a put begins with, which no key does
T = TypeVar("T")


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "S3Blobs":
    """Keep blobs in a bucket: ``s3://ID:SECRET@BUCKET/PREFIX?endpoint=…``. Raises StartError."""
    return S3Blobs(place_of(url))


class _BeyondEnd(Exception):
    """Nothing of what is there is in the range."""


class S3Blobs:
    """Immutable bytes as objects of one bucket."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.direct = S3Urls(place, self.arrival)
        self.requests = SignedRequests(place)
        self.store = _store(place)
        self._outage = Outage("blobs")
        self._clock = STORE_CLOCK
        self._why, self._failed_s = "", float("-inf")
        self._turns = asyncio.Semaphore(place.connections_max)

    def away(self) -> str:
        """Say why a request failed within ``AWAY_S`` and none was answered since."""
        recent = self._clock.monotonic_s() - self._failed_s < AWAY_S
        return self._why if recent else ""

    async def check(self) -> Checked:
        """Store something, read it back and remove it; look at the bucket's rules."""
        await check_by_trying(self)
        found = f"bucket {self.place.bucket} at {self.place.endpoint}"
        try:
            has_rule = await self.requests.has_rule()
        except (StoreRefused, OSError):  # credentials need not be good for that
            return Checked(f"{found}; its lifecycle rules were not to be read")
        return Checked(found, "" if has_rule else ADVICE)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, size_bytes_max: int) -> Blob:
        """Store durably. Raises TooLarge past ``size_bytes_max``, and Unavailable.

        Then it leaves nothing, unless the store is away: the rest goes with the next sweep.
        """
        path = self._path(key)
        part_bytes = max(PART_BYTES_MIN, -(-size_bytes_max // PARTS_MAX))
        part_s = self.place.timeout_s + part_bytes / PART_BYTES_PER_S
        digest, size_bytes = hashlib.sha256(), 0
        writer = obstore.open_writer_async(
            self.store, path, buffer_size=part_bytes, max_concurrency=PARTS_AT_ONCE
        )
        ending = False
        try:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > size_bytes_max:
                    raise TooLarge(f"at most {size_bytes_max} bytes")
                digest.update(chunk)
                await self._sent(writer.write(chunk), part_s)
            ending = True
            await self._sent(writer.close(), part_s)
        except NotFound as error:  # a sweep, or the bucket's own rule
            raise Unavailable("the file took too long and was given up") from error
        finally:
            if not ending:  # else what is left goes with the sweep: another may put the same key
                await self._give_up(writer)
        return Blob(key, size_bytes, digest.hexdigest())

    async def _sent(self, sending: Awaitable[T], timeout_s: float) -> T:
        """Wait for a piece to be taken. It goes on where the caller is gone: then all of it ends.

        A put that is cut while it begins would be left in the store without our knowing its name.
        """
        return await self._answered(lambda: asyncio.shield(sending), timeout_s)

    async def _give_up(self, writer: "obstore.AsyncWritableFile") -> None:
        """Have the store forget what came of a put, as far as it is there."""
        gone = ConnectionAbortedError("given up")
        try:
            async with asyncio.timeout(self.place.timeout_s):
                await writer.__aexit__(type(gone), gone, None)
        except (BaseError, OSError) as error:
            self._outage.failed(_told(error))  # what is left goes with the sweep

    async def get(
        self, key: str, offset: int = 0, size_bytes: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes, or so many from an offset, as far as there are any. Raises NotFound."""
        path, etag = self._path(key), None
        end = None if size_bytes is None else offset + size_bytes
        if size_bytes == 0:
            await self._answered(lambda: obstore.head_async(self.store, path))
            return
        ahead: asyncio.Task[tuple[bytes, int, str | None]] | None = None
        try:
            while end is None or offset < end:
                if ahead is None:
                    ahead = self._begun(path, offset, end, etag)
                data, size_now, etag = await ahead
                ahead, offset = None, offset + len(data)
                if offset >= size_now or not data:
                    end = offset
                elif end is None or offset < end:  # while these are sent on
                    ahead = self._begun(path, offset, end, etag)
                yield data
        except _BeyondEnd:
            return
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    def _begun(
        self, path: str, start: int, end: int | None, etag: str | None
    ) -> "asyncio.Task[tuple[bytes, int, str | None]]":
        until = start + READ_BYTES
        piece = self._piece(path, start, until if end is None else min(until, end), etag)
        return asyncio.create_task(piece)

    async def _piece(
        self, path: str, start: int, end: int, etag: str | None
    ) -> tuple[bytes, int, str | None]:
        """Read a piece, the size of all of it and its tag; with a tag only of what has that."""
        options: obstore.GetOptions = {"range": (start, end)}
        if etag is not None:
            options["if_match"] = etag

        async def read() -> tuple[bytes, int, str | None]:
            got = await obstore.get_async(self.store, path, options=options)
            return bytes(await got.bytes_async()), got.meta["size"], got.meta["e_tag"]

        return await self._answered(read)

    async def delete(self, key: str) -> None:
        """Remove, what is left of an unfinished put too; nothing being there is fine."""
        path = self._path(key)
        with contextlib.suppress(NotFound):  # as some stores say
            await self._answered(lambda: obstore.delete_async(self.store, path))
        for put in await self._answered(lambda: self.requests.unfinished(path)):
            if put.key == path:
                await self._answered(partial(self.requests.abort, put))

    async def older(
        self, prefix: str, before_ms: int, *, limit: int, after: str | None = None
    ) -> list[StoredBlob]:
        """Return up to ``limit`` keys with this prefix that were last written before a moment.

        Those of blobs come first.
        """
        found: list[StoredBlob] = []
        if after is None or not after.startswith(_UNFINISHED):
            found = await self._older_blobs(prefix, before_ms, limit, after)
            after = None
        if len(found) < limit:
            begun = None if after is None else after.removeprefix(_UNFINISHED)
            found += await self._older_puts(prefix, before_ms, limit - len(found), begun)
        return found

    async def _older_blobs(
        self, prefix: str, before_ms: int, limit: int, after: str | None
    ) -> list[StoredBlob]:
        """List in the store's own order, which is not that of the keys everywhere."""
        folder = (self.place.prefix + prefix).rpartition("/")[0]
        listing = obstore.list(
            self.store,
            folder or None,
            offset=None if after is None else self.place.prefix + after,
            chunk_size=PAGE_MAX,
        )
        found: list[StoredBlob] = []
        while len(found) < limit:
            try:
                page = await self._answered(lambda: anext(listing))
            except StopAsyncIteration:
                break
            for meta in page:
                key = meta["path"].removeprefix(self.place.prefix)
                written_ms = int(meta["last_modified"].timestamp() * 1000)
                # Others may keep something in the bucket that is none of ours.
                if key.startswith(prefix) and written_ms < before_ms and is_key(key):
                    found.append(StoredBlob(key, meta["size"], written_ms, True, key))
        return found[:limit]

    async def _older_puts(
        self, prefix: str, before_ms: int, limit: int, after: str | None
    ) -> list[StoredBlob]:
        """List puts that have begun, each key once. Their sizes are not known."""
        within, marker = self.place.prefix + prefix, self.place.prefix + after if after else ""
        found: dict[str, StoredBlob] = {}
        while len(found) < limit:
            puts = await self._answered(partial(self.requests.unfinished, within, marker))
            puts = [put for put in puts if put.key != marker]  # some stores begin there
            for put in puts:
                key = put.key.removeprefix(self.place.prefix)
                if put.begun_ms < before_ms and is_key(key):
                    found[key] = StoredBlob(key, 0, put.begun_ms, False, _UNFINISHED + key)
            if not puts:
                break
            marker = puts[-1].key
        return list(found.values())[:limit]

    async def arrival(self, key: str) -> Arrival:
        """Tell what lies under a key, as the store says it. Raises NotFound, Unavailable."""
        return await self._answered(partial(self.requests.arrival, key))

    def _path(self, key: str) -> str:
        require_key(key)
        return self.place.prefix + key

    async def _answered(self, ask: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
        """Ask when it is our turn. Raises NotFound, and Unavailable of whatever else is wrong."""
        try:
            async with asyncio.timeout(timeout_s or self.place.timeout_s), self._turns:
                answer = await ask()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._away(error, "the store has no such bucket") from error
            raise NotFound("no such blob") from None
        except PreconditionError as error:
            raise Unavailable("the file was replaced while it was read", retry_after_s=1) from error
        except (BaseError, StoreRefused, OSError) as error:
            if "416 Range Not Satisfiable" in str(error):
                raise _BeyondEnd from None
            raise self._away(error, _reason(error)) from error
        self._outage.worked()
        self._why = ""
        return answer

    def _away(self, error: Exception, why: str) -> Unavailable:
        self._outage.failed(_told(error))
        self._why, self._failed_s = why, self._clock.monotonic_s()
        return Unavailable(f"files cannot be reached: {why}", retry_after_s=1)


def _store(place: Place) -> S3Store:
    return S3Store(
        place.bucket,
        endpoint=place.endpoint,
        region=place.region,
        access_key_id=place.credentials.key_id,
        secret_access_key=place.credentials.secret,
        config={"session_token": place.credentials.token} if place.credentials.token else None,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(CONNECT_S, place.timeout_s)),
            "timeout": timedelta(seconds=place.timeout_s),
            **({"root_certificate": place.ca} if place.ca else {}),
            "pool_max_idle_per_host": str(place.connections_max),
        },
        retry_config={
            "max_retries": TRIES_MAX - 1,
            "retry_timeout": timedelta(seconds=place.timeout_s),
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    )


def _reason(error: Exception) -> str:
    """What a caller is told: nothing of hosts, buckets and keys.

    Told apart by their texts, since what a writer raises is an OSError whatever was the matter.
    """
    text = str(error)
    if any(word in text for word in _REFUSED):
        return "the store refuses the platform's credentials"
    if any(word in text for word in _FULL):
        return "the store is full"
    if isinstance(error, TimeoutError) or "timed out" in text:
        return "the store does not answer in time"
    return "the store does not answer as it should"


def _told(error: Exception) -> str:
    """The first line of an error for the log, without what the store quotes of the request."""
    text = str(error).partition("\n")[0].partition("<")[0].strip()
    return (text or type(error).__name__)[:ERROR_CHARS_MAX]

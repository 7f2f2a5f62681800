"""What obstore does not ask an S3 store: puts that were not sent to their end, checksums, rules."""

import base64
import binascii
import hashlib
import ssl
from collections.abc import Mapping
from datetime import datetime
from xml.etree import ElementTree

import msgspec

from mainspring.adapters.blobs.s3_place import Place
from mainspring.kernel.clock import SystemClock

ANSWER_BYTES_MAX = 4 << 20  # a page of a thousand keys is far smaller
SIGNED_S = 300  # how long a request may take to get there, however the clocks differ
PAGE_MAX = 1_000  # of a listing: what S3 gives at most


class Unfinished(msgspec.Struct, frozen=True):
    """A put in parts that has begun and not ended. ``key`` is as the bucket has it."""

    key: str
    upload_id: str
    begun_ms: int


class Arrival(msgspec.Struct, frozen=True):
    """What lies under a key: its size, and the SHA-256 in hex that the store compared it with."""

    size_bytes: int
    sha256: str | None


class Answer(msgspec.Struct, frozen=True):
    """What the store answered; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StoreRefused(Exception):
    """The store answered otherwise than was asked for; the text is for logs."""


class SignedRequests:
    """Asks a store once. Raises StoreRefused, OSError and TimeoutError."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = SystemClock()  # the store compares: a clock that a test holds is not its own

    async def unfinished(
        self, prefix: str, after: str = "", limit: int = PAGE_MAX
    ) -> list[Unfinished]:
        """Return puts not sent to their end of keys with a prefix, behind the key ``after``."""
        query = {"uploads": "", "prefix": prefix, "max-uploads": str(min(limit, PAGE_MAX))}
        if after:
            query["key-marker"] = after
        answer = await self._ask("GET", f"/{self._place.bucket}", query)
        return [
            Unfinished(
                upload.findtext("{*}Key", ""),
                upload.findtext("{*}UploadId", ""),
                _ms(upload.findtext("{*}Initiated", "")),
            )
            for upload in _xml(answer.body).iterfind("{*}Upload")
        ]

    async def abort(self, unfinished: Unfinished) -> None:
        """Give a put up; one that has ended meanwhile is fine."""
        path = f"/{self._place.bucket}/{unfinished.key}"
        await self._ask("DELETE", path, {"uploadId": unfinished.upload_id}, fine=(204, 200, 404))

    async def arrival(self, key: str) -> Arrival:
        """Tell what lies under a key. Raises FileNotFoundError."""
        answer = await self._ask(
            "HEAD", self._place.path(key), {}, headers={"x-amz-checksum-mode": "ENABLED"},
            fine=(200, 404),
        )  # fmt: skip
        if answer.status == 404:
            raise FileNotFoundError(key)
        said = answer.headers.get("x-amz-checksum-sha256", "")
        try:
            digest = base64.b64decode(said, validate=True)
        except binascii.Error:  # of parts: their number follows
            digest = b""
        whole = digest.hex() if len(digest) == hashlib.sha256().digest_size else None
        return Arrival(int(answer.headers.get("content-length", -1)), whole)

    async def has_rule(self) -> bool:
        """Tell whether the bucket gives up by itself what was not sent to its end."""
        answer = await self._ask(
            "GET", f"/{self._place.bucket}", {"lifecycle": ""}, fine=(200, 404)
        )
        if answer.status == 404:
            return False
        rules = _xml(answer.body).iterfind("{*}Rule")
        return any(
            rule.findtext("{*}Status") == "Enabled"
            and rule.find("{*}AbortIncompleteMultipartUpload") is not None
            and self._place.prefix.startswith(
                rule.findtext("{*}Filter/{*}Prefix") or rule.findtext("{*}Prefix") or ""
            )
            for rule in rules
        )

    def _trusted(self) -> "ssl.SSLContext | bool":
        if not self._place.ca:
            return True
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self._place.ca)
        return context

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (200,),
    ) -> Answer:
        import aiohttp  # as in adapters/http_client/lazy.py: a start does without it
        from yarl import URL

        url = self._place.signer.url(
            method, path, now_ms=self._clock.now_ms(), life_s=SIGNED_S, query=query, headers=headers
        )
        timeout = aiohttp.ClientTimeout(total=self._place.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    method, URL(url, encoded=True), headers=headers,
                    allow_redirects=False, ssl=self._trusted(),
                ) as answer,
            ):  # fmt: skip
                read = await answer.content.read(ANSWER_BYTES_MAX + 1)
                while chunk := await answer.content.read(ANSWER_BYTES_MAX + 1 - len(read)):
                    read += chunk
        except aiohttp.ClientError as error:
            raise OSError(f"{method} {path}: {type(error).__name__}") from error
        if len(read) > ANSWER_BYTES_MAX:
            raise StoreRefused(f"{method} {path}: more than {ANSWER_BYTES_MAX} bytes came back")
        if answer.status not in fine:
            raise StoreRefused(f"{method} {path}: {answer.status} {_code(read)}".rstrip())
        named = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, named, read)


def _xml(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)  # noqa: S314 -- of our own store, and bounded
    except ElementTree.ParseError as error:
        raise StoreRefused(f"an answer that is not XML: {error}") from error


def _code(body: bytes) -> str:
    """The store's word for what is wrong: ``NoSuchBucket``. Nothing else of it is passed on."""
    try:
        return _xml(body).findtext("{*}Code") or _xml(body).findtext("Code") or ""
    except StoreRefused:
        return ""


def _ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as error:
        raise StoreRefused(f"{text!r} where a moment was to be") from error

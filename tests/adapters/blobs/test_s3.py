"""Blobs in S3: a store that is away, slow, full, or not ours; the rest is in the suite."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import obstore
import pytest
import structlog
from yarl import URL

from mainspring.adapters.blobs import directory, s3
from mainspring.adapters.blobs.s3 import S3Blobs
from mainspring.adapters.blobs.s3_place import place_of
from mainspring.adapters.blobs.s3_urls import S3Urls
from mainspring.adapters.blobs.sigv4 import Credentials, Signer
from mainspring.app import sections
from mainspring.cli.checks import Verdict, check_blobs
from mainspring.engines import adapter_of
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.errors import NotFound, Unavailable
from mainspring.ports.database import StartError
from mainspring.settings import Flag, Settings, SettingsError, blobs_url, load
from mainspring.testing.clock import FakeClock
from mainspring.testing.conformance.blobs import LARGE, LATER_MS
from mainspring.testing.servers import SeaweedServer
from tests.adapters.blobs.authority import certified
from tests.deadline import DEADLINE_S
from tests.relay import Relay

pytestmark = pytest.mark.xdist_group("s3")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(blobs: S3Blobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


def through(relay: Relay, server: SeaweedServer, timeout_s: float = DEADLINE_S) -> S3Blobs:
    """A part of the store of one test's own, behind the relay."""
    url = server.url(prefix=f"of/{secrets.token_hex(8)}", endpoint=relay.endpoint)
    return s3.open(f"{url}&timeout_s={timeout_s}&connections_max=3")


def settled(**given: object) -> Settings:
    flags = [Flag(name, f"blobs.{name}", value) for name, value in given.items()]
    return load(sections(None), flags=flags)


def test_a_url_is_signed_as_aws_shows_it() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html."""
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    signer = Signer("https://examplebucket.s3.amazonaws.com", "us-east-1", credentials)
    url = signer.url("GET", "/test.txt", now_ms=1_369_353_600_000, life_s=86_400)
    signature = url.rpartition("&X-Amz-Signature=")[2]
    assert signature == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


def test_where_and_as_whom_is_read_from_the_settings() -> None:
    place = place_of(
        blobs_url(
            settled(
                url="s3://files/of/shop/", endpoint="http://s3.internal:9000/", region="eu-x-1",
                public_endpoint="https://files.example", access_key_id="a/b", session_token="t&=",
                secret_access_key="s:@/?#%&=+ ", timeout_s=2.5, connections_max=7,
            )
        ),
        {},
    )  # fmt: skip
    assert (place.bucket, place.prefix, place.region) == ("files", "of/shop/", "eu-x-1")
    assert place.endpoint == "http://s3.internal:9000"
    assert place.public_endpoint == "https://files.example"
    assert place.credentials == Credentials("a/b", "s:@/?#%&=+ ", "t&=")
    assert (place.timeout_s, place.connections_max) == (2.5, 7)

    environ = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-y-1"}
    place = place_of(blobs_url(settled(url="s3://files")), environ)
    assert (place.endpoint, place.prefix) == ("https://s3.eu-y-1.amazonaws.com", "")
    assert place.public_endpoint == place.endpoint
    assert place.credentials == Credentials("k", "s")
    with pytest.raises(StartError, match="needs credentials"):
        place_of("s3://files", {})
    assert adapter_of("blobs", "s3://files") is s3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://files"}, "url is s3://BUCKET"),
        ({"url": "s3://"}, "url is s3://BUCKET"),
        ({"url": "s3://key:hush@files"}, "url is s3://BUCKET"),
        ({"endpoint": "s3.example"}, "endpoint is https://"),
        ({"endpoint": "https://key:hush@s3.example"}, "endpoint is https://"),
        ({"public_endpoint": "https://s3.example/files"}, "public_endpoint is https://"),
        ({"secret_access_key": "hush"}, "go together"),
    ],
)
def test_settings_that_cannot_be_meant(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        settled(**given)
    assert "hush" not in str(refused.value)


def test_no_secret_is_shown() -> None:
    given = settled(url="s3://files", access_key_id="ID", secret_access_key="hush")
    assert "hush" not in str(given.shown())


async def test_a_store_is_trusted_whose_authority_is_named(
    s3_server: SeaweedServer, tmp_path: Path
) -> None:
    """And no other; the URLs of clients lead there too."""
    ca, context = certified(tmp_path)
    async with Relay(s3_server.port, tls=context) as relay:
        url = s3_server.url(prefix=secrets.token_hex(8), endpoint=relay.endpoint)
        with pytest.raises(Unavailable):
            await s3.open(f"{url}&timeout_s=5").delete("k")
        blobs = s3.open(f"{url}&ca={ca}")
        await blobs.put("k", chunks(b"kept"), size_bytes_max=10)
        assert await whole(blobs, "k") == b"kept"
        await blobs.delete("k")  # which asks for what was begun, too
    for wrong in (tmp_path / "none.pem", Path(__file__)):
        with pytest.raises(StartError, match="PEM"):
            s3.open(f"{s3_server.url()}&ca={wrong}")


async def test_a_store_that_is_away_fails_calls_and_comes_back(s3_server: SeaweedServer) -> None:
    """Quickly, without a word of where it is; said once in the log, and once when it is back."""
    async with Relay(s3_server.port) as relay:
        blobs = through(relay, s3_server)
        await blobs.put("k", chunks(b"kept"), size_bytes_max=10)
        relay.hang_up()
        others = [through(relay, s3_server) for _ in range(4)]
        with structlog.testing.capture_logs() as logged:
            for ask in (
                lambda: blobs.put("l", chunks(b"x"), size_bytes_max=10),
                lambda: whole(blobs, "k"),
                lambda: others[0].put("l", chunks(LARGE, LARGE), size_bytes_max=1 << 30),
                lambda: others[1].delete("k"),
                lambda: others[2].older("", LATER_MS, limit=1),
                lambda: others[3].check(),
            ):
                with pytest.raises(Unavailable, match="files cannot be reached") as refused:
                    await ask()
                said = refused.value.detail
                assert not any(word in said for word in ("127.0.0.1", "mainspring-test", "of/"))
            relay.open = True
            assert await whole(blobs, "k") == b"kept"
        lines = [line["event"] for line in logged]
        assert lines == ["part_unavailable"] * 5 + ["part_available"]  # each of these, once
        assert s3_server.SECRET_KEY not in str(logged)


async def test_a_connection_that_is_cut_is_made_again(s3_server: SeaweedServer) -> None:
    """A put that goes wrong on the way is whole in the end, or was refused and left nothing."""
    async with Relay(s3_server.port) as relay:
        blobs = through(relay, s3_server)
        relay.passes_bytes = len(LARGE) + 4_000_000  # each connection takes one part
        data = LARGE * 3
        blob = await blobs.put("k", chunks(LARGE, LARGE, LARGE), size_bytes_max=len(data))
        assert blob.sha256 == hashlib.sha256(data).hexdigest()
        assert relay.connections > 1
        relay.passes_bytes = 1_000_000  # none does
        with pytest.raises(Unavailable):
            await blobs.put("l", chunks(LARGE, LARGE, LARGE), size_bytes_max=len(data))
        assert [blob.key for blob in await blobs.older("", LATER_MS, limit=10)] == ["k"]
        relay.passes_bytes = None
        assert await whole(blobs, "k") == data


async def test_a_put_that_is_cut_as_it_begins_leaves_nothing(s3_server: SeaweedServer) -> None:
    """The store has begun it, and nobody here has heard under which name."""
    async with Relay(s3_server.port) as relay:
        blobs = through(relay, s3_server)
        put = blobs.put("k", chunks(LARGE, LARGE), size_bytes_max=1 << 30)
        putting = asyncio.create_task(put)
        await relay.asked.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await blobs.older("", LATER_MS, limit=10) == []


async def test_a_store_that_does_not_answer_is_not_waited_for(s3_server: SeaweedServer) -> None:
    async with Relay(s3_server.port) as relay:
        blobs = through(relay, s3_server, timeout_s=0.2)
        relay.stall()
        async with asyncio.timeout(DEADLINE_S):
            asked = [whole(blobs, f"k{number}") for number in range(50)]
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in found), found
        assert "in time" in str(found[0])
        # Three at a time, and some that it has not noticed the end of; others wait no longer.
        assert relay.connections_most < 15
        relay.go_on()
        with pytest.raises(NotFound):
            await whole(through(relay, s3_server), "k")


async def test_a_reader_that_is_slow_holds_no_connection(s3_server: SeaweedServer) -> None:
    async with Relay(s3_server.port) as relay:
        blobs = through(relay, s3_server)
        await blobs.put("k", chunks(LARGE), size_bytes_max=len(LARGE))
        slow = [blobs.get("k") for _ in range(4)]  # more than it may open
        begun = [await anext(reading) for reading in slow]
        assert await whole(blobs, "k") == LARGE
        for first, reading in zip(begun, slow, strict=True):
            assert first + b"".join([chunk async for chunk in reading]) == LARGE


async def test_what_is_replaced_while_it_is_read_is_not_mixed(s3_server: SeaweedServer) -> None:
    blobs = s3.open(s3_server.url(prefix=secrets.token_hex(8)))
    await blobs.put("k", chunks(LARGE), size_bytes_max=len(LARGE))
    reading = blobs.get("k")
    await anext(reading)
    await blobs.put("k", chunks(LARGE[1:]), size_bytes_max=len(LARGE))
    with pytest.raises(Unavailable, match="replaced"):
        async for _ in reading:  # it may have asked for the next piece before
            pass


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [
        ("507 Insufficient Storage", "full", s3.TRIES_MAX),
        ("503 Slow Down", "as it should", s3.TRIES_MAX),
        ("403 Forbidden", "credentials", 1),
        ("200 OK", "as it should", 1),  # and then no answer that S3 would give
    ],
)
async def test_what_a_store_answers_is_told_apart(status: str, said: str, tries: int) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    blobs = s3.open(f"s3://id:hush@files?endpoint=http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=said):
        await blobs.put("k", chunks(b"x"), size_bytes_max=10)
    assert asked == tries
    server.close()


async def test_whoever_has_no_right_is_refused(s3_server: SeaweedServer) -> None:
    url = s3_server.url()
    with structlog.testing.capture_logs() as logged:
        for wrong, said in (
            (url.replace(s3_server.SECRET_KEY, "hush"), "credentials"),
            (url.replace(s3_server.bucket, "test-none"), "no such bucket"),
        ):
            blobs = s3.open(wrong)
            with pytest.raises(Unavailable, match=said):
                await whole(blobs, "k")
            with pytest.raises(Unavailable):
                await blobs.put("k", chunks(b"x"), size_bytes_max=10)
            with pytest.raises(Unavailable):
                await blobs.older("", LATER_MS, limit=1)
    assert "hush" not in str(logged)


async def test_a_listing_goes_past_a_page_of_the_store(s3_server: SeaweedServer) -> None:
    blobs = s3.open(s3_server.url(prefix=secrets.token_hex(8)))
    keys = {f"many/{number:04}" for number in range(1_010)}
    await asyncio.gather(*(blobs.put(key, chunks(b"x"), size_bytes_max=1) for key in keys))
    first = await blobs.older("many/", LATER_MS, limit=1_005)
    rest = await blobs.older("many/", LATER_MS, limit=1_005, after=first[-1].place)
    assert len(first) == 1_005
    assert {blob.key for blob in (*first, *rest)} == keys


async def test_what_is_signed_for_a_client_ends_and_is_compared(s3_server: SeaweedServer) -> None:
    blobs = s3.open(s3_server.url(prefix=secrets.token_hex(8)))
    data, digest = b"announced", hashlib.sha256(b"announced").hexdigest()
    now_ms = SystemClock().now_ms()
    async with aiohttp.ClientSession() as web:
        for began_ms, status in ((now_ms - 61_000, 403), (now_ms, 200)):
            urls = S3Urls(blobs.place, blobs.arrival, FakeClock(began_ms))
            put = urls.to_put(
                "k", life_s=60, size_bytes=len(data), sha256=digest, media_type="text/plain"
            )
            async with web.put(URL(put.url, encoded=True), data=data, headers=put.headers) as told:
                assert told.status == status
            url = urls.to_get("k", life_s=60, media_type="text/plain", disposition="inline")
            async with web.get(URL(url, encoded=True)) as told:
                assert told.status == status
    assert await blobs.direct.arrived("k", size_bytes=len(data), sha256=digest)
    assert not await blobs.direct.arrived("k", size_bytes=len(data), sha256="0" * 64)
    assert not await blobs.direct.arrived("k", size_bytes=8, sha256=digest)
    with pytest.raises(NotFound):
        await blobs.direct.arrived("l", size_bytes=len(data), sha256=digest)
    # What was not sent so was compared with nothing, and may be replaced.
    await blobs.put("m", chunks(data), size_bytes_max=10)
    assert not await blobs.direct.arrived("m", size_bytes=len(data), sha256=digest)


async def test_what_others_keep_in_the_bucket_is_left_alone(s3_server: SeaweedServer) -> None:
    blobs = s3.open(s3_server.url(s3_server.create_bucket()))
    await blobs.put("ours", chunks(b"x"), size_bytes_max=10)
    await obstore.put_async(blobs.store, "their own.txt", b"x")
    async with obstore.open_writer_async(blobs.store, "their own.zip", buffer_size=5 << 20) as put:
        await put.write(LARGE)
        assert [begun.key for begun in await blobs.requests.unfinished("")] == ["their own.zip"]
        assert [blob.key for blob in await blobs.older("", LATER_MS, limit=10)] == ["ours"]


async def test_a_check_tells_of_the_rule_that_a_bucket_lacks(
    s3_server: SeaweedServer, tmp_path: Path
) -> None:
    blobs = s3.open(s3_server.url(bucket := s3_server.create_bucket()))
    checked = await check_blobs(lambda: blobs)
    assert (checked.verdict, bucket in checked.found) == (Verdict.WARN, True)
    assert "AbortIncompleteMultipartUpload" in checked.advice
    s3_server.set_lifecycle(bucket, "<Filter><Prefix>other/</Prefix></Filter>")
    assert (await blobs.check()).advice
    s3_server.set_lifecycle(bucket, "<Filter><Prefix></Prefix></Filter>")
    assert (await check_blobs(lambda: blobs)).verdict is Verdict.OK
    away = await check_blobs(lambda: s3.open("s3://id:hush@files?endpoint=http://127.0.0.1:9"))
    assert (away.verdict, "hush" in away.found) == (Verdict.FAIL, False)
    here = await check_blobs(lambda: directory.open(f"file:{tmp_path / 'none'}"))
    assert (here.verdict, (tmp_path / "none").exists()) == (Verdict.OK, False)
    assert await blobs.older("", LATER_MS, limit=1) == []

"""What somebody does with files, where they lie in a real S3 store and rows on PostgreSQL."""

import hashlib
import io
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import obstore
import pytest
from PIL import Image
from yarl import URL

from mainspring.adapters.blobs.s3 import S3Blobs
from mainspring.ports.blobs import Blobs
from mainspring.testing import Client, Platform
from mainspring.testing.conformance.blobs import LARGE, LATER_MS
from mainspring.testing.servers import PostgresServer, SeaweedServer
from tests.relay import Relay
from tests.services.records.test_direct_uploads import begun, finished
from tests.services.records.test_forms import KIND, form

pytestmark = pytest.mark.xdist_group("s3")

PEOPLE = {
    "name": "people",
    "fields": [
        {"name": "name", "type": "text"},
        {"name": "photo", "type": "file", "types": ["image/*"], "thumbs": ["20x20"]},
        {"name": "film", "type": "file", "inline": True},
        {"name": "scans", "type": "file", "many": True, "max_items": 3},
    ],
    "rules": {"view": "true"},
}
RECORDS = "/v1/collections/people/records"


def of_a_bucket(server: SeaweedServer, endpoint: str) -> dict[str, Any]:
    """Settings that keep files in a part of the store of one platform's own."""
    return {
        "blobs.url": f"s3://{server.bucket}/of/{secrets.token_hex(8)}",
        "blobs.endpoint": endpoint,
        "blobs.access_key_id": server.ACCESS_KEY,
        "blobs.secret_access_key": server.SECRET_KEY,
    }


@pytest.fixture
async def relay(s3_server: SeaweedServer) -> AsyncIterator[Relay]:
    async with Relay(s3_server.port) as relay:
        yield relay


@pytest.fixture
async def platform(
    postgres_server: PostgresServer, s3_server: SeaweedServer, relay: Relay
) -> AsyncIterator[Platform]:
    async with Platform(
        database=postgres_server.url(), sockets=True,
        settings=of_a_bucket(s3_server, relay.endpoint),
    ) as platform:  # fmt: skip
        yield platform


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(made, "PNG")
    return made.getvalue()


async def kept(platform: Platform) -> set[str]:
    """The keys in the store, unfinished ones too."""
    return {blob.key for blob in await platform.use(Blobs).older("", LATER_MS, limit=100)}


async def uploaded(key: Client, path: str, content: bytes, kind: str) -> Any:
    answer = await key.post(path, content=content, content_type=kind)
    return answer.expect(201)


async def test_files_come_and_go_with_their_records(platform: Platform, relay: Relay) -> None:
    key = await platform.as_key("*")
    (await key.post("/v1/collections", PEOPLE)).expect(201)
    sent = form(("record", None, b'{"name": "Ann"}'), ("photo", "image/png", picture()))
    ann = (await key.request("POST", RECORDS, content=sent, content_type=KIND)).expect(201)
    files = f"{RECORDS}/{ann['id']}/files"

    film = LARGE + b"the end"
    shown = await uploaded(key, f"{files}/film", film, "video/x-own")
    assert shown["film"]["sha256"] == hashlib.sha256(film).hexdigest()
    for content in (b"one", b"", b"three"):
        await uploaded(key, f"{files}/scans", content, "text/plain")

    nobody = platform.anonymous
    ours = f"{files}/film?redirect=false"
    assert (await nobody.get(ours)).body == film
    part = await nobody.get(ours, headers={"Range": f"bytes={len(LARGE) - 2}-"})
    assert (part.status, part.body) == (206, film[-9:])
    beyond = await nobody.get(ours, headers={"Range": f"bytes={len(film)}-"})
    assert beyond.status == 416
    assert [(await nobody.get(f"{files}/scans?file={n}")).body for n in range(3)] == [
        b"one", b"", b"three",
    ]  # fmt: skip
    small = await nobody.get(f"{files}/photo?thumb=20x20")
    assert Image.open(io.BytesIO(small.body)).size == (20, 20)

    # What is refused is not there, and what is replaced goes.
    assert (await key.post(f"{files}/photo", content=film, content_type="image/png")).status == 415
    await uploaded(key, f"{files}/film", b"another", "video/x-own")
    (await key.patch(f"{RECORDS}/{ann['id']}", {"scans": []})).expect(200)
    await platform.drain()
    assert len(await kept(platform)) == 3  # the photo, its thumbnail, the other film

    # A store that is away fails what needs it and nothing else, and is not waited for when back.
    relay.hang_up()
    for refused in (
        await key.post(f"{files}/scans", content=b"x", content_type="text/plain"),
        await nobody.get(f"{files}/photo"),
        await nobody.get(f"{files}/photo?thumb=20x20"),
        await key.request("POST", RECORDS, content=sent, content_type=KIND),
    ):
        problem = refused.expect(503)
        assert "files cannot be reached" in problem["detail"]
        assert "127.0.0.1" not in refused.text
        assert "retry-after" in refused.headers
    ready = (await nobody.get("/readyz")).expect(200)
    assert ready["degraded"] == ["blobs: the store does not answer as it should"]
    (await key.delete(f"{RECORDS}/{ann['id']}")).expect(204)
    await platform.drain(failing=["records.delete_blobs"])  # tried again until it can
    relay.open = True
    await platform.pass_time(minutes=10)
    assert await kept(platform) == set()
    assert "degraded" not in (await nobody.get("/readyz")).expect(200)


async def test_a_large_file_is_fetched_where_it_lies(platform: Platform) -> None:
    """Under rules that were asked before, as what we say it is, and as nothing else."""
    key = await platform.as_key("*")
    closed = {**PEOPLE, "rules": {"view": "record.name == 'open'"}}
    (await key.post("/v1/collections", closed)).expect(201)
    one = (await key.post(RECORDS, {"name": "open"})).expect(201)
    files = f"{RECORDS}/{one['id']}/files"
    page = b"<!doctype html><script>alert(1)</script>" + LARGE
    shown = await uploaded(key, f"{files}/film", page, "text/html")
    await uploaded(key, f"{files}/scans", b"small", "text/plain")

    nobody = platform.anonymous
    sent_on = await nobody.get(f"{files}/film")
    assert (sent_on.status, sent_on.body) == (307, b"")
    assert sent_on.headers["cache-control"] == "no-store"
    assert "etag" not in sent_on.headers
    url = URL(sent_on.headers["location"], encoded=True)
    assert url.query["X-Amz-Expires"] == "60"
    async with aiohttp.ClientSession() as web:
        async with web.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, page)
            # This store says of no file that it is a page, whatever it is asked for.
            assert answer.headers["content-type"] in {"text/html", "application/octet-stream"}
            assert answer.headers["content-disposition"].startswith("attachment")
            assert answer.headers["cache-control"] == "private, no-cache"
        async with web.get(url, headers={"Range": "bytes=10-12"}) as answer:
            assert (answer.status, await answer.read()) == (206, page[10:13])
        for tampered in (
            url.update_query({"response-content-disposition": "inline"}),
            url.update_query({"X-Amz-Expires": "6000"}),
            url.with_path(url.path.replace("/film", "/scans")[:-1] + "x"),
        ):
            async with web.get(tampered) as answer:
                assert answer.status == 403, tampered
        async with web.put(url, data=b"mine") as answer:
            assert answer.status == 403

    # What only asks about it is answered here, as is what is small, or wanted from us.
    asked = await nobody.request("HEAD", f"{files}/film")
    assert (asked.status, asked.headers["content-length"]) == (200, str(len(page)))
    tag = asked.headers["etag"]
    assert (await nobody.get(f"{files}/film", headers={"If-None-Match": tag})).status == 304
    assert (await nobody.get(f"{files}/film?redirect=false")).body == page
    part = await nobody.get(f"{files}/film?redirect=false", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, page[:4])
    assert (await nobody.get(f"{files}/scans?file=0")).body == b"small"

    # A link leads there too, for no longer than it holds; without the right there is nothing.
    link = (await key.post(f"{files}/film:link", {"expires_in_s": 20})).expect(200)
    followed = await nobody.get(link["url"])
    assert followed.status == 307
    assert URL(followed.headers["location"], encoded=True).query["X-Amz-Expires"] == "20"
    (await key.patch(f"{RECORDS}/{one['id']}", {"name": "shut"})).expect(200)
    refused = await nobody.get(f"{files}/film")
    assert (refused.status, "location" in refused.headers) == (404, False)
    assert shown["film"]["blob"] not in refused.text


async def test_a_file_is_sent_where_it_will_lie(platform: Platform) -> None:
    """By whoever was told where, that file and no other; no record has it before it is right."""
    key = await platform.as_key("*")
    (await key.post("/v1/collections", PEOPLE)).expect(201)
    one = (await key.post(RECORDS, {})).expect(201)
    photo, film = (f"{RECORDS}/{one['id']}/files/{name}" for name in ("photo", "film"))
    data = picture()
    pending = await begun(key, photo, data, media_type="image/png", name="red.png")
    url, headers = URL(pending["url"], encoded=True), pending["headers"]
    assert url.query["X-Amz-Expires"] == "900"
    signed = url.query["X-Amz-SignedHeaders"].split(";")
    assert signed == ["content-length", "content-type", "host", "x-amz-checksum-sha256"]
    assert "nothing has come" in (await finished(key, photo, pending)).expect(409)["detail"]
    async with aiohttp.ClientSession() as web:
        for put, body, said in (
            (url, data + b"x", headers),
            (url, data[:-1], headers),
            (url, data[:-1] + b"x", headers),
            (url, data, {**headers, "content-type": "text/html"}),
            (url, data, {"content-type": "image/png"}),
            (url, b"", {**headers, "x-amz-copy-source": f"/{platform_bucket(url)}/other"}),
            (url.with_path(url.path[:-1] + "x"), data, headers),
            (url.update_query({"X-Amz-Expires": "90000"}), data, headers),
        ):
            async with web.put(put, data=body, headers=said) as answer:
                assert answer.status in {400, 403}, (await answer.text(), said)
        assert (await finished(key, photo, pending)).status == 409
        assert await kept(platform) == set()
        async with web.put(url, data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        assert (await finished(await platform.as_key("*"), photo, pending)).status == 404
        record = (await finished(key, photo, pending)).expect(201)
        assert record["photo"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert record["photo"]["name"] == "red.png"
        assert await kept(platform) == {record["photo"]["blob"]}
        # The address still holds, for what is there already: nobody changes it with that.
        async with web.put(url, data=data[:-1] + b"x", headers=headers) as answer:
            assert answer.status == 400
        assert (await platform.anonymous.get(photo)).body == data

        # What is in it counts, also when it went past us; what is refused is swept.
        page = b"<!doctype html><script>alert(1)</script>"
        pending = await begun(key, photo, page, media_type="image/png")
        headers = pending["headers"]
        async with web.put(URL(pending["url"], encoded=True), data=page, headers=headers) as answer:
            assert answer.status == 200
        assert (await finished(key, photo, pending)).status == 415
        large = await begun(key, film, LARGE, media_type="video/x-own")
        headers = large["headers"]
        async with web.put(URL(large["url"], encoded=True), data=LARGE, headers=headers) as answer:
            assert answer.status == 200
        shown = (await finished(key, film, large)).expect(201)
        assert shown["film"]["size_bytes"] == len(LARGE)
        await platform.pass_time(days=1)
        assert await kept(platform) == {record["photo"]["blob"], shown["film"]["blob"]}


def platform_bucket(url: URL) -> str:
    return url.path.split("/")[1]


async def test_what_no_record_has_is_swept(platform: Platform) -> None:
    key = await platform.as_key("*")
    (await key.post("/v1/collections", PEOPLE)).expect(201)
    one = (await key.post(RECORDS, {})).expect(201)
    shown = await uploaded(key, f"{RECORDS}/{one['id']}/files/film", b"kept", "video/x-own")

    async def once() -> AsyncIterator[bytes]:
        yield b"nobody's"

    blobs = platform.use(Blobs)
    for name in ("blob_1", "blob_2-20x20"):
        stem = shown["film"]["blob"].rpartition("/")[0]
        await blobs.put(f"{stem}/{name}", once(), size_bytes_max=10)
    # And what a process was killed over, in the middle of it.
    assert isinstance(blobs, S3Blobs)
    whose = blobs.place.prefix + shown["film"]["blob"].rpartition("/")[0]
    killed = obstore.open_writer_async(blobs.store, f"{whose}/blob_3", buffer_size=5 << 20)
    await killed.write(LARGE)
    assert len(await kept(platform)) == 4
    await platform.pass_time(days=1)
    assert await kept(platform) == {shown["film"]["blob"]}

"""What a file field takes: over HTTP, of both engines."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mainspring import testing
from mainspring.services.records.file_types import fits, judge, pattern_of
from mainspring.testing.client import Client, HttpAnswer

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0" * 40
PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\n"
HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b"<?xml version='1.0'?><!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>"
ZIP = b"PK\x03\x04\x14\0\0\0\0\0" + b"\0" * 40
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


async def _collection(key: Client, **field: Any) -> str:
    photo = {"name": "photo", "type": "file", **field}
    new = {"name": "people", "fields": [photo, {"name": "name", "type": "text"}]}
    (await key.post("/v1/collections", new)).expect(201)
    record = (await key.post("/v1/collections/people/records", {})).expect(201)
    return f"/v1/collections/people/records/{record['id']}/files/photo"


def _stored(whole: testing.Platform) -> list[bytes]:
    blobs = whole.app.data_dir / "blobs"
    return [path.read_bytes() for path in blobs.rglob("*") if path.is_file()]


async def _sent(key: Client, path: str, content: bytes, media_type: str) -> HttpAnswer:
    return await key.post(path, content=content, content_type=media_type)


async def test_a_file_of_another_type_is_refused_by_what_is_in_it(whole: testing.Platform) -> None:
    key = await whole.as_key("*")
    path = await _collection(key, types=["IMAGE/*", "application/pdf"])
    fields = (await key.get("/v1/collections/people")).expect(200)["fields"]
    assert fields[0]["types"] == ["image/*", "application/pdf"]
    for content, claimed, came in (
        (HTML, "image/png", "text/html"),
        (b"just text", "image/png", "text/plain"),
        (bytes(range(256)), "application/pdf", "application/octet-stream"),
        (b"", "image/png", "text/plain"),
        (ZIP, "image/png", "application/zip"),
    ):
        answer = await _sent(key, path, content, claimed)
        problem = answer.expect(415)
        assert [e["pointer"] for e in problem["errors"]] == ["/photo"]
        assert f"'photo' takes image/*, application/pdf, and this is {came}" in problem["detail"]
    assert _stored(whole) == []
    for content, claimed, kept in (
        (PNG, "text/plain", "image/png"),
        (PDF, "application/octet-stream", "application/pdf"),
        (SVG, "image/png", "image/svg+xml"),
    ):
        record = (await _sent(key, path, content, claimed)).expect(201)
        assert record["photo"]["media_type"] == kept
        assert (await key.get(path)).headers["content-type"] == kept


async def test_a_file_that_is_too_large_is_cut_off_and_nothing_of_it_kept(
    whole: testing.Platform,
) -> None:
    key = await whole.as_key("*")
    path = await _collection(key, max_bytes=20_000)
    problem = (await _sent(key, path, b"x" * 20_001, "text/plain")).expect(413)
    assert problem["detail"] == (
        "the file of 'photo' has at most 20000 bytes: 20001 were announced"
    )
    assert _stored(whole) == []
    (await _sent(key, path, b"x" * 20_000, "text/plain")).expect(201)


async def test_what_a_field_says_of_files_has_to_make_sense(whole: testing.Platform) -> None:
    key = await whole.as_key("*")
    fields = [
        {"name": "a", "type": "text", "types": ["image/*"]},
        {"name": "b", "type": "text", "max_bytes": 1},
        {"name": "c", "type": "file", "types": ["image/*", "*/*", "png"]},
        {"name": "d", "type": "file", "max_bytes": 0},
    ]
    new = {"name": "people", "fields": fields[:3]}
    problem = (await key.post("/v1/collections", new)).expect(422)
    assert [e["pointer"] for e in problem["errors"]] == [
        "/fields/0/types", "/fields/1/max_bytes", "/fields/2/types/1", "/fields/2/types/2",
    ]  # fmt: skip
    (await key.post("/v1/collections", {"name": "people", "fields": fields[3:]})).expect(422)


@pytest.mark.parametrize("limit", [None, 50])
async def test_the_settings_bound_files_and_bodies(
    platform_server: str | None, limit: int | None
) -> None:
    settings = {"uploads.file_bytes_max": 100, "server.body_bytes_max": 2_000}
    async with testing.Platform(database=platform_server, settings=settings) as whole:
        key = await whole.as_key("*")
        path = await _collection(key, max_bytes=limit)
        most = limit or 100
        (await _sent(key, path, b"x" * most, "text/plain")).expect(201)
        (await _sent(key, path, b"x" * (most + 1), "text/plain")).expect(413)
        records = "/v1/collections/people/records"
        (await key.post(records, {"name": "x" * 1_900})).expect(201)
        (await key.post(records, {"name": "x" * 2_000})).expect(413)


@pytest.mark.parametrize(
    ("content", "claimed", "judged"),
    [
        (ZIP, DOCX, DOCX),
        (ZIP, "application/pdf", "application/zip"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41\0\0\0\0", "audio/mp4", "audio/mp4"),
        (b"a,b\n1,2\n", "text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        (b"a,b\n1,2\n", "application/x-own", "application/x-own"),
        (b"BM is how this text begins", "text/plain", "text/plain"),
        (b"\xff\xfe<\0h\0t\0m\0l\0>\0", "text/plain", "text/html"),
        (b"<?xml version='1.0'?><a/>", "application/atom+xml", "application/atom+xml"),
        (b"<?xml version='1.0'?><a/>", "image/png", "application/xml"),
        (b"\n\n<!-- <svg> --><svg:svg>", "text/plain", "image/svg+xml"),
        (b"\xff\xd8\xff\xe0 JFIF\0", "image/jpg", "image/jpeg"),
        (b"RIFF\x24\0\0\0WAVEfmt \0", "audio/x-wav", "audio/wav"),
    ],
)
def test_bytes_count_and_a_claim_where_they_do_not_tell(
    content: bytes, claimed: str, judged: str
) -> None:
    assert judge(content, claimed) == judged


def test_types_are_kinds_or_single_ones() -> None:
    assert fits("text/plain; charset=utf-8", ["text/plain"])
    assert fits("image/png", ["application/pdf", "image/*"])
    assert not fits("imagery/png", ["image/*"])
    assert pattern_of(" Image/JPG ") == "image/jpeg"
    for wrong in ("", "image", "*/*", "image/", "image/*; q=1", "a/b/c"):
        with pytest.raises(ValueError, match="is a media type"):
            pattern_of(wrong)


async def test_pictures_of_people_are_a_collection_as_the_reference_has_it(
    whole: testing.Platform,
) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/profiles.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (await whole.admin.post("/v1/collections", json.loads(told))).expect(201)
    ann, bert = await whole.as_user("ann@example.com"), await whole.as_user("bert@example.com")
    path = "/v1/collections/avatars/records"
    mine = (await ann.post(path, {})).expect(201)
    assert mine["user"] == ann.id
    (await ann.post(path, {})).expect(409)
    (await bert.post(path, {"user": ann.id})).expect(422)
    (await whole.anonymous.post(path, {})).expect(401)
    file = f"{path}/{mine['id']}/files/picture"
    (await ann.post(file, content=PNG)).expect(201)
    (await bert.post(file, content=PNG)).expect(403)
    assert (await bert.get(file)).body == PNG
    await whole.system.call("users.delete_user", ann.id)
    await whole.drain()
    assert (await bert.get(path)).expect(200)["items"] == []
    blobs = whole.app.data_dir / "blobs"
    assert [each for each in blobs.rglob("*") if each.is_file()] == []

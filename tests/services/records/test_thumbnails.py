"""Thumbnails: made when they are asked for, kept beside their originals, and gone with them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mainspring import testing
from mainspring.ports.blobs import Blobs
from mainspring.services.records import thumbnails
from mainspring.services.records.thumbnails import Box, NoThumbnail, box_of, make, original_of

SIZES = ["200x100", "50x0", "0x50"]
ROTATED = 0x0112  # the EXIF tag that says how it was held


def picture(width: int = 400, height: int = 300, format: str = "PNG", **saved: Any) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(made, format, **saved)
    return made.getvalue()


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def files(whole: testing.Platform) -> list[Path]:
    return [path for path in (whole.app.data_dir / "blobs").rglob("*") if path.is_file()]


async def _photo(whole: testing.Platform, content: bytes, media_type: str = "image/png") -> str:
    key = await whole.as_key("*")
    fields = [{"name": "photo", "type": "file", "thumbs": SIZES, "inline": True}]
    new = {"name": "people", "fields": fields, "rules": {"view": "true"}}
    (await key.post("/v1/collections", new)).expect(201)
    made = (await key.post("/v1/collections/people/records", {})).expect(201)
    path = f"/v1/collections/people/records/{made['id']}/files/photo"
    (await key.post(path, content=content, content_type=media_type)).expect(201)
    return path


async def test_a_thumbnail_is_made_once_and_goes_with_its_original(whole: testing.Platform) -> None:
    path, key = await _photo(whole, picture()), await whole.as_key("*")
    for size, sides in (("200x100", (200, 100)), ("50x0", (50, 38)), ("0x50", (67, 50))):
        first = await whole.anonymous.get(f"{path}?thumb={size}")
        assert (first.status, first.headers["content-type"]) == (200, "image/png")
        assert size_of(first.body) == sides
        assert first.headers["content-disposition"].startswith("inline;")
        assert (await whole.anonymous.get(f"{path}?thumb={size}")).body == first.body
        held = {"If-None-Match": first.etag or ""}
        assert (await key.get(f"{path}?thumb={size}", headers=held)).status == 304
        assert (await key.get(path)).etag != first.etag
    assert len(files(whole)) == 1 + len(SIZES)
    other = (await whole.anonymous.get(f"{path}?thumb=10x10")).expect(422)
    assert other["errors"][0] == {
        "pointer": "/thumb", "detail": "'photo' has 200x100, 50x0, 0x50"
    }  # fmt: skip
    linked = (await key.post(f"{path}:link", {"thumb": "50x0"})).expect(200)["url"]
    assert size_of((await whole.anonymous.get(linked)).body) == (50, 38)
    (await key.post(path, content=b"text", content_type="text/plain")).expect(201)
    await whole.drain()
    assert [file.read_bytes() for file in files(whole)] == [b"text"]
    none = (await whole.anonymous.get(f"{path}?thumb=50x0")).expect(404)
    assert none["detail"] == "a file of the type text/plain has no thumbnail"


async def test_what_is_no_image_that_can_be_read_has_none(whole: testing.Platform) -> None:
    path = await _photo(whole, picture()[:60])
    broken = (await whole.anonymous.get(f"{path}?thumb=50x0")).expect(404)
    assert broken["detail"] == "the image cannot be read: it may be broken"
    key = await whole.as_key("*")
    (await key.post(path, content=_bomb(), content_type="image/png")).expect(201)
    bomb = (await whole.anonymous.get(f"{path}?thumb=50x0")).expect(404)
    assert bomb["detail"] == "the image has more than 50000000 pixels"


def _bomb() -> bytes:
    """A PNG of a few bytes that says it has 10,000 by 8,000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 8_000, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + crc + picture()[33:]


async def test_a_size_that_a_field_had_before_is_swept_with_the_original(
    whole: testing.Platform,
) -> None:
    path, key = await _photo(whole, picture()), await whole.as_key("*")
    assert (await key.get(f"{path}?thumb=50x0")).status == 200
    fields = [{"name": "photo", "type": "file"}]
    (await key.patch("/v1/collections/people", {"fields": fields})).expect(200)
    await whole.drain()
    assert (await key.get(f"{path}?thumb=50x0")).status == 422
    (await key.delete(path.partition("/files")[0])).expect(204)
    await whole.drain()
    (left,) = files(whole)
    blobs = whole.use(Blobs)
    (thumb,) = await blobs.older("records/", 1 << 60, limit=5)
    assert original_of(thumb.key) == thumb.key.removesuffix("-50x0")
    assert left.name == thumb.key.replace("/", "=")


async def test_without_pillow_a_schema_says_so(
    whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await whole.as_key("*")
    wrong = {"name": "photo", "type": "file", "thumbs": ["0x0", "x", "9999x1", "10x10"]}
    refused = (await key.post("/v1/collections", {"name": "people", "fields": [wrong]})).expect(422)
    assert [e["pointer"] for e in refused["errors"]] == [f"/fields/0/thumbs/{i}" for i in range(3)]
    monkeypatch.setattr(thumbnails, "can_be_made", lambda: False)
    photo = {"name": "photo", "type": "file", "thumbs": ["10x10"]}
    refused = (await key.post("/v1/collections", {"name": "people", "fields": [photo]})).expect(422)
    assert refused["errors"][0]["pointer"] == "/fields/0/thumbs"
    assert "Pillow" in refused["errors"][0]["detail"]


def test_a_thumbnail_is_never_larger_than_its_original() -> None:
    small = picture(30, 20, "JPEG")
    assert size_of(make(small, "image/jpeg", Box(200, 0))) == (30, 20)
    assert size_of(make(small, "image/jpeg", Box(200, 200))) == (20, 20)


def test_how_a_picture_was_held_counts_and_is_not_kept() -> None:
    exif = Image.Exif()
    exif[ROTATED] = 6
    made = make(picture(400, 200, "JPEG", exif=exif), "image/jpeg", Box(100, 0))
    with Image.open(io.BytesIO(made)) as image:
        assert (image.size, dict(image.getexif())) == ((100, 200), {})


@pytest.mark.parametrize(
    ("format", "media_type", "made"),
    [("PNG", "image/png", "PNG"), ("JPEG", "image/jpeg", "JPEG"), ("GIF", "image/gif", "PNG"),
     ("WEBP", "image/webp", "WEBP"), ("BMP", "image/bmp", "PNG"), ("TIFF", "image/tiff", "JPEG")],
)  # fmt: skip
def test_each_kind_of_image_has_one(format: str, media_type: str, made: str) -> None:
    thumb = make(picture(format=format), media_type, box_of("40x30"))
    with Image.open(io.BytesIO(thumb)) as image:
        assert (image.format, image.size) == (made, (40, 30))
    with pytest.raises(NoThumbnail):  # it is read as what it is, and as nothing else
        make(picture(format="PNG"), "image/jpeg", box_of("40x30"))

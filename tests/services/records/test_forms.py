"""A record and its files in one request: one commit, of both engines."""

from typing import Any

import pytest

from mainspring import Conflict, Upload, testing
from mainspring.testing.client import Client, HttpAnswer
from tests.services.records.platform import Platform

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0" * 40
RECORDS = "/v1/collections/people/records"
KIND = "multipart/form-data; boundary=xyz"
Part = tuple[str, str | None, bytes]


def form(*parts: Part, end: bytes = b"--xyz--\r\n") -> bytes:
    made = b""
    for name, kind, data in parts:
        named = f'Content-Disposition: form-data; name="{name}"'
        named += f'; filename="{name}.png"' if name != "record" else ""
        lines = ["--xyz", named, *([] if kind is None else [f"Content-Type: {kind}"]), "", ""]
        made += "\r\n".join(lines).encode() + data + b"\r\n"
    return made + end


RECORD = ("record", None, b'{"name": "Ann"}')
PHOTO = ("photo", "image/png", PNG)
SCAN = ("scan", "text/plain", b"scanned " * 20_000)


async def _people(whole: testing.Platform, **rules: str) -> Client:
    key = await whole.as_key("*")
    fields = [
        {"name": "name", "type": "text", "required": True, "unique": True},
        {"name": "photo", "type": "file", "types": ["image/*"], "max_bytes": 1_000},
        {"name": "scan", "type": "file"},
    ]
    new = {"name": "people", "fields": fields, "rules": {"view": "true", **rules}}
    (await key.post("/v1/collections", new)).expect(201)
    return key


async def _send(
    client: Client, *parts: Part, to: str = RECORDS, method: str = "POST", **options: Any
) -> HttpAnswer:
    return await client.request(method, to, content=form(*parts), content_type=KIND, **options)


def _stored(whole: testing.Platform) -> int:
    return len([p for p in (whole.app.data_dir / "blobs").rglob("*") if p.is_file()])


async def test_a_record_comes_with_its_files(whole: testing.Platform) -> None:
    key = await _people(whole)
    made = (await _send(key, RECORD, PHOTO, SCAN)).expect(201)
    assert (made["name"], made["photo"]["name"], made["photo"]["media_type"]) == (
        "Ann", "photo.png", "image/png",
    )  # fmt: skip
    path = f"{RECORDS}/{made['id']}"
    assert (await key.get(f"{path}/files/scan")).body == SCAN[2]
    assert len(await whole.events("records.record.*")) == 1
    other = ("photo", "image/png", PNG + b"2")
    empty = ("record", None, b"{}")
    changed = (await _send(key, empty, other, to=path, method="PATCH")).expect(200)
    assert (changed["name"], changed["photo"]["size_bytes"]) == ("Ann", len(PNG) + 1)
    await whole.drain()
    assert _stored(whole) == 2
    id = path[-26:].replace(path[-6:], "000000")  # another one, of the same moment
    chosen = ("record", None, f'{{"id": "rec_{id}", "name": "Bea"}}'.encode())
    made = (await _send(key, chosen, PHOTO)).expect(201)
    assert made["id"] == f"rec_{id}"
    assert (await key.get(f"{RECORDS}/rec_{id}/files/photo")).body == PHOTO[2]
    await whole.drain()
    assert _stored(whole) == 3


async def test_the_json_of_a_form_takes_of_the_share_of_its_caller(
    whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await _people(whole)
    memory = whole.app.rest.memory
    monkeypatch.setattr(memory, "share", len(RECORD[2]))
    await _send(key, RECORD, PHOTO)
    long = ("record", None, b'{"name": "Ann Fitzgerald"}')
    answer = await _send(key, long, PHOTO)
    assert (answer.status, "bytes of bodies" in answer.text) == (429, True)
    assert memory.taken == 0  # what a call held it has given back


async def test_what_is_refused_leaves_neither_record_nor_file(whole: testing.Platform) -> None:
    key = await _people(whole)
    (await _send(key, RECORD)).expect(201)
    ben = ("record", "application/json", b'{"name": "Ben"}')
    for parts, status, pointer in (
        ((RECORD, SCAN), 409, "/name"),
        ((ben, SCAN, ("photo", "image/png", b"<html>")), 415, "/photo"),
        ((ben, SCAN, ("photo", "image/png", PNG + b"x" * 1_000)), 413, None),
        ((ben, SCAN, SCAN), 422, "/scan"),
        ((ben, SCAN, ("name", None, b"x")), 422, "/name"),
        ((SCAN,), 422, "/name"),
        ((("record", None, b"{"),), 400, None),
        ((("record", "text/html", b"{}"),), 415, None),
    ):
        problem = (await _send(key, *parts)).expect(status)
        assert [e["pointer"] for e in problem.get("errors", [])] == ([pointer] if pointer else [])
        assert _stored(whole) == 0
    for broken in (form(RECORD, SCAN)[:-20], b"", b"--other\r\n", form(RECORD, end=b"")):
        answer = await key.post(RECORDS, content=broken, content_type=KIND)
        answer.expect(400)
    assert (await key.post(RECORDS, content=b"x", content_type="multipart/form-data")).status == 400
    assert _stored(whole) == 0
    assert len((await key.get(RECORDS)).expect(200)["items"]) == 1


async def test_the_description_names_the_files_of_a_form(whole: testing.Platform) -> None:
    key = await _people(whole)
    paths = (await key.get("/openapi.json")).expect(200)["paths"]
    body = paths[RECORDS]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert sorted(body["schema"]["properties"]) == ["photo", "record", "scan"]
    assert body["encoding"]["photo"] == {"contentType": "image/*"}


async def test_a_repeat_is_known_by_its_files(whole: testing.Platform) -> None:
    key = await _people(whole)
    first = (await _send(key, RECORD, PHOTO, idempotency_key="k")).expect(201)
    again = await _send(key, RECORD, PHOTO, idempotency_key="k")
    assert (again.expect(200)["id"], _stored(whole)) == (first["id"], 1)
    other = ("photo", "image/png", PNG + b"2")
    reused = (await _send(key, RECORD, other, idempotency_key="k")).expect(422)
    assert (reused["code"], _stored(whole)) == ("idempotency_key_reused", 1)


async def test_rules_judge_the_files_that_come(whole: testing.Platform) -> None:
    await _people(whole, create="has(record.photo)", update="'scan' in request.changes")
    assert (await _send(whole.anonymous, RECORD, SCAN)).status in (401, 403)
    assert _stored(whole) == 0
    made = (await _send(whole.anonymous, RECORD, PHOTO)).expect(201)
    to = f"{RECORDS}/{made['id']}"
    assert (await _send(whole.anonymous, PHOTO, to=to, method="PATCH")).status in (401, 403)
    (await _send(whole.anonymous, SCAN, to=to, method="PATCH")).expect(200)
    assert _stored(whole) == 2


@pytest.mark.parametrize("most", [100])
async def test_all_files_of_a_form_have_a_bound(platform_server: str | None, most: int) -> None:
    settings = {"uploads.form_bytes_max": most}
    async with testing.Platform(database=platform_server, settings=settings) as whole:
        key = await _people(whole)
        (await _send(key, RECORD, PHOTO, ("scan", None, b"x" * most))).expect(413)
        assert _stored(whole) == 0


async def test_a_form_replaces_a_record_and_upserts_one(whole: testing.Platform) -> None:
    key = await _people(whole)
    upsert = f"{RECORDS}:upsert?by=name"
    made = (await _send(key, RECORD, PHOTO, to=upsert)).expect(201)
    path = f"{RECORDS}/{made['id']}"
    again = (await _send(key, RECORD, SCAN, to=upsert)).expect(200)
    assert (again["id"], again["photo"], again["scan"]["size_bytes"]) == (
        made["id"], made["photo"], len(SCAN[2]),
    )  # fmt: skip
    put = await _send(key, RECORD, ("photo", "image/png", PNG + b"2"), to=path, method="PUT")
    assert put.expect(200)["photo"]["size_bytes"] == len(PNG) + 1
    assert (await key.get(f"{path}/files/scan")).body == SCAN[2]
    await whole.drain()
    assert _stored(whole) == 2
    refused = await _send(key, ("record", None, b"{}"), PHOTO, to=path, method="PUT")
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/name")
    assert (await _send(key, RECORD, PHOTO, to=f"{RECORDS}:upsert?by=photo")).status == 422
    # Whoever may neither create nor update is refused before a byte is stored.
    stranger = await whole.as_user("bert@example.com")
    assert (await _send(stranger, RECORD, PHOTO, to=upsert)).status == 403
    assert _stored(whole) == 2
    await whole.pass_time(days=3)
    assert _stored(whole) == 2
    (await key.delete(path)).expect(204)
    await whole.drain()
    assert _stored(whole) == 0


async def test_files_that_came_for_another_record_are_sent_again(
    whole: testing.Platform, platform: Platform
) -> None:
    key = await _people(whole)
    record = (await key.post(RECORDS, {"name": "Ann"})).expect(201)
    for name, blob in (("Ann", "blob_1"), ("Bert", "stored_blob_1"), ("Ann", "stored_blob_1")):
        file = Upload(f"records/coll_1/rec_1/{blob}", 3, "00", "image/png", "a.png")
        upsert = {"collection": "people", "query": {"by": "name"}, "body": {"name": name}}
        with pytest.raises(Conflict, match="send them again"):
            await platform.run("upsert_record", **upsert, files={"photo": file})
    assert (await key.get(f"{RECORDS}/{record['id']}")).json == record

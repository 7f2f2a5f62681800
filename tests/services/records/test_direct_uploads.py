"""Uploads in two steps, where the platform itself takes the file: over HTTP, of both engines."""

import asyncio
import hashlib
from typing import Any

from mainspring import testing
from mainspring.services.records.api.direct_uploads import PENDING_MAX
from mainspring.testing.client import Client, HttpAnswer
from tests.services.records.test_file_fields import HTML, PNG

RECORDS = "/v1/collections/people/records"
FIELDS = [
    {"name": "owner", "type": "text"},
    {"name": "photo", "type": "file", "types": ["image/*"], "max_bytes": 1_000},
    {"name": "scans", "type": "file", "many": True, "max_items": 2},
]


async def _people(whole: testing.Platform, **rules: str) -> tuple[Client, str]:
    """Make a collection and a record; return the address of its files."""
    key = await whole.as_key("*")
    (
        await key.post("/v1/collections", {"name": "people", "fields": FIELDS, "rules": rules})
    ).expect(201)
    one = (await key.post(RECORDS, {})).expect(201)
    return key, f"{RECORDS}/{one['id']}/files"


def announced(data: bytes, **more: Any) -> dict[str, Any]:
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}


async def begun(who: Client, field: str, data: bytes, **more: Any) -> Any:
    return (await who.post(f"{field}:begin_upload", announced(data, **more))).expect(201)


async def sent(who: Client, pending: Any, data: bytes) -> HttpAnswer:
    headers = dict(pending["headers"])
    kind = headers.pop("content-type")
    return await who.put(pending["url"], content=data, content_type=kind, headers=headers)


async def finished(who: Client, field: str, pending: Any, **options: Any) -> HttpAnswer:
    return await who.post(f"{field}:finish_upload", {"id": pending["id"]}, **options)


def _stored(whole: testing.Platform) -> int:
    return len([p for p in (whole.app.data_dir / "blobs").rglob("*") if p.is_file()])


async def test_a_file_is_sent_and_then_put_in_its_place(whole: testing.Platform) -> None:
    key, files = await _people(whole)
    photo = f"{files}/photo"
    pending = await begun(key, photo, PNG, media_type="text/plain", name="a/b\u202egnp.exe")
    assert (pending["method"], pending["url"][0]) == ("PUT", "/")
    early = await finished(key, photo, pending)
    assert "nothing has come yet" in early.expect(409)["detail"]

    nobody = whole.anonymous  # the address is the right to it
    for wrong, status in ((PNG + b"x", 413), (PNG[:-1], 422), (PNG[:-1] + b"x", 422)):
        assert (await sent(nobody, pending, wrong)).status == status
        assert _stored(whole) == 0
    broken = {**pending, "url": pending["url"][:-2] + "xx"}
    assert (await sent(nobody, broken, PNG)).status == 404
    (await sent(nobody, pending, PNG)).expect(204)
    (await sent(nobody, pending, PNG)).expect(204)  # as whoever heard no answer does
    await whole.drain()
    assert _stored(whole) == 1

    stale = {"headers": {"If-Match": '"9"'}}
    assert (await finished(key, photo, pending, **stale)).status == 412
    record = (await finished(key, photo, pending)).expect(201)
    assert (record["photo"]["media_type"], record["photo"]["size_bytes"]) == ("image/png", len(PNG))
    assert record["photo"]["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert record["photo"]["name"] == "bgnp.exe"
    assert (await key.get(photo)).body == PNG
    assert (await finished(key, photo, pending)).status == 404  # once
    assert (await sent(nobody, pending, PNG)).status == 404
    await whole.pass_time(days=2)
    assert (await key.get(photo)).body == PNG


async def test_nobody_else_finishes_it_and_nowhere_else(whole: testing.Platform) -> None:
    rules = {"update": "record.owner == '' || record.owner == caller.id", "view": "true"}
    key, files = await _people(whole, **rules)
    ann, bob = await whole.as_user("ann@example.com"), await whole.as_user("bob@example.com")
    record = files.removesuffix("/files")
    assert (await ann.post(f"{files}/photo:begin_upload", announced(PNG))).status == 403
    (await key.patch(record, {"owner": ann.id})).expect(200)
    pending = await begun(ann, f"{files}/photo", PNG)
    (await sent(ann, pending, PNG)).expect(204)
    other = (await key.post(RECORDS, {"owner": ann.id})).expect(201)
    assert (await finished(bob, f"{files}/photo", pending)).status == 403
    assert (await finished(key, f"{files}/photo", pending)).status == 404
    assert (await finished(ann, f"{RECORDS}/{other['id']}/files/photo", pending)).status == 404
    assert (await finished(ann, f"{files}/scans", pending)).status == 404
    (await key.patch(record, {"owner": bob.id})).expect(200)  # the right is asked again
    assert (await finished(ann, f"{files}/photo", pending)).status == 403
    (await key.patch(record, {"owner": ann.id})).expect(200)
    (await finished(ann, f"{files}/photo", pending)).expect(201)


async def test_what_is_too_large_or_of_another_type_is_refused(whole: testing.Platform) -> None:
    key, files = await _people(whole, update="true")
    problem = (await key.post(f"{files}/photo:begin_upload", announced(b"x" * 1_001))).expect(413)
    assert "at most 1000 bytes: 1001 were announced" in problem["detail"]
    for wrong in (
        {**announced(PNG), "sha256": "0" * 63},
        {**announced(PNG), "size_bytes": -1},
        announced(PNG, media_type="png"),
    ):
        assert (await key.post(f"{files}/photo:begin_upload", wrong)).status == 422
    assert (await key.post(f"{files}/owner:begin_upload", announced(PNG))).status == 404
    nobody = whole.anonymous
    assert (await nobody.post(f"{files}/photo:begin_upload", announced(PNG))).status == 401
    pending = await begun(key, f"{files}/photo", HTML, media_type="image/png")
    (await sent(key, pending, HTML)).expect(204)
    problem = (await finished(key, f"{files}/photo", pending)).expect(415)
    assert "this is text/html" in problem["detail"]
    assert (await key.get(files.removesuffix("/files"))).expect(200)["photo"] is None
    await whole.pass_time(days=2)
    assert _stored(whole) == 0


async def test_each_is_put_once_whoever_is_first(whole: testing.Platform) -> None:
    key, files = await _people(whole)
    scans = f"{files}/scans"
    for _ in range(2):
        pending = await begun(key, scans, b"")
        (await sent(key, pending, b"")).expect(204)
        answers = await asyncio.gather(*(finished(key, scans, pending) for _ in range(4)))
        assert sorted(answer.status for answer in answers) == [201, 404, 404, 404]
    record = (await key.get(files.removesuffix("/files"))).expect(200)
    assert len(record["scans"]) == 2
    pending = await begun(key, scans, b"x")
    (await sent(key, pending, b"x")).expect(204)
    assert (await finished(key, scans, pending)).status == 422  # it holds two
    again = {"idempotency_key": "the second"}
    (await key.patch(files.removesuffix("/files"), {"scans": []})).expect(200)
    first = (await finished(key, scans, pending, **again)).expect(201)
    assert (await finished(key, scans, pending, **again)).expect(200) == first


async def test_it_ends_after_a_while(whole: testing.Platform) -> None:
    key, files = await _people(whole)
    late, never, fine = [await begun(key, f"{files}/photo", PNG) for _ in range(3)]
    (await sent(key, late, PNG)).expect(204)
    (await sent(key, fine, PNG)).expect(204)
    for _ in range(PENDING_MAX - 3):
        await begun(key, f"{files}/scans", b"x")
    one_more = await key.post(f"{files}/photo:begin_upload", announced(PNG))
    assert "finish them, or wait" in one_more.expect(409)["detail"]
    await whole.pass_time(minutes=16)
    assert (await sent(key, never, PNG)).status == 410
    (await finished(key, f"{files}/photo", fine)).expect(201)
    whole.clock.move(3_600)
    assert (await finished(key, f"{files}/photo", late)).status == 410
    await whole.pass_time(minutes=2)
    assert (await finished(key, f"{files}/photo", late)).status == 404
    await begun(key, f"{files}/photo", PNG)

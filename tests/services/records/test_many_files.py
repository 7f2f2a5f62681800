"""Fields that hold several files: added, taken out, put in order, shown one by one."""

import asyncio
from typing import Any

from mainspring import testing
from mainspring.testing.client import Client
from tests.services.records.test_forms import KIND as FORM
from tests.services.records.test_forms import PNG, RECORD, RECORDS, SCAN, form

FIELDS: list[dict[str, Any]] = [
    {"name": "name", "type": "text", "unique": True},
    {"name": "photos", "type": "file", "many": True, "max_items": 3, "types": ["image/*"],
     "inline": True, "thumbs": ["10x10"]},
    {"name": "scan", "type": "file"},
]  # fmt: skip


async def people(whole: testing.Platform) -> tuple[Client, str]:
    new = {"name": "people", "fields": FIELDS, "rules": {"view": "true"}}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    made = (await whole.admin.post(RECORDS, {"name": "Ann"})).expect(201)
    assert made["photos"] == []
    return whole.admin, f"{RECORDS}/{made['id']}"


def stored(whole: testing.Platform) -> int:
    return len([p for p in (whole.app.data_dir / "blobs").rglob("*") if p.is_file()])


def ids(record: dict[str, Any]) -> list[str]:
    return [photo["blob"].rpartition("/")[2] for photo in record["photos"]]


async def add(key: Client, path: str, *pictures: bytes) -> dict[str, Any]:
    for picture in pictures:
        answer = await key.post(f"{path}/files/photos", content=PNG + picture)
    told: dict[str, Any] = answer.expect(201)
    return told


async def test_files_are_added_ordered_and_taken_out(whole: testing.Platform) -> None:
    key, path = await people(whole)
    one, two, three = ids(await add(key, path, b"1", b"2", b"3"))
    refused = await key.post(f"{path}/files/photos", content=PNG)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/photos")
    assert stored(whole) == 3
    ordered = (await key.patch(path, {"photos": [three, one, two]})).expect(200)
    assert ids(ordered) == [three, one, two]
    for which, picture in (("0", b"3"), (one, b"1"), ("2", b"2")):
        shown = await key.get(f"{path}/files/photos?file={which}")
        assert (shown.status, shown.body) == (200, PNG + picture)
    ranged = await key.get(f"{path}/files/photos?file={two}", headers={"range": "bytes=0-3"})
    assert (ranged.status, ranged.body) == (206, PNG[:4])
    for wrong in ({"default": ["a"]}, {"required": True}, {"max_items": 0}, {"unique": True}):
        new = {"name": "other", "fields": [{**FIELDS[1], **wrong}]}
        assert (await key.post("/v1/collections", new)).status == 422
    for which, status in (("3", 404), ("blob_nothing", 404), ("", 422), ("%20", 422)):
        assert (await key.get(f"{path}/files/photos?file={which}")).status == status
    assert (await key.get(f"{path}/files/photos")).status == 422
    assert (await key.get(f"{path}/files/scan?file=0")).status == 422
    for wrong in ([three, three], [three, "blob_other"], ["x"], [one, two, three, "more"], "no"):
        refused = await key.patch(path, {"photos": wrong})
        assert refused.status == 422, wrong
        assert refused.json["errors"][0]["pointer"].startswith("/photos")
    assert (await key.post(RECORDS, {"name": "Bert", "photos": [one]})).status == 422
    left = (await key.patch(path, {"photos": [two]})).expect(200)
    assert ids(left) == [two]
    await whole.drain()
    assert stored(whole) == 1
    await whole.pass_time(days=3)
    assert stored(whole) == 1
    (await key.put(path, {"name": "Ann"})).expect(200)
    assert ids((await key.get(path)).json) == [two]
    assert (await key.patch(path, {"photos": None})).expect(200)["photos"] == []
    await whole.drain()
    assert stored(whole) == 0


async def test_files_that_race_are_all_kept(whole: testing.Platform) -> None:
    key, path = await people(whole)
    sent = [key.post(f"{path}/files/photos", content=PNG + bytes([i])) for i in range(3)]
    assert [answer.status for answer in await asyncio.gather(*sent)] == [201] * 3
    record = (await key.get(path)).json
    assert len(set(ids(record))) == 3
    (await key.delete(path)).expect(204)
    await whole.drain()
    assert stored(whole) == 0


async def test_a_form_brings_several_under_one_name(whole: testing.Platform) -> None:
    key, path = await people(whole)
    parts = [("photos", "image/png", PNG + bytes([i])) for i in range(4)]

    async def send(*parts: Any, to: str = RECORDS, method: str = "POST") -> Any:
        return await key.request(method, to, content=form(*parts), content_type=FORM)

    bert = ("record", None, b'{"name": "Bert"}')
    made = (await send(bert, *parts[:2], ("scan", "text/plain", SCAN[2]))).expect(201)
    assert [photo["size_bytes"] for photo in made["photos"]] == [len(PNG) + 1] * 2
    assert made["scan"]["size_bytes"] == len(SCAN[2])
    there = f"{RECORDS}/{made['id']}"
    last = ids(made)[1]
    kept = ("record", None, b'{"photos": ["%b"]}' % last.encode())
    changed = (await send(kept, parts[2], to=there, method="PATCH")).expect(200)
    assert (ids(changed)[0], len(changed["photos"])) == (last, 2)
    upserted = (await send(RECORD, parts[3], to=f"{RECORDS}:upsert?by=name")).expect(200)
    assert (upserted["id"], len(upserted["photos"])) == (path.rpartition("/")[2], 1)
    await whole.drain()
    before = stored(whole)
    new = ("record", None, b'{"name": "Carl"}')
    for answer in (
        await send(new, *parts),
        await send(new, ("scan", "text/plain", b"1"), ("scan", "text/plain", b"2")),
        await send(("record", None, b"{}"), *parts[:2], to=there, method="PATCH"),
    ):
        assert answer.status == 422, answer.text
    await whole.drain()
    assert stored(whole) == before


async def test_links_and_rules_know_files_one_by_one(whole: testing.Platform) -> None:
    key, path = await people(whole)
    one, two = ids(await add(key, path, b"1", b"2"))
    link = (await key.post(f"{path}/files/photos:link", {"file": "1"})).expect(200)["url"]
    assert (await whole.anonymous.get(link)).body == PNG + b"2"
    (await key.patch(path, {"photos": [two, one]})).expect(200)
    assert (await whole.anonymous.get(link)).body == PNG + b"2"
    (await key.patch(path, {"photos": [one]})).expect(200)
    assert (await whole.anonymous.get(link)).status == 404
    found = await key.get(f"{RECORDS}?filter=size(record.photos)%20==%201")
    assert len(found.expect(200)["items"]) == 1
    assert (await key.patch(path, {"$append": {"photos": [two]}})).status == 422
    fields = [FIELDS[0], {**FIELDS[1], "hidden": True}, FIELDS[2]]
    (await key.patch("/v1/collections/people", {"fields": fields})).expect(200)
    assert (await whole.anonymous.get(f"{path}/files/photos?file=0")).status == 404
    (await key.patch("/v1/collections/people?confirm=photos", {"fields": [FIELDS[0]]})).expect(200)
    await whole.drain()
    assert stored(whole) == 0

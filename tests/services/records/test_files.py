"""Files of records: uploaded, downloaded, and gone when nothing has them any more."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mainspring.cli.checks import DAY_MS, Verdict, say_uploads
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.errors import Failure, Forbidden, Invalid, NotFound
from mainspring.kernel.operation import Raw, Seekable, Upload
from mainspring.kernel.table import Query
from mainspring.ports.blobs import Blobs
from mainspring.services.records import jobs, service
from mainspring.services.records.api import FileView
from mainspring.services.records.store import DELETE
from mainspring.services.records.uploads import count_uploads
from tests.services.records.platform import ANNA, KEY, NOBODY, Platform, read

PHOTO = {"name": "photo", "type": "file"}


def _blobs(platform: Platform) -> Blobs:
    blobs: Blobs = platform.runtime.resources[Blobs]
    return blobs


async def _upload(platform: Platform, id: str, data: bytes, caller: Any = KEY) -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    call = platform.call(caller)
    prepare = service.operations["records.upload_file"].prepare
    assert prepare is not None
    terms = await prepare(call, collection="people", record_id=id, field="photo")
    key = terms.prefix + call.new_id("blob")
    blob = await _blobs(platform).put(key, chunks(), size_bytes_max=1000)
    upload = Upload(blob.key, blob.size_bytes, blob.sha256, "image/png", "a b.png")
    outcome = await platform.run(
        "upload_file", caller, collection="people", record_id=id, field="photo", upload=upload
    )
    answer: dict[str, Any] = read(outcome)
    return answer


async def _download(platform: Platform, id: str, caller: Any = KEY, field: str = "photo") -> Raw:
    handler = service.operations["records.get_file"].handler
    raw: Raw = await handler(
        platform.call(caller), collection="people", record_id=id, field=field, query=FileView()
    )
    return raw


async def _bytes(body: Any) -> bytes:
    chunks = body.read(0, body.size_bytes) if isinstance(body, Seekable) else body
    return b"".join([chunk async for chunk in chunks])


async def test_a_file_comes_and_goes_with_its_record(platform: Platform) -> None:
    await platform.make("people", PHOTO, rules={"view": "has(photo)", "update": "true"})
    one = await platform.add("people")
    with pytest.raises(NotFound):
        await _download(platform, one["id"])
    shown = await _upload(platform, one["id"], b"first")
    assert shown["photo"]["sha256"] == hashlib.sha256(b"first").hexdigest()
    assert shown["photo"] | {"blob": "", "sha256": ""} == {
        "blob": "", "name": "a b.png", "media_type": "image/png", "size_bytes": 5, "sha256": "",
    }  # fmt: skip
    raw = await _download(platform, one["id"], NOBODY)
    assert await _bytes(raw.body) == b"first"
    assert (
        "Content-Disposition",
        "attachment; filename=\"a b.png\"; filename*=UTF-8''a%20b.png",
    ) in raw.headers
    again = await _upload(platform, one["id"], b"second", ANNA)
    assert await platform.work() == 1
    with pytest.raises(NotFound):
        await _bytes(_blobs(platform).get(shown["photo"]["blob"]))
    put = await platform.run("replace_record", collection="people", id=one["id"], body={})
    assert read(put)["photo"] == again["photo"]  # it is not part of what a PUT replaces
    emptied = {"photo": None}
    await platform.run("update_record", collection="people", id=one["id"], body=emptied)
    assert await platform.work() == 1
    with pytest.raises(NotFound):
        await _bytes(_blobs(platform).get(again["photo"]["blob"]))


@pytest.mark.parametrize("end", ["record", "collection", "field"])
async def test_no_file_outlives_its_record(platform: Platform, end: str) -> None:
    await platform.make("people", PHOTO)
    one = await platform.add("people")
    blob = (await _upload(platform, one["id"], b"x"))["photo"]["blob"]
    if end == "record":
        await platform.run("delete_record", collection="people", id=one["id"])
    elif end == "collection":
        await platform.run("delete_collection", name="people")
    else:
        query = {"confirm": "photo"}
        await platform.run("update_collection", name="people", query=query, change={"fields": []})
    await platform.work()
    with pytest.raises(NotFound):
        await _bytes(_blobs(platform).get(blob))


async def test_json_that_looks_like_a_file_deletes_none(platform: Platform) -> None:
    note = {"name": "note", "type": "json"}
    await platform.make("people", PHOTO, note)
    one = await platform.add("people")
    blob = (await _upload(platform, one["id"], b"x"))["photo"]["blob"]
    await platform.add("people", note={"blob": blob})
    query = {"confirm": "note"}
    await platform.run("update_collection", name="people", query=query, change={"fields": [PHOTO]})
    await platform.work()
    assert await _bytes(_blobs(platform).get(blob)) == b"x"


async def test_what_is_refused(platform: Platform) -> None:
    await platform.make("people", PHOTO, {"name": "name", "type": "text"}, rules={"view": "true"})
    one = await platform.add("people")
    with pytest.raises(Forbidden):
        await _upload(platform, one["id"], b"x", ANNA)
    with pytest.raises(NotFound):
        await _download(platform, one["id"], field="name")
    with pytest.raises(Invalid):
        await platform.add("people", photo={"blob": "blob_1"})
    for wrong in ({**PHOTO, "required": True}, {**PHOTO, "unique": True}):
        with pytest.raises(Failure):
            await platform.make("others", wrong)


def age(directory: Path, moment_s: float = 0.0, pattern: str = "*=*") -> None:
    """Make files as old as can be, or as young as a moment."""
    for path in directory.rglob(pattern):
        os.utime(path, (moment_s, moment_s))


async def test_what_no_record_has_is_swept_and_nothing_else(platform: Platform) -> None:
    await platform.make("people", PHOTO)
    one, other = await platform.add("people"), await platform.add("people")
    kept = (await _upload(platform, one["id"], b"kept"))["photo"]["blob"]
    gone = (await _upload(platform, other["id"], b"gone"))["photo"]["blob"]

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    blobs = _blobs(platform)
    lost = kept.replace("blob_", "blob_0")  # its commit failed
    await blobs.put(lost, chunks(), size_bytes_max=9)
    await blobs.put("mine/blob_1", chunks(), size_bytes_max=9)  # another service's
    # As when the record was deleted by a restore from an older backup: no job knows of its file.
    collection = gone.split("/")[1]
    raw = DELETE(collection=collection, id=other["id"], version=2)
    await platform.database.commit([raw.expect(1, Invalid())])
    young = kept.replace("blob_", "blob_1")
    age(platform.directory)
    await blobs.put(young, chunks(), size_bytes_max=9)
    age(platform.directory, platform.clock.now_ms() / 1000 - 3600, young.replace("/", "="))
    await sweep_all(platform)
    for blob in (kept, young, "mine/blob_1"):
        await _bytes(blobs.get(blob))
    for blob in (gone, lost):
        with pytest.raises(NotFound):
            await _bytes(blobs.get(blob))


async def test_doctor_counts_what_no_record_has_and_what_was_not_sent_to_its_end(
    platform: Platform,
) -> None:
    await platform.make("people", PHOTO)
    one = await platform.add("people")
    kept = (await _upload(platform, one["id"], b"kept"))["photo"]["blob"]
    blobs = _blobs(platform)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"12345"

    lost, mine = kept.replace("blob_", "blob_0"), "mine/blob_1"
    for blob in (lost, mine, "mine/blob_2"):
        await blobs.put(blob, chunks(), size_bytes_max=9)
    (whole,) = platform.directory.rglob("mine=blob_2")
    whole.rename(whole.with_name("mine=blob_2.x1.half"))  # as a crash leaves it

    async def find(query: Query[Any], **params: Any) -> Any:
        return next(iter(await platform.database.read(query, query.sql.bind(params))), None)

    found = await count_uploads(blobs, find, 100)
    assert found.oldest_ms is not None
    counted = (found.files, found.size_bytes, found.unfinished, found.left, found.left_bytes)
    assert (counted, found.more) == ((4, 19, 1, 1, 10), False)
    check = say_uploads(found, found.oldest_ms + DAY_MS)
    assert (check.verdict, check.found) == (
        Verdict.OK,
        "4 (0.0 MiB), of which 1 no record has and 1 were not sent to their end (0.0 MiB)",
    )
    check = say_uploads(found, found.oldest_ms + 3 * DAY_MS)
    assert check.verdict is Verdict.WARN
    assert check.found.endswith(", the oldest for 3 days")
    few = await count_uploads(blobs, find, 1)
    assert (few.files, few.more) == (1, True)
    age(platform.directory)
    await sweep_all(platform)
    after = await count_uploads(blobs, find, 100)
    assert (after.files, after.size_bytes, after.oldest_ms) == (2, 9, None)


async def test_a_sweep_goes_on_page_by_page(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SWEPT_MAX", 2)
    await platform.make("people", PHOTO)
    kept = []
    for data in (b"1", b"2", b"3"):
        one = await platform.add("people")
        kept.append((await _upload(platform, one["id"], data))["photo"]["blob"])

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    start = kept[0].rpartition("rec_")[0]
    lost = [f"{start}rec_z/blob_{n}" for n in range(4)]  # more than one page takes
    for blob in lost:
        await _blobs(platform).put(blob, chunks(), size_bytes_max=9)
    age(platform.directory)
    await sweep_all(platform)
    assert [await _bytes(_blobs(platform).get(blob)) for blob in kept] == [b"1", b"2", b"3"]
    for blob in lost:
        with pytest.raises(NotFound):
            await _bytes(_blobs(platform).get(blob))


async def sweep_all(platform: Platform) -> None:
    call = platform.call(SYSTEM)
    await jobs.sweep_files(call)
    await platform.runtime.dispatcher.commit(call)
    await platform.work()

"""An index is ready or not by itself: while one is built, or records wait, the others serve."""

import json
from typing import Any

import pytest

from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.table import Query, Statement
from mainspring.services.records import jobs
from tests.services.records.platform import Platform, read

COUNT = {"name": "count", "type": "integer"}
STATE = {"name": "state", "type": "select", "values": ["a", "b"]}
NOTE = {"name": "note", "type": "text", "max": 20}
FIELDS = [COUNT, STATE, NOTE]
INDEXES = [["-count"], ["state", "count"]]
BUILDING = "the index on {} is still being built: wait until the collection is ready"
DEFINITION = Query("test.definition", "SELECT definition FROM records_collections", str)
DEFINE = Statement("test.define", "UPDATE records_collections SET definition = :definition")


@pytest.fixture
async def records(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Records in a collection with indexes, where a list that no index covers is over its budget.

    They are brought along two at a time.
    """
    await platform.make("things", *FIELDS, indexes=INDEXES)
    made = [
        await platform.add("things", count=i, state="ab"[i % 2], **({"note": "n"} if i else {}))
        for i in (3, 1, 4, 0, 5)
    ]
    really = type(platform.database).page

    async def page(self: Any, query: Query[Any], values: tuple[Any, ...], bytes_max: int) -> Any:
        if query.scans:
            raise NeedsIndex("over")
        return await really(self, query, values, bytes_max)

    monkeypatch.setattr(type(platform.database), "page", page)
    monkeypatch.setattr(jobs, "PAGE_ROWS", 2)
    return made


async def _change(platform: Platform, **change: Any) -> None:
    await platform.run("update_collection", name="things", change=change)


async def _ready(platform: Platform) -> bool:
    shown = read(await platform.run("get_collection", name="things"))
    return bool(shown["ready"])


async def _counts(platform: Platform, **query: Any) -> list[Any]:
    return [r["count"] for r in await platform.everything("things", limit=2, **query)]


async def _refusal(platform: Platform, **query: Any) -> str | None:
    with pytest.raises(NeedsIndex) as refused:
        await platform.page("things", **query)
    return refused.value.detail


async def _serves(platform: Platform, *more: int) -> None:
    """Lists by the two indexes that were there give every record in its order."""
    counts = [3, 1, 4, 0, 5, *more]
    assert await _counts(platform, sort="-count") == sorted(counts, reverse=True)
    odd = sorted(c for c in counts if c % 2)
    assert await _counts(platform, filter="state == 'b'", sort="count") == odd
    assert await _counts(platform, filter="state == 'b' && count > 1", sort="count") == odd[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"fields": [*FIELDS, {"name": "extra", "type": "text"}]},
        {"fields": [*FIELDS, {"name": "extra", "type": "text", "required": True, "default": "x"}]},
        {"fields": [{**COUNT, "type": "number"}, {**STATE, "values": ["a", "b", "c"]}, NOTE]},
        {"fields": [COUNT, {"name": "state", "type": "text", "max": 9, "required": True}, NOTE]},
        {"fields": [{**COUNT, "unique": True}, STATE, NOTE]},
        {"fields": [COUNT, STATE, {**NOTE, "required": True, "default": "none"}]},
        {"indexes": [["note"], *reversed(INDEXES)]},
    ],
)
async def test_an_index_serves_while_records_wait(
    platform: Platform, records: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    await _change(platform, **change)
    await _serves(platform)
    await platform.add("things", count=7, state="b", note="n")
    await _serves(platform, 7)
    assert not await _ready(platform)
    assert (await platform.runtime.run_due()).attempts  # some of them are brought along
    await _serves(platform, 7)
    await platform.work()
    assert await _ready(platform)
    await _serves(platform, 7)


async def test_a_new_index_serves_when_every_record_has_its_key(
    platform: Platform, records: list[dict[str, Any]]
) -> None:
    await _change(platform, indexes=[*INDEXES, ["note", "-count"]])
    asked = {"filter": "note == 'n'", "sort": "-count"}
    assert await _refusal(platform, **asked) == BUILDING.format(["note", "-count"])
    other = await _refusal(platform, filter="state == 'a'", sort="note")
    assert other == "an index on ['state', 'note'] would help"
    await _change(platform, rules={"list": "true"})  # is no reason to wait, nor to be ready
    assert await _refusal(platform, **asked) == BUILDING.format(["note", "-count"])
    await platform.work()
    assert await _counts(platform, **asked) == [5, 4, 3, 1]


async def test_an_index_of_a_field_that_is_filled_is_built_anew(
    platform: Platform, records: list[dict[str, Any]]
) -> None:
    await _change(platform, indexes=[*INDEXES, ["-note"]])
    await platform.work()
    await _change(platform, fields=[COUNT, STATE, {**NOTE, "required": True, "default": "z"}])
    assert await _refusal(platform, sort="-note") == BUILDING.format(["-note"])
    await _serves(platform)
    await platform.work()
    assert await _counts(platform, sort="-note") == [0, 3, 1, 4, 5]
    await _change(platform, fields=[COUNT, STATE, {**NOTE, "required": True, "default": "y"}])
    assert await _counts(platform, sort="-note") == [0, 3, 1, 4, 5]  # none is filled by that


async def test_what_is_taken_back_leaves_a_new_index_in_building(
    platform: Platform, records: list[dict[str, Any]]
) -> None:
    await _change(platform, fields=[{**COUNT, "unique": True}, STATE, NOTE],
                  indexes=[*INDEXES, ["note"]])  # fmt: skip
    await platform.add("things", count=records[-1]["count"], state="b")
    while "unique" not in str(read(await platform.run("get_collection", name="things"))["problem"]):
        assert (await platform.runtime.run_due()).attempts
        assert await _refusal(platform, sort="note") == BUILDING.format(["note"])
        await _serves(platform, 5)
    await platform.work()
    assert len(await _counts(platform, sort="note")) == 6


async def test_an_index_of_an_older_version_is_ready_with_its_collection(
    platform: Platform, other: Platform, records: list[dict[str, Any]]
) -> None:
    await _change(platform, fields=[*FIELDS, {"name": "extra", "type": "text"}])
    (stored,) = await platform.database.read(DEFINITION, ())
    definition = json.loads(stored)
    for slot in definition["indexes"]:
        del slot["since"]
    await platform.database.commit([DEFINE(definition=json.dumps(definition))])
    assert await _refusal(other, sort="-count") == BUILDING.format(["-count"])
    await platform.work()
    await _serves(other)
    await _change(platform, fields=[*FIELDS, {"name": "more", "type": "text"}])
    await _serves(other)

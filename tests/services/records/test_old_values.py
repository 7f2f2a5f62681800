"""Old values in events: what changed, bounded, beside answers that are still stored as slices."""

from typing import Any

import msgspec

from mainspring.kernel.event import EVENT_BYTES_MAX
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records.api import BEFORE_BYTES_MAX, RecordDeleted, RecordUpdated
from tests.services.records.platform import KEY, Platform, read

TEXT = {"name": "text", "type": "text", "max": 200_000}
STORED = Query("test.stored", "SELECT body, event_id FROM idempotency", tuple)


async def told(platform: Platform, kind: str) -> list[Any]:
    types = f"records.record.{kind}"
    return [event["data"] for type, event in await platform.events() if type == types]


async def test_what_changed_is_told_as_it_was(platform: Platform) -> None:
    others = [{"name": "count", "type": "integer", "default": 1}, {"name": "more", "type": "json"}]
    await platform.make("notes", TEXT, *others)
    note = await platform.add("notes", text="a", more={"a": [1]})
    platform.clock.move(1)
    change = {"text": "b", "more": {"a": [1]}, "$add": {"count": 2}}
    made = await platform.run("update_record", collection="notes", id=note["id"], body=change)
    now = read(made)
    assert "before" not in now
    (event,) = await told(platform, "updated")
    before = {"updated_at": note["updated_at"], "text": "a", "count": 1}
    assert event == {"before": before, **now}
    await platform.run("delete_record", collection="notes", id=note["id"])
    (event,) = await told(platform, "deleted")
    assert event == {"id": note["id"], "collection": "notes", "before": now}
    for kind in (RecordDeleted, RecordUpdated):
        assert msgspec.convert({**now, **event}, kind).before == now


async def test_old_values_are_bounded(platform: Platform) -> None:
    large = [{**TEXT, "name": f"t{i}"} for i in range(5)]
    await platform.make("notes", *large)
    most = {f"t{i}": "x" * 198_000 for i in range(5)}
    note = await platform.add("notes", **most)
    assert EVENT_BYTES_MAX - len(str(note)) < BEFORE_BYTES_MAX
    for change, fits in (({"t0": "y"}, False), ({"t0": "z" * 198_000}, True), ({"t1": "y"}, False)):
        await platform.run("update_record", collection="notes", id=note["id"], body=change)
        event = (await told(platform, "updated"))[-1]
        assert (event["before"] is not None) == fits
    await platform.run("delete_record", collection="notes", id=note["id"])
    assert (await told(platform, "deleted"))[0]["before"] is None


async def test_a_field_of_that_name_is_the_record_s(platform: Platform) -> None:
    await platform.make("notes", {"name": "before", "type": "text"})
    note = await platform.add("notes", before="a")
    change = {"before": "b"}
    await platform.run("update_record", collection="notes", id=note["id"], body=change)
    await platform.run("delete_record", collection="notes", id=note["id"])
    assert (await told(platform, "updated"))[0]["before"] == "b"
    assert "before" not in (await told(platform, "deleted"))[0]


async def test_a_repeat_answers_from_the_event_without_them(platform: Platform) -> None:
    await platform.make("notes", TEXT)
    note = await platform.add("notes", text='ä, "id": {')
    answers = []
    for _ in range(2):
        call = platform.call(KEY)
        args = {"collection": "notes", "id": note["id"], "body": {"text": 'ö, "id": {'}}
        outcome = await platform.runtime.dispatcher.run(
            *platform.prepared(call, "update_record", **args), Idempotency(b"key", b"request")
        )
        answers.append((outcome.body, outcome.replayed))
    assert answers[0][0] == answers[1][0]
    assert [replayed for _, replayed in answers] == [False, True]
    ((body, event_id),) = await platform.database.read(STORED, ())
    assert (body, event_id is not None) == (None, True)

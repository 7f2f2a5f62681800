"""The feed on both engines: nothing is missed, nothing is shown that should not be."""

import asyncio
import random
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import msgspec
import pytest
from structlog.testing import capture_logs

from mainspring.app import SILENCE_MAX_S
from mainspring.kernel.call import Caller
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.errors import Invalid, NotFound, PositionGone
from mainspring.kernel.event_log import LogName
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.runtime.events.positions import parse_position
from mainspring.runtime.events.tail import Tail
from mainspring.runtime.notifier import Notifier
from mainspring.services.events.api import SCANNED_MAX, StreamQuery
from mainspring.services.events.operations import stream_events
from tests.deadline import DEADLINE_S
from tests.services.log_platform import Burnt, LogPlatform, Named, Written
from tests.tampering import LOSE_AFTER

OTHER = Caller("system", tenant="other", scopes=frozenset({"*"}))
READER = Caller("key", "key_1", scopes=frozenset({"events:read", "notes:read"}))


@pytest.fixture
async def platform(platform_server):
    async with LogPlatform.over(platform_server) as platform:
        yield platform


async def follow(platform, **query):
    """Read pages until the end."""
    items, after = [], None
    while True:
        page = await platform.ask("events.list_events", query={**query, "after": after})
        items += page["items"]
        assert offset(page["position"]) <= platform.count
        if (after := page["next_cursor"]) is None:
            return items, offset(page["position"])


def offset(position):
    return parse_position(position, "").offset


async def test_pages_hold_everything_in_order(platform):
    await platform.write(23)
    items, position = await follow(platform, limit=5)
    assert [e["seq"] for e in items] == list(range(1, 24))
    assert position == 23
    assert items[0]["data"] == {"id": "note_0", "text": "text 0", "stars": 0}
    assert items[0]["type"] == "notes.note.written"
    page = await platform.ask("events.list_events", query={"after": str(position)})
    assert page == {"items": [], "next_cursor": None, "position": await platform.at(23)}


async def test_types_and_filters_choose(platform):
    await platform.write(20)
    await platform.emit(Burnt("note_3"), Named("user_a", "Ada"))
    for types, count in (
        ("notes.note.*", 21), ("notes.note.burnt", 1), ("notes.*", 22), ("*", 22),
        ("notes.note.burnt,notes.author.*", 2),
    ):  # fmt: skip
        items, position = await follow(platform, type=types, limit=4)
        assert len(items) == count, types
        assert position == 22
    items, _ = await follow(platform, filter="data.stars >= 8 && subject != 'note_8'")
    assert [e["subject"] for e in items] == ["note_9", "note_18", "note_19"]
    items, _ = await follow(platform, filter="seq > 20", type="notes.author.*")
    assert [e["seq"] for e in items] == [22]


async def test_a_bad_filter_or_cursor_says_where(platform):
    for query, pointer in (
        ({"filter": "data.stars >"}, "/filter"),
        ({"filter": "nonsense == 1"}, "/filter"),
        ({"after": "-1"}, "/after"),
        ({"after": "x"}, "/after"),
        ({"after": "1" * 30}, "/after"),
    ):
        with pytest.raises(Invalid) as refused:
            await platform.ask("events.list_events", query=query)
        assert refused.value.errors[0].pointer == pointer


async def test_a_type_that_there_is_not_is_refused_with_what_fits(platform):
    for types, pointer, said in (
        ("payments", "/type", "there are jobs.*, notes.*, records.*, users.*, webhooks.*"),
        ("notes.note.writen", "/type", "do you mean notes.note.written"),
        ("notes.*,note.*", "/type", "do you mean notes.*"),
        ("notes.note", "/type", "do you mean notes.note.*"),
    ):
        for ask in (
            lambda types=types: platform.ask("events.list_events", query={"type": types}),
            lambda types=types: Following(platform, type=types).next(),
        ):
            with pytest.raises(Invalid) as refused:
                await ask()
            (error,) = refused.value.errors
            assert error.pointer == pointer
            assert said in error.detail, error.detail
    with pytest.raises(Invalid) as refused:
        await platform.ask("audit.list_entries", query={"type": "orders.*"})
    assert refused.value.errors[0].pointer == "/type"


async def test_a_place_past_the_end_is_gone_and_says_where_the_log_ends(platform):
    for count in (0, 3):
        await platform.write(count)
        for ask in (
            lambda: platform.ask("events.list_events", query={"after": "900000"}),
            lambda past=str(count + 1): platform.ask("audit.list_entries", query={"cursor": past}),
            lambda: Following(platform, after="900000").next(),
            lambda past=str(count + 1): Following(platform, last_event_id=past).next(),
        ):
            with pytest.raises(PositionGone) as gone:
                await ask()
            assert (gone.value.status, gone.value.code) == (410, "position_gone")
            assert gone.value.extra == {"position": await platform.at(count)}
            assert f"after={await platform.at(count)}" in gone.value.detail
        assert (await platform.ask("events.list_events", query={"after": str(count)}))[
            "items"
        ] == []


async def test_a_position_is_of_one_log_and_of_its_epoch(platform):
    """A log that was restored grows past every old position: only its epoch tells them apart."""
    before = platform.log
    here = await platform.restored()
    await platform.write(4)
    page = await platform.ask("events.list_events", query={"limit": 2})
    assert page["next_cursor"] == await platform.at(2)
    for cursor in (page["next_cursor"], "2"):  # a bare seq is taken as one of this log
        rest = await platform.ask("events.list_events", query={"after": cursor})
        assert [e["seq"] for e in rest["items"]] == [3, 4]
        entries = await platform.ask("audit.list_entries", query={"cursor": cursor})
        assert [e["seq"] for e in entries["items"]] == [3, 4]
        assert await Following(platform, last_event_id=cursor).seqs(3) == [2, 3, 4]
    for other, why in (
        (before, "from before the log was restored"),
        (LogName("fedcba9876543210", here.epoch), "of another log"),
    ):
        for ask in (
            lambda cursor: platform.ask("events.list_events", query={"after": cursor}),
            lambda cursor: platform.ask("audit.list_entries", query={"cursor": cursor}),
            lambda cursor: Following(platform, after=cursor).next(),
            lambda cursor: Following(platform, last_event_id=cursor).next(),
        ):
            with pytest.raises(PositionGone, match=why) as gone:
                await ask(other.position(2))
            assert gone.value.extra == {"position": await platform.at(4)}


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 19, "MTIz", "\u0661", "ab.1.0.5"])
async def test_what_is_no_position_is_refused_where_it_stands(platform, cursor):
    with pytest.raises(Invalid) as refused:
        await platform.ask("events.list_events", query={"after": cursor})
    assert refused.value.errors[0].pointer == "/after"


async def test_an_open_stream_ends_when_the_log_falls_back_behind_it(platform):
    await platform.write(5)
    reader = Following(platform, after="4")
    assert await reader.seqs(2) == [4, 5]
    waiting = asyncio.create_task(reader.next())
    await platform.database.commit([LOSE_AFTER(seq=2)], frozenset({"events", "sequenced"}))
    with pytest.raises(PositionGone) as gone:
        await waiting
    assert gone.value.extra == {"position": await platform.at(2)}


async def test_what_is_known_to_be_lost_is_named_until_somebody_has_looked(platform):
    await platform.write(2)
    reader = Following(platform)
    assert await reader.seqs(1) == [2]
    waiting = asyncio.create_task(reader.next())
    await platform.write(1)  # what is read from here on is held in memory
    assert offset((await waiting).id) == 3
    await platform.write(3)
    assert await reader.seqs(3) == [4, 5, 6]
    ids = [event["id"] for event in (await follow(platform))[0]]
    app = platform.whole.app
    assert app.degraded() == []
    waiting = asyncio.create_task(reader.next())
    with capture_logs() as lines:
        await platform.database.commit([LOSE_AFTER(seq=4)], frozenset({"events", "sequenced"}))
        with pytest.raises(PositionGone):
            await waiting
    (told,) = [line for line in lines if line["event"] == "log_fell_back"]
    assert (told["was_at"], told["log_ends_at"], told["lost_known"]) == (6, 4, 2)
    assert told["lost"] == [f"notes.note.written {id}" for id in ids[4:]]
    (said,) = app.degraded()
    assert "lacks 2 events" in said
    assert "mainspring admin restored" in said
    shown = await platform.whole.admin.get("/metrics")
    assert "mainspring_log_lost_events_total 2" in shown.text


@pytest.mark.parametrize("grown", [0, 2, 6], ids=["shorter", "as long", "longer"])
async def test_a_position_of_a_lost_future_is_gone_though_nobody_said_that_it_was_lost(
    platform, grown
):
    """Failed over to a server that lacked commits, say: every process that knew them is gone."""
    await platform.write(5)
    page = await platform.ask("events.list_events")
    entries = await platform.ask("audit.list_entries", query={"limit": 4})
    ready = await Following(platform).next()
    lost = [page["position"], entries["next_cursor"], ready.id]
    kept = await platform.at(3)
    await platform.database.commit([LOSE_AFTER(seq=3)])
    platform.count = 3
    await platform.write(grown)
    for position in lost:
        for ask in (
            lambda cursor: platform.ask("events.list_events", query={"after": cursor}),
            lambda cursor: platform.ask("audit.list_entries", query={"cursor": cursor}),
            lambda cursor: Following(platform, after=cursor).next(),
            lambda cursor: Following(platform, last_event_id=cursor).next(),
        ):
            with pytest.raises(PositionGone) as gone:
                await ask(position)
            assert gone.value.extra == {"position": await platform.at(3 + grown)}
    rest = await platform.ask("events.list_events", query={"after": kept})
    assert [e["seq"] for e in rest["items"]] == list(range(4, 4 + grown))


async def test_an_open_stream_ends_when_the_log_went_back_and_has_grown_past_it(platform):
    """It would go on behind events that it never had, and pass those by."""
    await platform.write(5)
    reader = Following(platform, after="0")
    assert await reader.seqs(6) == [0, 1, 2, 3, 4, 5]
    await platform.database.commit([LOSE_AFTER(seq=3)])
    platform.count = 3
    await platform.write(4)
    with pytest.raises(PositionGone, match="fell back"):
        await reader.next()


@asynccontextmanager
async def tail_of(platform, heard, words):
    """A tail that says what it does: asks what waits, is complete up to a moment, lost its log."""

    async def waits():
        words.put_nowait("asked")
        return await platform.runtime.sequencer.waits()

    def complete(until_s):
        words.put_nowait(until_s)

    tail = Tail(
        platform.runtime.reader,
        heard,
        SystemClock(),
        waits,
        complete,
        partial(words.put_nowait, "lost"),
    )
    await tail.start()
    try:
        yield tail
    finally:
        await tail.stop()


async def said(words, count):
    async with asyncio.timeout(DEADLINE_S):
        return [await words.get() for _ in range(count)]


async def test_a_tail_is_complete_up_to_a_moment_before_it_asked(platform):
    words, heard = asyncio.Queue(), []
    await platform.write(2)
    began_s = SystemClock().monotonic_s()
    async with tail_of(platform, lambda kind, subject: heard.append(subject), words):
        _, first_s, _, second_s = await said(words, 4)
        assert began_s < first_s < second_s < SystemClock().monotonic_s()
        for number in range(4):
            await platform.emit(Burnt(f"note_{number}"))
            committed_s = SystemClock().monotonic_s()
            while (word := (await said(words, 1))[0]) == "asked" or word < committed_s:
                pass
            assert heard[-1] == f"note_{number}"


async def test_a_tail_does_not_take_a_log_that_stands_still_for_one_without_news(platform):
    """What a process committed without numbering it, nobody hears of: nobody is to feel sure."""
    if platform.database.dialect != "postgres":
        pytest.skip("on SQLite an event has its place from its commit on")
    words = asyncio.Queue()
    await platform.write(2)
    async with tail_of(platform, lambda *_: None, words):
        assert [type(word) for word in await said(words, 4)] == [str, float] * 2
        await platform.runtime.sequencer.stop()
        await platform.emit_unplaced(Burnt("note_1"))
        committed_s = SystemClock().monotonic_s()
        seen = []
        while seen[-3:] != ["asked"] * 3:
            seen += await said(words, 1)
            await platform.emit_unplaced(Burnt("note_2"))  # others come, which changes nothing
        assert all(word < committed_s for word in seen if word != "asked")
        await platform.runtime.sequencer.sequence()
        while (word := (await said(words, 1))[0]) == "asked" or word < committed_s:
            pass


async def test_a_tail_that_always_finds_something_waiting_is_complete_all_the_same(platform):
    """Under load an event that was committed just now waits at every look."""
    if platform.database.dialect != "postgres":
        pytest.skip("on SQLite an event has its place from its commit on")
    words = asyncio.Queue()
    await platform.runtime.sequencer.stop()

    async def waits():
        await platform.runtime.sequencer.sequence()
        await platform.emit_unplaced(Burnt("note_1"))
        words.put_nowait("asked")
        return await platform.runtime.sequencer.waits()

    tail = Tail(
        platform.runtime.reader, lambda *_: None, SystemClock(), waits, words.put_nowait, list
    )
    await tail.start()
    try:
        moments = [word for word in await said(words, 12) if word != "asked"]
    finally:
        await tail.stop()
    assert len(moments) >= 4
    assert SystemClock().monotonic_s() - moments[-1] < SILENCE_MAX_S


async def test_a_tail_starts_over_when_its_last_event_is_gone(platform):
    await platform.write(5)
    heard, words = [], asyncio.Queue()
    async with tail_of(platform, lambda kind, subject: heard.append(subject), words):
        assert [type(word) for word in await said(words, 2)] == [str, float]
        assert heard == []
        await platform.database.commit([LOSE_AFTER(seq=3)], frozenset({"sequenced"}))
        while await said(words, 1) != ["lost"]:
            pass
        platform.count = 3
        await platform.emit(Burnt("note_9"))
        while heard != ["note_9"]:
            await said(words, 1)


async def test_a_page_reads_a_bounded_part_and_still_misses_nothing(platform):
    await platform.write(SCANNED_MAX + 10)
    await platform.emit(Burnt("note_3"))
    page = await platform.ask("events.list_events", query={"type": "notes.note.burnt"})
    assert page == {
        "items": [],
        "next_cursor": await platform.at(SCANNED_MAX),
        "position": await platform.at(SCANNED_MAX),
    }
    items, _ = await follow(platform, type="notes.note.burnt")
    assert [e["subject"] for e in items] == ["note_3"]


async def test_a_page_of_large_events_is_short(platform):
    large = "x" * 900_000
    await platform.emit(*[Written(f"note_{i}", large) for i in range(12)])
    page = await platform.ask("events.list_events")
    assert len(page["items"]) == PAGE_BYTES_MAX // 900_000
    items, _ = await follow(platform)
    assert [e["seq"] for e in items] == list(range(1, 13))


async def test_tenants_do_not_see_each_other(platform):
    await platform.write(2)
    await platform.write(3, caller=OTHER)
    assert len((await follow(platform))[0]) == 2
    assert len((await platform.ask("events.list_events", caller=OTHER))["items"]) == 3


async def test_personal_fields_are_for_those_with_the_scope(platform):
    await platform.emit(Named("user_a", "Ada"))
    (seen,) = (await platform.ask("events.list_events"))["items"]
    assert seen["data"]["name"] == "Ada"
    (hidden,) = (await platform.ask("events.list_events", caller=READER))["items"]
    assert hidden["data"] == {"id": "user_a", "name": None}
    assert hidden["sealedfields"] == "name"
    guess = {"filter": "data.name == 'Ada'"}
    assert (await platform.ask("events.list_events", query=guess))["items"] == []
    await platform.erase("user_a")
    (erased,) = (await platform.ask("events.list_events"))["items"]
    assert erased["data"]["name"] is None


async def test_readers_that_follow_while_others_write_miss_nothing(platform):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    done = asyncio.Event()

    async def writes(writer):
        for i in range(40):
            note = Written(f"note_{writer}_{i}", "x", rng.randrange(10))
            await platform.emit_unplaced(note)

    async def reads(limit):
        seen, after = [], "0"
        while True:
            finished = done.is_set()
            page = await platform.ask("events.list_events", query={"after": after, "limit": limit})
            seen += [e["seq"] for e in page["items"]]
            after = page["position"]
            if finished and page["next_cursor"] is None:
                return seen
            await asyncio.sleep(0)

    async def all_writes():
        await asyncio.gather(*(writes(w) for w in range(5)))
        await platform.placed()
        done.set()

    async with asyncio.timeout(DEADLINE_S):
        *seen, _ = await asyncio.gather(*(reads(limit) for limit in (1, 7, 500)), all_writes())
    for each in seen:
        assert each == list(range(1, 201))


class Following:
    """A reader of the stream, one item at a time."""

    def __init__(self, platform, caller=None, **query):
        call = platform.call(caller) if caller else platform.call()
        self.items = stream_events(call, query=msgspec.convert(query, StreamQuery))

    async def next(self):
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self.items)

    async def seqs(self, count):
        return [offset((await self.next()).id) for _ in range(count)]


async def test_the_stream_says_where_it_starts_and_then_what_happens(platform):
    await platform.write(3)
    reader = Following(platform)
    ready = await reader.next()
    assert (ready.event, ready.id) == ("ready", await platform.at(3))
    assert msgspec.json.decode(ready.data) == {"position": await platform.at(3)}
    await platform.write(2)
    items = [await reader.next() for _ in range(2)]
    assert [item.id for item in items] == [await platform.at(4), await platform.at(5)]
    event = msgspec.json.decode(items[0].data)
    assert (event["seq"], event["subject"]) == (4, "note_3")
    await reader.items.aclose()


async def test_the_stream_waits_for_a_wake_and_resumes_where_it_broke(platform):
    reader = Following(platform)
    await reader.next()
    waiting = asyncio.create_task(reader.next())
    await platform.write(1)
    assert (await waiting).id == await platform.at(1)
    await reader.items.aclose()

    await platform.write(260)
    resumed = Following(platform, last_event_id="1", after="200")
    assert (await resumed.next()).id == await platform.at(1)
    assert await resumed.seqs(260) == list(range(2, 262))
    await resumed.items.aclose()


async def test_the_stream_filters_and_hides(platform):
    reader = Following(platform, READER, after="0", type="notes.author.*")
    await reader.next()
    await platform.write(5)
    await platform.emit(Named("user_a", "Ada"))
    item = await reader.next()
    assert item.id == await platform.at(6)
    assert msgspec.json.decode(item.data)["data"]["name"] is None
    await reader.items.aclose()
    with pytest.raises(Invalid):
        await Following(platform, filter="data.").next()


async def test_a_closed_stream_leaves_no_listener(platform, monkeypatch):
    await platform.write(1)
    assert platform.runtime.event_log.seen >= 0  # the process's own reader listens already
    listening, listen = [], Notifier.listen
    listens = asyncio.Event()

    @contextmanager
    def noted(board, *names):
        with listen(board, *names) as signal:
            listening.append(signal)
            listens.set()
            try:
                yield signal
            finally:
                listening.remove(signal)

    monkeypatch.setattr(Notifier, "listen", noted)
    reader = Following(platform, after="0")
    assert await reader.seqs(2) == [0, 1]
    waiting = asyncio.create_task(reader.next())
    async with asyncio.timeout(DEADLINE_S):
        await listens.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    await reader.items.aclose()
    await asyncio.sleep(0)
    assert listening == []


async def test_the_schema_of_a_type(platform):
    schema = await platform.ask("events.get_event_schema", type="notes.note.written")
    assert schema["title"] == "notes.note.written"
    assert set(schema["$defs"]["Written"]["properties"]) == {"id", "text", "stars"}
    with pytest.raises(NotFound):
        await platform.ask("events.get_event_schema", type="notes.note.unknown")

"""One commit per call: guards, re-runs, kept failures, the second form, idempotency."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.errors import ConcurrentUpdate, KeyReused, NotFound, Rerun
from mainspring.kernel.event import EVENT_BYTES_MAX, EventTooLarge
from mainspring.kernel.operation import Operation
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import REPEATS_S, Dispatcher, Idempotency, Outcome
from mainspring.runtime.invoke.keyed_locks import contested
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.runtime import links

EVENT_COUNT = Query("test.events", "SELECT COUNT(*) FROM events", int)
JOB_COUNT = Query("test.jobs", "SELECT COUNT(*) FROM jobs", int)
STORED = Query("test.stored", "SELECT event_id FROM idempotency", str)


def key(name: str, request: str = "request", *, secret: bool = False) -> Idempotency:
    return Idempotency(name.encode().ljust(32, b"k"), request.encode(), secret)


async def run(
    runtime: Runtime, operation: Operation, idempotency: Idempotency | None = None, **args: object
) -> Outcome:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    return await runtime.dispatcher.run(operation, call, args, idempotency)


async def new_link(runtime: Runtime, slug: str = "a") -> links.Link:
    outcome = await run(runtime, links.create, new=links.NewLink(slug=slug))
    return msgspec.json.decode(outcome.body, type=links.Link)


async def count(runtime: Runtime, query: Query[int]) -> int:
    return (await runtime.database.read(query, ()))[0]


async def test_rows_events_and_the_answer_land_together(runtime: Runtime) -> None:
    outcome = await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))
    assert outcome.status == 201
    assert outcome.etag == '"1"'
    assert await count(runtime, EVENT_COUNT) == 1
    replayed = await runtime.dispatcher.replay(key("k"), runtime.clock.now_ms())
    assert replayed is not None
    assert (replayed.status, replayed.body, replayed.etag) == (200, outcome.body, '"1"')


async def test_an_answer_equal_to_an_events_data_is_stored_as_a_slice_of_it(
    runtime: Runtime,
) -> None:
    await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))
    assert (await runtime.database.read(STORED, ()))[0].startswith("evt_")


async def test_a_failed_write_takes_everything_with_it(runtime: Runtime) -> None:
    await new_link(runtime)
    with pytest.raises(links.SlugTaken):
        await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))
    assert await count(runtime, EVENT_COUNT) == 1
    assert await runtime.dispatcher.replay(key("k"), runtime.clock.now_ms()) is None


async def test_guarded_updates_of_one_row_are_all_counted(runtime: Runtime) -> None:
    link = await new_link(runtime)
    await asyncio.gather(*[run(runtime, links.hit, id=link.id) for _ in range(50)])
    after = (await runtime.database.read(links.BY_ID, (link.id,)))[0]
    assert (after.hits, after.version) == (50, 51)


async def test_what_always_changes_ends_in_a_conflict(runtime: Runtime) -> None:
    link = await new_link(runtime)

    async def overtaken(call: Call, id: str) -> None:
        row = await call.one(links.BY_ID, id=id)
        await run(runtime, links.number, id=id)
        call.write(links.LINKS.update(row, hits=0))

    losing = Operation("links.lose", "POST /v1/links/{id}:lose", overtaken, scope=None)
    losing.attach(overtaken)
    with pytest.raises(ConcurrentUpdate):
        await run(runtime, losing, id=link.id)
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 6


async def test_who_comes_to_another_row_takes_turns_there(runtime: Runtime) -> None:
    """As an upsert that lost the race to create, and changes what the winner made."""
    link = await new_link(runtime)
    locks = runtime.dispatcher.keyed_locks
    attempts = 0

    async def upsert(call: Call, id: str) -> None:
        nonlocal attempts
        attempts += 1
        row = await call.one(links.BY_ID, id=id)
        if attempts == 1:
            call.write(links.LINKS.insert(row, on_conflict=Rerun))
            return
        change = links.LINKS.update(row, hits=row.hits + 1)
        async with contextlib.AsyncExitStack() as turn:  # who has it overtakes those who have not
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await turn.enter_async_context(locks.of(contested([change])))
                await run(runtime, links.hit, id=id)
        call.write(change)

    racing = Operation("links.upsert", "POST /v1/links/{id}:upsert", upsert, scope=None)
    racing.attach(upsert)
    await run(runtime, racing, id=link.id)
    assert attempts == 3
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 2


async def test_a_rerun_sees_the_same_moment_and_makes_the_same_ids(runtime: Runtime) -> None:
    link = await new_link(runtime)
    seen: list[tuple[int, str]] = []

    async def race(call: Call, id: str) -> None:
        row = await call.one(links.BY_ID, id=id)
        seen.append((call.now_ms, call.new_id("hit")))
        if len(seen) == 1:
            await run(runtime, links.hit, id=id)
        call.write(links.LINKS.update(row, hits=row.hits + 1))

    racing = Operation("links.race", "POST /v1/links/{id}:race", race, scope=None)
    racing.attach(race)
    await run(runtime, racing, id=link.id)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 2


async def test_a_failure_that_leaves_a_mark_commits_and_answers_the_error(
    runtime: Runtime,
) -> None:
    link = await new_link(runtime)
    with pytest.raises(links.Locked):
        await run(runtime, links.lock, id=link.id)
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 1


async def test_other_failures_leave_nothing(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        await run(runtime, links.hit, key("k"), id="link_none")
    assert await runtime.dispatcher.replay(key("k"), runtime.clock.now_ms()) is None


async def test_the_second_form_gives_each_caller_its_own_number(runtime: Runtime) -> None:
    link = await new_link(runtime)
    outcomes = await asyncio.gather(*[run(runtime, links.number, id=link.id) for _ in range(20)])
    assert sorted(outcome.value for outcome in outcomes) == list(range(1, 21))
    assert await count(runtime, EVENT_COUNT) == 21


async def test_parallel_calls_with_one_key_have_one_effect(runtime: Runtime) -> None:
    outcomes = await asyncio.gather(
        *[run(runtime, links.create, key("k"), new=links.NewLink(slug="a")) for _ in range(200)]
    )
    assert len({outcome.body for outcome in outcomes}) == 1
    assert sorted({outcome.status for outcome in outcomes}) == [200, 201]
    assert [outcome.status for outcome in outcomes].count(201) == 1
    assert await count(runtime, EVENT_COUNT) == 1


async def test_repeats_are_looked_up_first_where_they_are_likely(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that meets a taken key fails the calls that it was gathered with too."""
    commits: list[str] = []
    commit = Dispatcher.commit

    async def counted(self: Dispatcher, call: Call, **options: Any) -> None:
        commits.append(call.request_id)
        await commit(self, call, **options)

    monkeypatch.setattr(Dispatcher, "commit", counted)

    async def create(name: str) -> int:
        new = links.NewLink(slug=name)
        return (await run(runtime, links.create, key(name), new=new)).status

    assert [await create(name) for name in "aabab"] == [201, 200, 201, 200, 200]
    assert len(commits) == 3  # the first repeat was a surprise
    clock.move(REPEATS_S + 1)
    assert [await create(name) for name in "abc"] == [200, 200, 201]
    assert len(commits) == 4
    assert await create("c") == 200
    assert len(commits) == 5  # as this one
    assert await count(runtime, EVENT_COUNT) == 3


async def test_a_key_with_another_request_is_refused(runtime: Runtime) -> None:
    await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))
    with pytest.raises(KeyReused):
        await run(runtime, links.create, key("k", "other"), new=links.NewLink(slug="b"))
    assert await count(runtime, EVENT_COUNT) == 1


async def test_a_secret_answer_is_sealed_and_forgotten_after_ten_minutes(
    runtime: Runtime, clock: object
) -> None:
    outcome = await run(
        runtime, links.create, key("k", secret=True), new=links.NewLink(slug="very-secret-slug")
    )
    stored = Query("test.body", "SELECT body FROM idempotency", bytes)
    assert b"very-secret-slug" not in (await runtime.database.read(stored, ()))[0]
    replayed = await runtime.dispatcher.replay(key("k"), runtime.clock.now_ms())
    assert replayed is not None
    assert replayed.body == outcome.body
    clock.move(601)  # type: ignore[attr-defined]
    assert await runtime.dispatcher.replay(key("k"), runtime.clock.now_ms()) is None
    # The expired record that no sweep has taken does not stand in the way of the next call.
    second = await run(runtime, links.create, key("k"), new=links.NewLink(slug="b"))
    assert second.status == 201


async def test_listeners_hear_of_a_commit_before_its_call_is_answered(runtime: Runtime) -> None:
    heard: list[str] = []
    runtime.dispatcher.on_commit(lambda call, events: heard.extend(e.type.name for e in events))
    await new_link(runtime)
    assert heard == ["links.link.created"]


async def test_an_event_that_no_bus_would_carry_is_refused_where_it_is_emitted(
    runtime: Runtime,
) -> None:
    with pytest.raises(EventTooLarge, match=r"links\.link\.created of this would have 1,000,"):
        await run(runtime, links.create, key("k"), new=links.NewLink(slug="x" * EVENT_BYTES_MAX))
    assert await count(runtime, EVENT_COUNT) == 0


async def test_an_event_that_is_too_long_in_its_envelope_is_refused_by_the_commit(
    runtime: Runtime,
) -> None:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    call.emit(links.LinkCreated("link_1", "x" * (EVENT_BYTES_MAX - 100), 0))
    call.write(links.LINKS.insert(links.Link("link_1", "a", 0)))
    with pytest.raises(EventTooLarge):
        await runtime.dispatcher.commit(call)
    assert await count(runtime, EVENT_COUNT) == 0
    assert await runtime.database.read(links.BY_SLUG, ("a",)) == []


async def test_the_longest_event_is_taken(runtime: Runtime) -> None:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    call.emit(links.LinkCreated("link_1", "x" * (EVENT_BYTES_MAX - 1_000), 0))
    await runtime.dispatcher.commit(call)
    assert await count(runtime, EVENT_COUNT) == 1

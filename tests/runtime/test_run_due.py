"""A runtime that moves when it is told to: no loop runs, nothing waits for the clock."""

import pytest

from mainspring.kernel.call import SYSTEM
from mainspring.runtime.jobs import workers
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import count, new_link
from tests.runtime.jobs.test_workers import HITS, enqueue, jobs_in


@pytest.fixture
async def still(runtime: Runtime) -> Runtime:
    await runtime.prepare()
    return runtime


async def outcomes(runtime: Runtime) -> list[str]:
    done = await runtime.run_due()
    return [attempt.outcome for attempt in done.attempts]


async def test_a_round_gives_events_to_consumers(still: Runtime) -> None:
    first = await new_link(still, "first")
    second = await new_link(still, "second")
    assert await count(still, links.HIT_COUNT) == 0
    done = await still.run_due()
    assert done.batches == 1
    assert await still.database.read(HITS, ()) == [first.id, second.id]
    assert (await still.run_due()).batches == 0
    assert await count(still, links.HIT_COUNT) == 2


async def test_a_failing_consumer_is_told_of_and_set_aside(still: Runtime) -> None:
    told = []
    still.consumer_runner.on_aside(
        lambda consumer, event, error: told.append((consumer.name, str(error)))
    )
    await new_link(still, "poison")
    await new_link(still, "sound")
    await still.run_due()
    assert told == [("links.count", "this one never works")]
    assert await count(still, links.HIT_COUNT) == 1
    assert [job.name for job in await jobs_in(still, "scheduled")] == ["links.count.again"]


async def test_jobs_run_in_their_order_and_again_when_they_failed(still: Runtime) -> None:
    await enqueue(still, links.rescan, link_id="one")
    await enqueue(still, links.rescan, link_id="two")
    failing = await enqueue(still, links.fail, link_id="bad")
    done = await still.run_due()
    assert [(a.job.name, a.outcome) for a in done.attempts] == [
        ("links.rescan", "done"), ("links.rescan", "done"), ("links.fail", "failed"),
    ]  # fmt: skip
    assert isinstance(done.attempts[2].error, ValueError)
    assert await still.database.read(HITS, ()) == ["one", "two"]
    assert [await outcomes(still) for _ in range(3)] == [["failed"], ["failed"], []]
    assert [(job.id, job.attempt) for job in await jobs_in(still, "dead")] == [(failing, 3)]


async def test_a_job_waits_for_its_time(still: Runtime, clock: FakeClock) -> None:
    call = still.dispatcher.call(SYSTEM, request_id="req_1")
    call.enqueue(links.rescan.configure(run_at_ms=call.now_ms + 60_000), link_id="later")
    await still.dispatcher.commit(call)
    assert await outcomes(still) == []
    assert await still.workers.next_due_ms() == clock.now_ms() + 60_000
    clock.move(59.999)
    assert await outcomes(still) == []
    clock.move(0.001)
    assert await outcomes(still) == ["done"]
    assert await still.workers.next_due_ms() is None


async def test_snoozing_costs_no_attempt(still: Runtime) -> None:
    await enqueue(still, links.snooze, link_id="x", until=3)
    told = [await outcomes(still) for _ in range(5)]
    assert told == [["snoozed"], ["snoozed"], ["snoozed"], ["done"], []]
    assert await still.database.read(HITS, ()) == ["x 1"] * 4


async def test_retrying_after_a_while_is_told_apart_from_failing(still: Runtime) -> None:
    await enqueue(still, links.retry, link_id="x")
    assert [await outcomes(still) for _ in range(4)] == [["retried"], ["retried"], ["failed"], []]
    assert await still.database.read(HITS, ()) == ["x 1", "x 2", "x 3"]


async def test_a_job_that_is_put_off_for_ever_ends_in_the_dead_letters(
    still: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SNOOZES_MAX", 2)
    await enqueue(still, links.snooze, link_id="x", until=1_000)
    assert [await outcomes(still) for _ in range(4)] == [["snoozed"], ["snoozed"], ["failed"], []]

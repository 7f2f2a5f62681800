"""What a clock that was wrong once has written does no harm once it is right again."""

from mainspring.kernel.job import Job, Schedule
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.idempotency import ANSWER_KEPT_MS
from mainspring.runtime.jobs.leases import LEASE_S
from mainspring.runtime.jobs.scheduler import next_ms
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import key, new_link, run
from tests.runtime.jobs.test_workers import ALL_JOBS, enqueue, jobs_in

YEAR_S = 365 * 24 * 3600
EXPIRES = Query("test.expires", "SELECT expires_ms FROM idempotency", int)


async def test_a_schedule_goes_on_when_the_clock_is_right_again(
    runtime: Runtime, clock: FakeClock
) -> None:
    async def tick(call: object) -> None: ...

    job = Job("links.tick", tick, queue="bulk", retry=links.QUICK, timeout_s=1)
    schedule = Schedule("tick", "*/5 * * * *", job)
    clock.move(YEAR_S)
    await runtime.scheduler.fire_due(schedule)
    clock.move(-YEAR_S)
    now_ms = clock.now_ms()
    assert await runtime.scheduler.fire_due(schedule) == next_ms("*/5 * * * *", now_ms)
    clock.move(301)
    await runtime.scheduler.fire_due(schedule)
    assert [job.name for job in await runtime.database.read(ALL_JOBS, ())] == ["links.tick"]


async def test_a_retry_waits_as_long_as_it_was_to(runtime: Runtime, clock: FakeClock) -> None:
    await runtime.prepare()
    chosen_ms = clock.now_ms() + 2 * YEAR_S * 1000
    clock.move(YEAR_S)
    await enqueue(runtime, links.fail, link_id="x")
    await enqueue(runtime, links.rescan.configure(run_at_ms=chosen_ms), link_id="later")
    await runtime.run_due()
    await runtime.workers.leases.take_back_expired()
    clock.move(-YEAR_S)
    now_ms = clock.now_ms()
    await runtime.workers.leases.take_back_expired()
    waits = {job.name: job.run_at_ms for job in await jobs_in(runtime, "scheduled")}
    assert now_ms <= waits["links.fail"] <= now_ms + 1_000
    assert waits["links.rescan"] == chosen_ms  # a moment that somebody chose


async def test_a_lease_of_a_wrong_clock_ends(runtime: Runtime, clock: FakeClock) -> None:
    await enqueue(runtime, links.rescan, link_id="x")
    clock.move(YEAR_S)
    assert len(await runtime.workers.claim("bulk", 1)) == 1
    await runtime.workers.leases.take_back_expired()
    clock.move(-YEAR_S)
    for _ in range(2 * int(LEASE_S)):
        await runtime.workers.leases.take_back_expired()
        clock.move(1)
    assert len(await jobs_in(runtime, "ready")) == 1


async def test_a_stored_answer_is_kept_for_a_day_of_the_right_clock(
    runtime: Runtime, clock: FakeClock
) -> None:
    clock.move(YEAR_S)
    await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))
    clock.move(-YEAR_S)
    await runtime.scheduler.sweep()
    assert await runtime.database.read(EXPIRES, ()) == [clock.now_ms() + ANSWER_KEPT_MS]
    assert (await run(runtime, links.create, key("k"), new=links.NewLink(slug="a"))).replayed
    await new_link(runtime, "b")

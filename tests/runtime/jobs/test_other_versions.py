"""Two versions of a program over one database: each runs what it can read, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import App, Call, PerKey, Service
from mainspring.kernel.call import ANONYMOUS
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.job import Job
from mainspring.kernel.table import Statement
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.jobs.other_versions import mark_of
from mainspring.runtime.retention import kept
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

RAN: list[tuple[str, dict[str, Any]]] = []
RENAME = Statement("test.rename", "UPDATE jobs SET name = 'shop.gone' WHERE name = 'shop.pack'")
MAKE_READY = Statement("test.make_ready", "UPDATE jobs SET parked = false WHERE parked")


def old_version() -> App:
    shop = Service("shop", doc="A shop.")

    @shop.job(queue="bulk", max_attempts=1)
    async def pack(call: Call, order: str) -> None:
        RAN.append(("old", {"order": order}))

    @shop.operation("POST /v1/shop:pack", scope=None)
    async def take(call: Call, order: str) -> None:
        call.enqueue(pack, order=order)

    return App("shop", services=[shop])


def new_version(*, concurrency: PerKey | None = None) -> App:
    shop = Service("shop", doc="A shop.")

    @shop.job(queue="bulk", max_attempts=1, concurrency=concurrency)
    async def pack(call: Call, order: str, gift: bool = False) -> None:
        RAN.append(("new", {"order": order, "gift": gift}))

    @shop.operation("POST /v1/shop:wrap", scope=None)
    async def wrap(call: Call, order: str) -> None:
        RAN.append(("new", {"wrap": order}))

    return App("shop", services=[shop])


def job_of(app: App) -> Job[...]:
    return app.services[0].jobs["shop.pack"]


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    """The new version, which has enqueued one job that the old one cannot read, and one it can."""
    RAN.clear()
    async with Platform(new_version(), database=platform_server) as platform:
        yield platform


async def enqueue(platform: Platform, **args: Any) -> str:
    assert platform.user_app is not None
    return await platform.enqueue(job_of(platform.user_app), **args)


async def test_what_an_old_process_cannot_read_waits_for_a_new_one(platform: Platform) -> None:
    old = await platform.another_process(old_version())
    job_id = await enqueue(platform, order="o1", gift=True)
    attempts = await old.runtime.workers.run_due()
    assert [attempt.outcome for attempt in attempts] == ["aside"]
    (job,) = await platform.jobs("shop.pack")
    assert (job.id, job.state, job.attempts) == (job_id, "ready", 0)
    assert job.error is not None
    assert "unknown field `gift`" in job.error
    assert "another version of the program" in job.error
    for _ in range(3):
        assert await old.runtime.workers.run_due() == []  # it is tried once, and then left
    await platform.drain()
    assert RAN == [("new", {"order": "o1", "gift": True})]
    (job,) = await platform.jobs("shop.pack")
    assert (job.state, job.attempts, job.error) == ("done", 1, None)


async def test_what_waits_hides_nothing_else(platform: Platform) -> None:
    old = await platform.another_process(old_version())
    for number in range(5):
        await enqueue(platform, order=f"n{number}", gift=True)
    await old.runtime.workers.run_due()
    await platform.enqueue(job_of(old_version()), order="plain")
    await old.runtime.workers.run_due()
    assert RAN == [("old", {"order": "plain"})]
    assert await old.runtime.workers.claim("bulk", 10) == []


async def test_a_process_that_has_tried_leaves_alone_what_another_lets_go(
    platform: Platform,
) -> None:
    old = await platform.another_process(old_version())
    await enqueue(platform, order="o1", gift=True)
    await old.runtime.workers.run_due()
    await platform.app.database.commit([MAKE_READY()])
    assert await old.runtime.workers.claim("bulk", 10) == []
    assert len(await platform.app.runtime.workers.claim("bulk", 10)) == 1


async def test_after_a_day_it_is_a_dead_letter_that_can_be_redriven(
    platform_server: str | None,
) -> None:
    """A deploy was taken back for good: only the old version is left."""
    RAN.clear()
    async with Platform(old_version(), database=platform_server) as platform:
        new = await platform.another_process(new_version())
        await platform.enqueue(job_of(new_version()), order="o1", gift=True)
        await platform.pass_time(hours=23)
        assert [job.state for job in await platform.jobs("shop.pack")] == ["ready"]
        await platform.pass_time(hours=1)
        (job,) = await platform.jobs("shop.pack", state="dead")
        assert job.error is not None
        assert "unknown field `gift`" in job.error
        await platform.admin.request("POST", f"/v1/jobs/{job.id}:retry")
        await platform.drain()
        assert [job.state for job in await platform.jobs("shop.pack")] == ["ready"]
        await new.runtime.run_due()
        assert RAN == [("new", {"order": "o1", "gift": True})]


async def test_a_name_that_no_version_has_any_more_comes_to_an_end(
    platform_server: str | None,
) -> None:
    """The old version enqueued it last, during a deploy; nobody claims it, and it is shown why."""
    async with Platform(old_version(), database=platform_server) as platform:
        await platform.enqueue(job_of(old_version()), order="o1")
        await platform.app.database.commit([RENAME()])
        await platform.pass_time(minutes=1)
        (job,) = await platform.jobs("shop.gone")
        assert (job.state, job.attempts) == ("ready", 0)
        assert job.error is not None
        assert job.error.startswith("this version of the program has no job of that name")
        kept_now = await kept(platform.app.database, [])
        assert kept_now["jobs that no version here can read"].rows == 1
        await platform.pass_time(hours=23)
        assert [job.state for job in await platform.jobs("shop.gone")] == ["ready"]
        await platform.pass_time(hours=1)
        (dead,) = await platform.jobs("shop.gone", state="dead")
        assert (dead.id, dead.error) == (job.id, job.error)
        await platform.pass_time(hours=31 * 24)
        assert await platform.jobs("shop.gone") == []


async def test_a_name_of_the_next_version_is_run_by_it_whatever_the_old_one_does(
    platform: Platform,
) -> None:
    RAN.clear()
    job_id = await enqueue(platform, order="o1", gift=True)
    other = Service("other", doc="Another app over one database.")
    beside = await platform.another_process(App("other", services=[other]))
    for _ in range(2):
        assert await beside.runtime.workers.run_due() == []
        platform.clock.move(61)
    assert [job.state for job in await platform.jobs("shop.pack")] == ["ready"]
    await platform.drain()
    (job,) = await platform.jobs("shop.pack")
    assert (job.id, job.state, job.error) == (job_id, "done", None)


async def test_an_operator_may_cancel_it(platform: Platform) -> None:
    old = await platform.another_process(old_version())
    job_id = await enqueue(platform, order="o1", gift=True)
    await old.runtime.workers.run_due()
    (await platform.admin.request("POST", f"/v1/jobs/{job_id}:cancel")).expect(200)
    await platform.drain()
    assert RAN == []


async def test_a_request_for_an_operation_of_another_version_waits_too(
    platform: Platform,
) -> None:
    old = await platform.another_process(old_version())
    runtime = platform.app.runtime
    call = runtime.dispatcher.call(ANONYMOUS, request_id="req_1")
    wrap = runtime.registry.operations["shop.wrap"]
    call.request(wrap, order="o1")
    await runtime.dispatcher.commit(call)
    attempts = await old.runtime.workers.run_due()
    assert [attempt.outcome for attempt in attempts] == ["aside"]
    await platform.drain()
    assert RAN == [("new", {"wrap": "o1"})]


async def test_limits_per_key_pass_by_what_waits_for_another_version(
    platform_server: str | None,
) -> None:
    RAN.clear()
    limited = new_version(concurrency=PerKey("order", 1))
    async with Platform(limited, database=platform_server) as platform:
        old = await platform.another_process(old_version())
        await platform.enqueue(job_of(limited), order="o1", gift=True)
        await old.runtime.workers.run_due()
        await platform.enqueue(job_of(limited), order="o1")
        await platform.drain()
        assert sorted(args["gift"] for _, args in RAN) == [False, True]


async def test_two_versions_run_side_by_side_and_bury_nothing(
    platform_server: str | None,
) -> None:
    """With workers that run: a rolling deploy, and the new version enqueues all the while."""
    RAN.clear()
    time = {DatabaseClock: DatabaseClock(SystemClock())}
    async with Platform(new_version(), database=platform_server, ports=time) as platform:
        old = await platform.another_process(old_version())
        processes = (old.runtime, platform.app.runtime)
        for process in processes:
            await process.workers.start()
        try:
            with platform.app.runtime.board.listen("local:finished") as signal:
                for number in range(60):
                    await enqueue(platform, order=f"n{number}", gift=True)
                async with asyncio.timeout(DEADLINE_S):
                    while len(await platform.jobs("shop.pack", state="done")) < 60:
                        await signal.wait()
                        signal.clear()
        finally:
            for process in processes:
                await process.workers.stop(1.0)
        jobs = await platform.jobs("shop.pack")
    assert {(job.state, job.attempts) for job in jobs} == {("done", 1)}
    assert sorted(args["order"] for _, args in RAN) == sorted(f"n{n}" for n in range(60))


def test_a_mark_tells_versions_apart() -> None:
    old, new = old_version(), new_version()
    marks = {mark_of([job_of(app)], []) for app in (old, new, old_version())}
    assert len(marks) == 2
    assert mark_of([job_of(old)], ["shop.take"]) not in marks

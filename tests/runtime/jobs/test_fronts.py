"""A claim reads what waits, not what has run: also while a dump keeps that from being removed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.ids import first_id_at
from mainspring.kernel.service import Service
from mainspring.kernel.table import Statement, Write
from mainspring.ports.database import Database, DatabaseTransaction, Wakes
from mainspring.runtime.jobs import fronts
from mainspring.runtime.jobs.fronts import (
    APART_S_MAX,
    SLACK_MS,
    WHOLE_SHARE,
    Front,
    QueueFront,
    TimeFront,
)
from mainspring.runtime.jobs.workers import CLAIM_MAX
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.tables import CLAIM_JOBS, ClaimedJob
from mainspring.testing.clock import FakeClock
from tests.runtime import links
from tests.runtime.bare_runtime import bare_runtime
from tests.runtime.jobs.test_workers import enqueue, jobs_in, until

CLAIM = {
    "queue": "bulk", "names": '["links.rescan"]', "mark": "none", "worker": "w",
    "lease_until_ms": 0,
}  # fmt: skip


@pytest.fixture
def rationed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A runtime whose looks from the beginning are rare."""
    monkeypatch.setattr(fronts, "NOTHING_S", 0.0)
    monkeypatch.setattr(fronts, "WHOLE_SHARE", 100)
    return runtime


def job(number: int, priority: int = 0, at_ms: int = 0) -> ClaimedJob:
    job_id = first_id_at("job", at_ms)[:-4] + f"{number:04}"
    return ClaimedJob(
        job_id, "main", "bulk", "a.b", "{}", priority, 1, 1, 1, "", at_ms, 0, None, None, None
    )


def test_looks_from_the_beginning_take_a_tenth_of_the_time() -> None:
    now_s = 100.0
    front = Front(lambda: now_s)
    for _ in range(3):
        look = front.begin()
        assert look[0]
        front.end(look)  # which took no time: nothing is in the way
    look = front.begin()
    now_s += 0.5
    front.end(look)
    assert front.wait_s(5.0) == 5.0  # it saw all there was
    now_s += 0.5 * (WHOLE_SHARE - 1) - 0.125
    look = front.begin()
    assert not look[0]
    front.end(look)
    assert front.wait_s(5.0) == 0.125
    now_s += 0.25
    assert front.wait_s(5.0) == 0.0
    look = front.begin()
    assert look[0]
    now_s += 3_600  # frozen meanwhile: it took nothing like that
    front.end(look)
    front.end(front.begin())
    assert front.wait_s(60.0) == APART_S_MAX


def test_a_queue_goes_on_after_what_it_took_but_not_past_what_may_still_commit() -> None:
    front = QueueFront()
    now_ms = 1_000_000
    settled = first_id_at("job", now_ms - SLACK_MS)

    def after() -> list[str]:
        found: list[str] = msgspec.json.decode(front.after((False, 0.0)))
        return found[::-1]

    assert after() == [""] * 10
    old = [job(number, 3, at_ms=500) for number in range(2)]
    front.took(old, 2, now_ms)
    assert after() == [""] * 3 + [old[1].id] + [settled] * 6
    front.took([job(7, 3, at_ms=now_ms)], 1, now_ms)
    assert after() == [""] * 3 + [settled] * 7
    front.took([job(8, 0, at_ms=now_ms)], 2, now_ms)
    assert after() == [settled] * 10
    assert msgspec.json.decode(front.after((True, 0.0))) == [""] * 10
    front.took([job(1, 0, at_ms=500)], 1, now_ms)  # what a look from the beginning found
    assert after()[0] == job(1, 0, at_ms=500).id


def test_moments_are_looked_at_again_for_a_while() -> None:
    front = TimeFront()
    front.took_all(10_000)
    assert front.from_ms((False, 0.0)) == 10_000 - SLACK_MS
    assert front.from_ms((True, 0.0)) == 0


async def test_what_comes_in_behind_the_front_is_run_too(
    rationed: Runtime, clock: FakeClock
) -> None:
    """A job made ready late is older than what was taken already, by its id."""
    late = await enqueue(
        rationed, links.rescan.configure(run_at_ms=clock.now_ms() + 1_000), link_id="x"
    )
    clock.move(60)
    await rationed.start()
    try:
        for _ in range(3):
            await enqueue(rationed, links.rescan, link_id="x")
            clock.move(SLACK_MS / 1000)

        async def ran() -> bool:
            return len(await jobs_in(rationed, "done")) == 4

        await until(rationed, ran)
        assert late in {done.id for done in await jobs_in(rationed, "done")}
    finally:
        await rationed.stop(1.0)


async def test_urgent_jobs_go_first_from_a_front_too(rationed: Runtime, clock: FakeClock) -> None:
    claim = rationed.workers.claim
    for priority in (0, 0, 5, 0):
        await enqueue(rationed, links.rescan.configure(priority=priority), link_id="x")
    clock.move(60)
    assert [job.priority for job in await claim("bulk", 2)] == [5, 0]
    await enqueue(rationed, links.rescan.configure(priority=9), link_id="x")
    await enqueue(rationed, links.rescan.configure(priority=5), link_id="x")
    assert [job.priority for job in await claim("bulk", 3)] == [9, 5, 0]
    assert [job.priority for job in await claim("bulk", 3)] == [0]


READ = Statement("test.read", "SELECT pg_stat_get_xact_tuples_returned('jobs_ready'::regclass)")
TOOK = Statement("test.took", "UPDATE jobs SET state = 'done' WHERE state = 'running'")


async def claimed(database: Database, front: QueueFront, now_ms: int, *, whole: bool) -> int:
    """Claim and end what there is; return how many entries of the index were read for it."""
    read: list[tuple[int]] = []
    rows: list[tuple[Any, ...]] = []
    claim = CLAIM_JOBS(
        **CLAIM, limit=CLAIM_MAX, now_ms=now_ms, after=front.after((whole, 0.0)),
    )  # fmt: skip

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        read[:] = await transaction.execute(READ())
        rows[:] = await transaction.execute(claim)
        read.extend(await transaction.execute(READ()))
        return [TOOK()], frozenset()

    await database.transact(body)
    front.took(
        sorted((ClaimedJob(*row) for row in rows), key=lambda job: job.id), CLAIM_MAX, now_ms
    )
    return read[1][0] - read[0][0]


async def test_a_claim_beside_a_dump_reads_what_waits(
    postgres_url: str, tmp_path: Path, clock: FakeClock, services: list[Service]
) -> None:
    """Each job that ran leaves a dead entry before those that wait, until the dump has ended."""
    database = PostgresDatabase(postgres_url)
    await database.open()
    try:
        runtime = await bare_runtime(database, tmp_path, services, clock=clock)
        dump = await asyncpg.connect(postgres_url)
        holding = dump.transaction(isolation="repeatable_read", readonly=True)
        await holding.start()
        assert await dump.fetchval("SELECT count(*) FROM jobs") == 0
        front, read = QueueFront(), []
        for _ in range(20):
            call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
            for _ in range(100):
                call.enqueue(links.rescan, link_id="x")
            await runtime.dispatcher.commit(call)
            clock.move(SLACK_MS / 1000)
            read.append(await claimed(database, front, clock.now_ms(), whole=False))
        assert max(read) <= 400  # those that wait, and those that might have come late
        assert await claimed(database, front, clock.now_ms(), whole=True) >= 2_000
        await holding.rollback()
        await dump.close()
    finally:
        await database.close()

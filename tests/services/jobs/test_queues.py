"""Queues: depth, pausing, dead letters; and schedules."""

import asyncio
from typing import Any

import pytest

from mainspring.kernel.errors import NotFound
from mainspring.kernel.page import PageQuery
from mainspring.services.jobs.api import Redrive
from tests.deadline import DEADLINE_S
from tests.services.jobs.chores import Doors
from tests.services.jobs.test_jobs import enqueue, events, get
from tests.services.running import Platform


async def queue(platform: Platform, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await platform.value("jobs.get_queue", name=name)
    return found


async def test_a_queue_shows_its_depth_and_latency(at_rest: Platform) -> None:
    await enqueue(at_rest)
    at_rest.clock.move(3)
    await enqueue(at_rest)
    await enqueue(at_rest, run_at="2030-01-01T00:00:00Z")
    at_rest.clock.move(2)
    assert await queue(at_rest, "bulk") == {
        "name": "bulk", "paused": False, "scheduled": 1, "ready": 2, "running": 0, "dead": 0,
        "latency_s": 5.0, "done_last_minute": 0,
    }  # fmt: skip
    names = [q["name"] for q in (await at_rest.value("jobs.list_queues"))["items"]]
    assert names == [
        "attic", "bulk", "critical", "default", "mails", "notifications", "platform", "webhooks",
    ]  # fmt: skip
    with pytest.raises(NotFound):
        await queue(at_rest, "nowhere")


async def test_throughput_counts_the_last_minute(platform: Platform) -> None:
    for _ in range(3):
        await enqueue(platform)
    await platform.idle()
    assert (await queue(platform, "bulk"))["done_last_minute"] == 3
    platform.clock.move(60)
    assert (await queue(platform, "bulk"))["done_last_minute"] == 0


async def test_a_running_job_is_counted(platform: Platform, doors: Doors) -> None:
    await enqueue(platform, "chores.wait", args={"what": "attic"})
    async with asyncio.timeout(DEADLINE_S):
        await doors.started.wait()
    assert (await queue(platform, "attic"))["running"] == 1


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(platform: Platform) -> None:
    paused = await platform.value("jobs.pause_queue", name="bulk")
    assert paused["paused"] is True
    await platform.value("jobs.pause_queue", name="bulk")  # again: nothing more happens
    made = await enqueue(platform)
    other = await enqueue(platform, queue="default")

    async def other_done() -> bool:
        return (await get(platform, other["id"]))["state"] == "done"

    await platform.until(other_done)
    assert (await get(platform, made["id"]))["state"] == "ready"
    resumed = await platform.value("jobs.resume_queue", name="bulk")
    assert resumed["paused"] is False
    await platform.idle()
    assert (await get(platform, made["id"]))["state"] == "done"
    assert [line for line in await events(platform) if "queue" in line] == [
        "jobs.queue.paused bulk",
        "jobs.queue.resumed bulk",
    ]
    with pytest.raises(NotFound):
        await platform.run("jobs.pause_queue", name="nowhere")


async def test_dead_letters_are_listed_and_redriven(platform: Platform) -> None:
    spilt = [
        (await enqueue(platform, "chores.spill", args={"what": str(n)}))["id"] for n in range(5)
    ]
    await platform.idle()
    await platform.run("jobs.pause_queue", name="bulk")
    page = await platform.value("jobs.list_dead_letters", queue="bulk", query=PageQuery(limit=3))
    assert [job["id"] for job in page["items"]] == spilt[:3]
    rest = PageQuery(limit=3, cursor=page["next_cursor"])
    page = await platform.value("jobs.list_dead_letters", queue="bulk", query=rest)
    assert [job["id"] for job in page["items"]] == spilt[3:]
    assert page["next_cursor"] is None
    first = await platform.value("jobs.redrive_dead_letters", queue="bulk", batch=Redrive(limit=2))
    assert first["redriven"] == 2
    assert [job.id for job in await platform.jobs("ready")] == spilt[:2]
    assert (await queue(platform, "bulk"))["dead"] == 3
    assert (await platform.value("jobs.redrive_dead_letters", queue="bulk", batch=Redrive()))[
        "redriven"
    ] == 3
    assert (await platform.value("jobs.redrive_dead_letters", queue="bulk", batch=Redrive()))[
        "redriven"
    ] == 0
    await platform.run("jobs.resume_queue", name="bulk")
    await platform.idle()
    assert (await queue(platform, "bulk"))["dead"] == 5  # they spill again
    assert "jobs.queue.redriven bulk" in await events(platform)


async def test_redriving_keeps_unique_keys_unique(platform: Platform) -> None:
    """Two dead letters with one key, and one whose key another job has meanwhile."""
    for _ in range(2):
        await enqueue(platform, "chores.spill", args={"what": "milk"}, unique_key="milk")
        await platform.idle()
    await enqueue(platform, "chores.spill", args={"what": "tea"}, unique_key="tea")
    await platform.idle()
    await platform.run("jobs.pause_queue", name="bulk")
    await enqueue(platform, "chores.spill", args={"what": "tea"}, unique_key="tea")
    assert (await platform.value("jobs.redrive_dead_letters", queue="bulk", batch=Redrive()))[
        "redriven"
    ] == 1
    assert [job.unique_key for job in await platform.jobs("ready")] == ["milk", "tea"]
    assert len(await platform.jobs("dead")) == 2


async def test_redriving_at_once_redrives_each_once(at_rest: Platform) -> None:
    for n in range(20):
        await enqueue(at_rest, "chores.spill", args={"what": str(n)})
    await at_rest.runtime.workers.start()

    async def all_dead() -> bool:
        return len(await at_rest.jobs("dead")) == 20

    await at_rest.until(all_dead)
    await at_rest.runtime.workers.stop(1.0)
    answers = await asyncio.gather(
        *(
            at_rest.value("jobs.redrive_dead_letters", queue="bulk", batch=Redrive())
            for _ in range(4)
        )
    )
    assert sum(answer["redriven"] for answer in answers) == 20
    assert len(await at_rest.jobs("ready")) == 20


async def test_schedules_are_listed(platform: Platform) -> None:
    schedules = (await platform.value("jobs.list_schedules"))["items"]
    (schedule,) = [s for s in schedules if s["name"] == "chores.private@0 5 * * *"]
    assert (schedule["cron"], schedule["job"]) == ("0 5 * * *", "chores.private")
    assert schedule["next_at"].endswith("T05:00:00.000Z")

"""One job: enqueued, looked at, cancelled, retried."""

import asyncio
import json
from typing import Any

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Failure, Forbidden, Invalid, NotFound
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.table import Statement
from mainspring.runtime.jobs.workers import execute
from mainspring.services.jobs.api import JobQuery, NewJob, NotInThatState
from tests.deadline import DEADLINE_S
from tests.services.jobs.chores import Doors, private
from tests.services.running import Platform


async def enqueue(platform: Platform, name: str = "chores.sweep", **fields: Any) -> dict[str, Any]:
    fields.setdefault("args", {"what": "stairs"})
    made: dict[str, Any] = await platform.value("jobs.create_job", new=NewJob(name=name, **fields))
    return made


async def get(platform: Platform, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await platform.value("jobs.get_job", id=job_id)
    return found


async def events(platform: Platform) -> list[str]:
    seen = await platform.whole.events()
    return [f"{e.type} {e.subject}" for e in seen if not e.type.startswith("users.")]


async def test_a_job_is_made_and_done(platform: Platform) -> None:
    outcome = await platform.run(
        "jobs.create_job", new=NewJob(name="chores.sweep", args={"what": "stairs"}, priority=3)
    )
    assert outcome.status == 201
    made = outcome.value
    assert (made.state, made.queue, made.priority, made.attempts) == ("ready", "bulk", 3, 0)
    await platform.idle()
    job = await get(platform, made.id)
    assert (job["state"], job["attempts"], job["progress"], job["error"]) == ("done", 1, 1.0, None)
    assert job["args"] == {"what": "stairs", "times": 1}
    assert await events(platform) == ["chores.chore.done stairs"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": "chores.nothing"}, "/name"),
        ({"name": "chores.private", "args": {"secret": "x"}}, "/name"),
        ({"args": {}}, "/args/what"),
        ({"args": {"what": 1}}, "/args/what"),
        ({"args": {"what": "x", "when": "now"}}, "/args/when"),
        ({"args": {"what": "x", "times": "twice"}}, "/args/times"),
        ({"queue": "nowhere"}, "/queue"),
        ({"run_at": "tomorrow"}, "/run_at"),
        ({"run_at": "2999-01-01T00:00:00Z"}, "/run_at"),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place(
    at_rest: Platform, fields: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await enqueue(at_rest, **fields)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert await at_rest.jobs() == []


async def test_a_unique_key_in_use_answers_with_the_job_that_has_it(at_rest: Platform) -> None:
    first = await enqueue(at_rest, unique_key="stairs")
    again = await at_rest.run(
        "jobs.create_job",
        new=NewJob(name="chores.sweep", args={"what": "other"}, unique_key="stairs"),
    )
    assert again.status == 200
    assert again.value.id == first["id"]
    assert len(await at_rest.jobs()) == 1
    other = Caller("key", "key_1", tenant="other", scopes=frozenset({"*"}))
    new = NewJob(name="chores.sweep", args={"what": "x"}, unique_key="stairs")
    assert (await at_rest.run("jobs.create_job", caller=other, new=new)).status == 201


async def test_many_at_once_with_one_key_make_one_job(at_rest: Platform) -> None:
    made = await asyncio.gather(*(enqueue(at_rest, unique_key="one") for _ in range(30)))
    assert len({job["id"] for job in made}) == 1
    assert [job.id for job in await at_rest.jobs()] == [made[0]["id"]]


async def test_a_key_is_free_again_after_its_job(platform: Platform) -> None:
    first = await enqueue(platform, unique_key="stairs")
    await platform.idle()
    second = await enqueue(platform, unique_key="stairs")
    assert second["id"] != first["id"]


async def test_a_planned_job_waits_for_its_time(platform: Platform) -> None:
    run_at = rfc3339(platform.clock.now_ms() + 60_000)
    made = await enqueue(platform, run_at=run_at)
    assert (made["state"], made["run_at"]) == ("scheduled", run_at)
    await platform.pass_time(59)
    assert await events(platform) == []
    await platform.pass_time(1)
    assert await events(platform) == ["chores.chore.done stairs"]


async def test_others_tenants_and_ids_are_not_there(at_rest: Platform) -> None:
    made = await enqueue(at_rest)
    other = Caller("key", "key_1", tenant="other", scopes=frozenset({"*"}))
    for name in ("jobs.get_job", "jobs.cancel_job", "jobs.retry_job"):
        with pytest.raises(NotFound):
            await at_rest.run(name, caller=other, id=made["id"])
        with pytest.raises(NotFound):
            await at_rest.run(name, id="job_nothing")
    page = await at_rest.value("jobs.list_jobs", caller=other, query=JobQuery())
    assert page["items"] == []


async def test_arguments_of_private_jobs_are_not_shown(at_rest: Platform) -> None:
    call = at_rest.runtime.dispatcher.call(SYSTEM, request_id="req_1")
    job_id = call.enqueue(private, secret="hush")
    await at_rest.runtime.dispatcher.commit(call)
    job = await get(at_rest, job_id)
    assert job["args"] is None
    assert "hush" not in str(job)


class TestCancel:
    async def test_a_waiting_job(self, at_rest: Platform) -> None:
        made = await enqueue(at_rest)
        cancelled = await at_rest.value("jobs.cancel_job", id=made["id"])
        assert cancelled["state"] == "cancelled"
        assert await get(at_rest, made["id"]) == cancelled
        again = await at_rest.value("jobs.cancel_job", id=made["id"])
        assert again == cancelled
        assert await events(at_rest) == [f"jobs.job.cancelled {made['id']}"]

    async def test_a_running_job_has_no_effect_any_more(
        self, platform: Platform, doors: Doors
    ) -> None:
        made = await enqueue(platform, "chores.wait", args={"what": "attic"})
        async with asyncio.timeout(DEADLINE_S):
            await doors.started.wait()
        assert (await get(platform, made["id"]))["state"] == "running"
        await platform.run("jobs.cancel_job", id=made["id"])
        follower = await enqueue(platform, "chores.wait", args={"what": "cellar"})
        doors.open.set()
        await platform.idle()
        assert (await get(platform, made["id"]))["state"] == "cancelled"
        assert (await get(platform, follower["id"]))["state"] == "done"
        assert "chores.chore.done attic" not in await events(platform)

    async def test_a_done_job_is_refused(self, platform: Platform) -> None:
        made = await enqueue(platform)
        await platform.idle()
        with pytest.raises(NotInThatState, match="nothing is left to cancel"):
            await platform.run("jobs.cancel_job", id=made["id"])
        with pytest.raises(NotInThatState, match="dead, cancelled or scheduled can be run again"):
            await platform.run("jobs.retry_job", id=made["id"])


class TestRetry:
    async def test_a_dead_job_runs_again(self, platform: Platform) -> None:
        made = await enqueue(platform, "chores.spill", args={"what": "milk"})
        await platform.idle()
        dead = await get(platform, made["id"])
        assert (dead["state"], dead["error"]) == ("dead", "JobFailed: milk was spilt")
        again = await platform.value("jobs.retry_job", id=made["id"])
        assert (again["state"], again["attempts"]) == ("ready", 0)
        await platform.idle()
        assert (await get(platform, made["id"]))["state"] == "dead"
        assert await events(platform) == [f"jobs.job.retried {made['id']}"]

    async def test_a_waiting_retry_is_brought_forward(self, platform: Platform) -> None:
        made = await enqueue(platform, "chores.stumble", args={"what": "cat"})
        await platform.idle()
        waiting = await get(platform, made["id"])
        assert (waiting["state"], waiting["attempts"]) == ("scheduled", 1)
        await platform.run("jobs.retry_job", id=made["id"])
        await platform.idle()
        dead = await get(platform, made["id"])
        assert (dead["state"], dead["attempts"]) == ("dead", 2)

    async def test_a_cancelled_job_comes_back(self, platform: Platform) -> None:
        run_at = rfc3339(platform.clock.now_ms() + 60_000)
        made = await enqueue(platform, run_at=run_at)
        await platform.run("jobs.cancel_job", id=made["id"])
        await platform.run("jobs.retry_job", id=made["id"])
        await platform.idle()
        assert (await get(platform, made["id"]))["state"] == "done"

    async def test_a_key_that_another_job_has_now_is_a_conflict(self, at_rest: Platform) -> None:
        made = await enqueue(at_rest, unique_key="one")
        await at_rest.run("jobs.cancel_job", id=made["id"])
        await enqueue(at_rest, unique_key="one")
        failure = await refusal(at_rest, made["id"])
        assert failure == 409
        assert (await get(at_rest, made["id"]))["state"] == "cancelled"

    async def test_ready_and_done_are_refused(self, at_rest: Platform) -> None:
        made = await enqueue(at_rest)
        assert await refusal(at_rest, made["id"]) == 409


async def refusal(platform: Platform, job_id: str) -> int:
    with pytest.raises(Failure) as caught:
        await platform.run("jobs.retry_job", id=job_id)
    return caught.value.status


async def test_lists_are_filtered_and_paged(platform: Platform) -> None:
    await platform.run("jobs.pause_queue", name="attic")
    attic = [
        (await enqueue(platform, queue="attic", args={"what": str(n)}))["id"] for n in range(5)
    ]
    await enqueue(platform, "chores.spill", args={"what": "milk"})
    await enqueue(platform)

    async def settled() -> bool:
        return len(await platform.jobs("ready", "running")) == 5

    await platform.until(settled)
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        query = JobQuery(queue="attic", limit=2, cursor=cursor)
        page = await platform.value("jobs.list_jobs", query=query)
        found += [job["id"] for job in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (found, pages) == (attic, 3)
    for query, count in (
        (JobQuery(), 7),
        (JobQuery(state="ready"), 5),
        (JobQuery(state="dead"), 1),
        (JobQuery(name="chores.spill"), 1),
        (JobQuery(queue="bulk", state="done"), 1),
        (JobQuery(queue="bulk", state="ready"), 0),
    ):
        page = await platform.value("jobs.list_jobs", query=query)
        assert len(page["items"]) == count


async def test_a_page_of_large_jobs_ends_early(at_rest: Platform) -> None:
    large = "x" * 300_000
    made = [(await enqueue(at_rest, args={"what": f"{n:02}{large}"}))["id"] for n in range(15)]
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        outcome = await at_rest.run("jobs.list_jobs", query=JobQuery(limit=500, cursor=cursor))
        assert len(outcome.body) < PAGE_BYTES_MAX + 20_000
        page = json.loads(outcome.body)
        found += [job["id"] for job in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (found, pages) == (made, 3)


async def test_a_services_own_job_is_not_cancelled_by_those_who_may_write_jobs(
    at_rest: Platform,
) -> None:
    call = at_rest.runtime.dispatcher.call(SYSTEM, request_id="req_1")
    job_id = call.enqueue(private.configure(unique_key="user_ada"), secret="hush")
    await at_rest.runtime.dispatcher.commit(call)
    writer = Caller("key", "key_1", scopes=frozenset({"jobs:read", "jobs:write", "jobs:admin"}))
    for name in ("jobs.cancel_job", "jobs.retry_job"):
        with pytest.raises(Forbidden, match=r"chores\.private .* needs the scope chores:write too"):
            await at_rest.run(name, caller=writer, id=job_id)
    assert (await get(at_rest, job_id))["state"] == "ready"
    seen = await at_rest.value("jobs.get_job", caller=writer, id=job_id)
    assert seen["unique_key"] is None
    both = Caller("key", "key_2", scopes=frozenset({"jobs:read", "jobs:write", "chores:write"}))
    assert (await at_rest.value("jobs.cancel_job", caller=both, id=job_id))["state"] == "cancelled"


async def test_what_an_error_of_a_services_own_job_says_is_for_its_readers(
    at_rest: Platform,
) -> None:
    call = at_rest.runtime.dispatcher.call(SYSTEM, request_id="req_1")
    job_id = call.enqueue(private, secret="hush")
    await at_rest.runtime.dispatcher.commit(call)
    fail = Statement("test.fail", "UPDATE jobs SET error = 'ValueError: ada@x.example'")
    await execute(at_rest.runtime.database, fail())
    reader = Caller("key", "key_1", scopes=frozenset({"jobs:read"}))
    theirs = Caller("key", "key_2", scopes=frozenset({"jobs:read", "chores:read"}))
    shown = [
        (await at_rest.value("jobs.get_job", caller=who, id=job_id))["error"]
        for who in (reader, theirs)
    ]
    assert shown == ["ValueError", "ValueError: ada@x.example"]

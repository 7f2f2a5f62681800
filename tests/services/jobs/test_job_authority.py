"""A job that a caller had done runs while that caller may have jobs done, and no longer."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import App, Call, Service
from mainspring.kernel.clock import rfc3339
from mainspring.services.jobs.api import NewJob, create_job
from mainspring.testing import Client, Platform
from tests.services.jobs.chores import chores, sweep

LATER_S = 3600
app = App("chores", services=[chores])


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(app, database=platform_server) as platform:
        yield platform


async def enqueue(platform: Platform, caller: Client, name: str = "chores.sweep") -> Any:
    """Have a job done an hour from now."""
    at = rfc3339(platform.clock.now_ms() + LATER_S * 1000)
    new = {"name": name, "args": {"what": "stairs"}, "run_at": at}
    return (await caller.post("/v1/jobs", new)).expect(201)


async def found(platform: Platform, job: Any) -> Any:
    return (await platform.admin.get(f"/v1/jobs/{job['id']}")).expect(200)


async def done(platform: Platform) -> int:
    return len(await platform.events("chores.chore.done"))


async def test_whoever_may_still_is_served(platform: Platform) -> None:
    key = await platform.as_key("jobs:write")
    job = await enqueue(platform, key)
    assert job["acts_for"] == key.id
    await platform.pass_time(seconds=LATER_S)
    assert (await found(platform, job))["state"] == "done"
    assert await done(platform) == 1


async def test_a_key_that_was_revoked_has_nothing_done(platform: Platform) -> None:
    key = await platform.as_key("jobs:write")
    job = await enqueue(platform, key)
    (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
    await platform.pass_time(seconds=LATER_S, failing=["chores.sweep"])
    dead = await found(platform, job)
    assert (dead["state"], dead["attempts"]) == ("dead", 1)
    assert dead["error"] == (
        f"JobFailed: not run: {key.id}, who had it done, is revoked, deleted or expired"
    )
    assert await done(platform) == 0


async def test_a_key_that_ends_has_nothing_done_after_its_end(platform: Platform) -> None:
    ends = rfc3339(platform.clock.now_ms() + 60_000)
    new = {"name": "short", "scopes": ["jobs:write"], "expires_at": ends}
    made = (await platform.admin.post("/v1/api_keys", new)).expect(201)
    job = await enqueue(platform, platform.as_bearer(made["key"]))
    await platform.pass_time(seconds=LATER_S, failing=["chores.sweep"])
    assert (await found(platform, job))["state"] == "dead"


@pytest.mark.parametrize("with_key", [False, True])
async def test_a_scope_that_was_taken_is_gone_for_what_waits(
    platform: Platform, with_key: bool
) -> None:
    role = {"name": "chief", "scopes": ["jobs:write", "api_keys:own"]}
    (await platform.admin.post("/v1/roles", role)).expect(201)
    caller = await platform.as_user("ann@example.com", roles=["chief"])
    if with_key:
        new = {"name": "hers", "scopes": ["jobs:write"]}
        made = (await caller.post("/v1/api_keys", new)).expect(201)
        caller = platform.as_bearer(made["key"])
    job = await enqueue(platform, caller)
    changes = {"scopes": ["api_keys:own"]}
    (await platform.admin.patch("/v1/roles/chief", changes)).expect(200)
    await platform.pass_time(seconds=LATER_S, failing=["chores.sweep"])
    dead = await found(platform, job)
    assert dead["state"] == "dead"
    assert dead["error"].endswith("does not hold jobs:write now")
    assert await done(platform) == 0


async def test_between_two_attempts_it_is_asked_again(platform: Platform) -> None:
    key = await platform.as_key("jobs:write")
    job = await enqueue(platform, key, "chores.stumble")
    await platform.pass_time(seconds=LATER_S, failing=["chores.stumble"])
    assert (await found(platform, job))["state"] == "scheduled"
    (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
    await platform.pass_time(minutes=5, failing=["chores.stumble"])
    assert "revoked" in (await found(platform, job))["error"]


@pytest.mark.parametrize("scope", ["jobs:write", "jobs:admin"])
async def test_whoever_has_it_run_again_answers_for_it(platform: Platform, scope: str) -> None:
    first, second = await platform.as_key("jobs:write"), await platform.as_key(scope)
    job = await enqueue(platform, first)
    (await platform.admin.delete(f"/v1/api_keys/{first.id}")).expect(204)
    await platform.pass_time(seconds=LATER_S, failing=["chores.sweep"])

    async def again() -> None:
        if scope == "jobs:write":
            (await second.post(f"/v1/jobs/{job['id']}:retry", {})).expect(204)
        else:
            (await second.post("/v1/queues/bulk/dead:redrive", {})).expect(200)

    await again()
    waiting = await found(platform, job)
    assert (waiting["state"], waiting["acts_for"]) == ("ready", second.id)
    await platform.drain()
    assert await done(platform) == 1


async def test_what_a_service_has_done_is_its_own(platform: Platform) -> None:
    key = await platform.as_key("jobs:*", "chores:write")
    await platform.enqueue(sweep.configure(run_at_ms=platform.clock.now_ms() + 1000), what="floor")
    (job,) = (await platform.admin.get("/v1/jobs?name=chores.sweep")).expect(200)["items"]
    assert job["acts_for"] is None
    (await key.post(f"/v1/jobs/{job['id']}:retry", {})).expect(200)
    (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
    await platform.drain()
    assert (await found(platform, job))["state"] == "done"


helper = Service("helper", doc="Has jobs done as itself.")
helper.acts("jobs:write")


@helper.operation("POST /v1/helps", scope=None)
async def ask_for_help(call: Call, new: NewJob) -> None:
    """Request a job of the service of jobs."""
    call.as_service().request(create_job, new)


async def test_what_a_service_has_done_as_itself_is_done(platform_server: str | None) -> None:
    helped = App("helped", services=[chores, helper])
    async with Platform(helped, database=platform_server) as platform:
        new = NewJob(name="chores.sweep", args={"what": "stairs"})
        await platform.anonymous.call(ask_for_help, new)
        await platform.drain()
        (job,) = (await platform.admin.get("/v1/jobs?name=chores.sweep")).expect(200)["items"]
        assert (job["state"], job["acts_for"]) == ("done", "helper")
        assert await done(platform) == 1

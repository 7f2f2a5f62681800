"""What holds in one process holds among those of a crew, whichever of them is asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring import App, Call, Channel, Service, Signals, StreamItem, follow_events
from mainspring.runtime.tables import MOVE_SCHEDULE, SCHEDULE
from tests.scenarios.crew import Member, crew

ROUNDS = 20
JOBS = 100
PASSWORD = "a violet in the snow"
DIARY = {"name": "diary", "fields": [{"name": "text", "type": "text", "max": 200}]}


@pytest.fixture
async def two(tmp_path: Path, database_url: str) -> AsyncIterator[list[Member]]:
    async with crew(tmp_path, database_url) as members:
        yield members


@pytest.fixture
async def two_at_one_file(tmp_path: Path) -> AsyncIterator[list[Member]]:
    async with crew(tmp_path, f"sqlite:{tmp_path / 'mainspring.db'}") as members:
        yield members


async def test_a_key_that_one_revoked_is_refused_by_the_others_at_once(
    two_at_one_file: list[Member],
) -> None:
    """Before who revoked it is answered: no call that begins after the answer passes."""
    one, other = two_at_one_file
    for _ in range(ROUNDS):
        made = await one.made("/v1/api_keys", {"name": "k", "scopes": ["jobs:read"]})
        assert (await other.ask("GET", "/v1/jobs", as_=made["key"]))[0] == 200
        status, _ = await one.ask("DELETE", f"/v1/api_keys/{made['id']}")
        assert status == 204
        assert (await other.ask("GET", "/v1/jobs", as_=made["key"]))[0] == 401
        one, other = other, one


async def test_a_session_that_ended_at_one_has_ended_at_all(
    two_at_one_file: list[Member],
) -> None:
    one, other = two_at_one_file
    account = {"email": "ann@example.com", "password": PASSWORD}
    user = await one.made("/v1/users", account)
    for _ in range(3):
        token = (await one.made("/v1/sessions", account))["access_token"]
        assert (await other.ask("GET", "/v1/users/me", as_=token))[0] == 200
        assert (await one.ask("DELETE", "/v1/sessions", as_=token))[0] == 204
        assert (await other.ask("GET", "/v1/users/me", as_=token))[0] == 401
        one, other = other, one
    token = (await one.made("/v1/sessions", account))["access_token"]
    assert (await other.ask("GET", "/v1/users/me", as_=token))[0] == 200
    assert (await one.ask("DELETE", f"/v1/users/{user['id']}"))[0] == 204
    assert (await other.ask("GET", "/v1/users/me", as_=token))[0] == 401


async def test_rules_and_fields_that_one_changed_hold_at_the_others(two: list[Member]) -> None:
    one, other = two
    await one.made("/v1/collections", DIARY)
    records = "/v1/collections/diary/records"
    await other.made(records, {"text": "dear diary"})
    for public in (True, False) * 5:
        rules = {"list": "true"} if public else {}
        status, said = await one.ask("PATCH", "/v1/collections/diary", {"rules": rules})
        assert status == 200, said
        assert (await other.ask("GET", records, as_=""))[0] == (200 if public else 401)
        one, other = other, one
    for n in range(5):
        await one.made("/v1/collections", DIARY | {"name": f"c{n}"})
        path = f"/v1/collections/c{n}"
        assert (await other.ask("POST", path + "/records", {"more": "x"}))[0] == 422
        fields = [*DIARY["fields"], {"name": "more", "type": "text", "max": 20}]
        assert (await one.ask("PATCH", path, {"fields": fields}))[0] == 200
        assert (await other.ask("POST", path + "/records", {"more": "x"}))[0] == 201
        one, other = other, one


async def test_one_key_at_two_of_them_at_once_takes_effect_once(two: list[Member]) -> None:
    one, other = two
    await one.made("/v1/collections", DIARY)
    records = "/v1/collections/diary/records"
    for n in range(ROUNDS):
        both = await asyncio.gather(
            *(each.ask("POST", records, {"text": f"t{n}"}, key=f"k{n}") for each in (one, other))
        )
        assert {status for status, _ in both} <= {200, 201}, both
        assert len({said["id"] for _, said in both}) == 1
    status, page = await one.ask("GET", records + "?limit=100")
    assert (status, len(page["items"])) == (200, ROUNDS)


async def test_who_follows_one_sees_what_another_committed(two: list[Member]) -> None:
    one, other = two
    await one.made("/v1/collections", DIARY)
    headers = {"Accept": "application/x-ndjson", "Authorization": f"Bearer {other.admin}"}
    path = "/v1/events/stream?type=records.record.created"
    async with other.http.get(path, headers=headers) as feed:
        assert feed.status == 200
        for n in range(ROUNDS):
            made = await one.made("/v1/collections/diary/records", {"text": f"t{n}"})
            assert (await next_event(feed.content))["data"]["id"] == made["id"]


async def test_a_limit_is_one_for_all_of_them(tmp_path: Path, database_url: str) -> None:
    async with crew(tmp_path, database_url, limits__login="10/h") as members:
        statuses = []
        for n in range(14):
            account = {"email": f"nobody{n}@example.com", "password": PASSWORD}
            statuses.append((await members[n % 2].ask("POST", "/v1/sessions", account))[0])
        assert statuses == [401] * 10 + [429] * 4


async def test_who_was_erased_is_read_at_none_of_them(two_at_one_file: list[Member]) -> None:
    one, other = two_at_one_file
    created = "/v1/events?type=users.user.created&limit=100"
    for n in range(3):
        account = {"email": f"ann{n}@example.com", "password": PASSWORD}
        user = await one.made("/v1/users", account)
        assert await emails(other, created, user["id"]) == [account["email"]]
        await one.ask("DELETE", f"/v1/users/{user['id']}?erase=true")
        while not await emails(one, "/v1/events?type=users.user.erased&limit=100", user["id"]):
            assert await emails(other, created, user["id"]) in ([account["email"]], [None])
        assert await emails(other, created, user["id"]) == [None]
        one, other = other, one


async def test_a_job_is_taken_by_one_of_them(tmp_path: Path, database_url: str) -> None:
    chores, runs = Service("chores", doc="For this test."), Counter[int]()
    all_done = asyncio.Event()

    @chores.job()
    async def sweep(call: Call, room: int) -> None:
        runs[room] += 1
        if len(runs) == JOBS:
            all_done.set()

    @chores.operation("POST /v1/chores/{room}", scope=None)
    async def begin(call: Call, room: int) -> None:
        call.enqueue(sweep, room=room)

    async with crew(tmp_path, database_url, app=App("chores", services=[chores])) as members:
        begun = [members[n % 2].ask("POST", f"/v1/chores/{n}") for n in range(JOBS)]
        assert {status for status, _ in await asyncio.gather(*begun)} <= {200, 204}
        await all_done.wait()
        for member in members:
            while True:  # the last ones are counted once they are committed
                _, queue = await member.ask("GET", "/v1/queues/default")
                if queue["done_last_minute"] == JOBS:
                    break
    assert set(runs.values()) == {1}


async def test_a_queue_with_one_place_runs_one_job_at_a_time(
    tmp_path: Path, database_url: str
) -> None:
    """Whichever of them it is staged at: the places of a queue are those of all together."""
    chores, running, most, done = Service("chores", doc="For this test."), 0, 0, 0
    all_done = asyncio.Event()
    single = chores.queue("single", concurrency=1)

    @chores.job(queue=single)
    async def sweep(call: Call, room: int) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running, done = running - 1, done + 1
        if done == ROUNDS:
            all_done.set()

    @chores.operation("POST /v1/chores/{room}", scope=None)
    async def begin(call: Call, room: int) -> None:
        call.enqueue(sweep, room=room)

    async with crew(tmp_path, database_url, app=App("chores", services=[chores])) as members:
        begun = [members[n % 2].ask("POST", f"/v1/chores/{n}") for n in range(ROUNDS)]
        assert {status for status, _ in await asyncio.gather(*begun)} <= {200, 204}
        await all_done.wait()
    assert most == 1


async def test_a_schedule_fires_once_whoever_looks_first(tmp_path: Path, database_url: str) -> None:
    chores, fired = Service("chores", doc="For this test."), asyncio.Queue[str]()

    @chores.job()
    async def sweep(call: Call) -> None:
        fired.put_nowait(call.request_id)

    chores.every("0 0 1 1 *", sweep)
    app = App("chores", services=[chores])
    async with crew(tmp_path, database_url, size=3, app=app) as members:
        runtimes = [member.instance.runtime for member in members]
        schedule = next(s for s in runtimes[0].registry.schedules if s.job.name == "chores.sweep")
        for done in range(1, ROUNDS + 1):
            due_ms = await runtimes[0].database.read(SCHEDULE, (schedule.name,))
            early = MOVE_SCHEDULE(name=schedule.name, was_ms=due_ms[0], next_ms=1)
            await runtimes[0].database.commit([early.expect(1, AssertionError)])
            await asyncio.gather(*(each.scheduler.fire_due(schedule) for each in runtimes))
            await fired.get()
            while True:  # the next is not made while this one runs
                _, jobs = await members[0].ask("GET", "/v1/jobs?name=chores.sweep&limit=100")
                if {job["state"] for job in jobs["items"]} == {"done"}:
                    break
            assert len(jobs["items"]) == done
    assert fired.empty()


async def test_each_counts_for_all_of_them(two: list[Member]) -> None:
    """A scraper is answered by whichever takes its connection."""
    route = '{http_request_method="GET",http_response_status_code="200",http_route="/v1/jobs"}'
    for calls in range(1, ROUNDS, 3):
        for member in two:
            assert (await member.ask("GET", "/v1/jobs"))[0] == 200
        first, second = [await metrics(member) for member in two]
        name = "http_server_request_duration_seconds_count"
        assert first[name + route] == second[name + route] == 2 * (calls // 3 + 1)
    assert len([name for name in first if name.startswith("process_open_fds{")]) == 2


async def test_what_fails_in_one_makes_none_of_them_ready(
    two: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one address: who asks there is told the same by whichever answers."""
    one, other = two
    why = "schedules: they are stuck"
    monkeypatch.setattr(one.instance.runtime.scheduler, "failing", lambda: [why])
    told = other.instance.runtime.crew
    while not told.failing_elsewhere(other.instance.runtime.clock.monotonic_s()):
        assert (await one.ask("GET", "/healthz"))[0] == 200
    status, said = await other.ask("GET", "/readyz")
    assert (status, said["failing"]) == (503, [f"process 0: {why}"])
    assert (await one.ask("GET", "/readyz"))[1]["failing"] == [why]
    _, status_of_all = await other.ask("GET", "/v1/status")
    assert status_of_all["processes"] == {"wanted": 2, "alive": 2}


async def metrics(member: Member) -> dict[str, float]:
    """Scrape one of them."""
    async with member.http.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    shown = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in shown}


async def test_a_stream_at_one_is_woken_by_what_another_committed(
    tmp_path: Path, database_url: str
) -> None:
    """An app's own streams: by an event, and by a wake with a name. Neither looks by the clock."""
    bells, rung = Service("bells", doc="For this test."), Counter[str]()
    rang = Channel("bells.rang")

    @bells.event("bells.bell.rung")
    class BellRung(msgspec.Struct, frozen=True):
        id: str
        times: int

    @bells.operation("POST /v1/bells/{id}:ring", scope=None)
    async def ring(call: Call, id: str) -> None:
        rung[id] += 1
        call.emit(BellRung(id, rung[id]))
        call.wake(rang)

    @bells.stream("GET /v1/bells/{id}:hear", scope=None)
    async def hear(call: Call, id: str) -> AsyncIterator[StreamItem]:
        yield StreamItem(b'{"times":0}')
        async for event in follow_events(call, BellRung, subject=id, after="0"):
            yield StreamItem(bytes(event.event.data))

    @bells.stream("GET /v1/bells/{id}:count", scope=None)
    async def count(call: Call, id: str) -> AsyncIterator[StreamItem]:
        with call.use(Signals).listen(rang) as woken:
            while True:
                woken.clear()
                yield StreamItem(b'{"times":%d}' % rung[id])
                await woken.wait()

    async with crew(tmp_path, database_url, app=App("bells", services=[bells])) as members:
        one, other = members
        for way in ("hear", "count"):
            headers = {"Accept": "application/x-ndjson"}
            async with one.http.get(f"/v1/bells/{way}:{way}", headers=headers) as told:
                assert await times_told(told.content) == 0
                for times in range(1, ROUNDS + 1):
                    assert (await other.ask("POST", f"/v1/bells/{way}:ring"))[0] == 204
                    while await times_told(told.content) < times:
                        pass  # several wakes may be one, and one look may come early


async def emails(member: Member, path: str, user: str) -> list[str | None]:
    """What events tell of somebody's address, by one member."""
    status, page = await member.ask("GET", path)
    assert status == 200
    told = [event["data"] for event in page["items"] if event["subject"] == user]
    return [data.get("email") for data in told]


async def times_told(content: aiohttp.StreamReader) -> int:
    """Read on to a line that says how often something rang."""
    while "times" not in (said := msgspec.json.decode(await content.readline())):
        pass
    return int(said["times"])


async def next_event(content: aiohttp.StreamReader) -> Any:
    """Read on to a line that is an event."""
    while True:
        said = msgspec.json.decode(await content.readline())
        if "data" in said:
            return said

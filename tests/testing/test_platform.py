"""What apps are tested with: deterministic, on both engines, loud about failures."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Call, Invalid, Money, Query, Service
from mainspring.kernel.authority import Authenticator, Authority, Identity
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.clock import epoch_ms
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.errors import Forbidden, PreconditionFailed, Unauthenticated
from mainspring.ports.database import StartError
from mainspring.ports.http_client import HttpClient, WebError
from mainspring.testing import Outgoing, Platform, PostgresServer, UnexpectedFailure
from tests.testing import workshop
from tests.testing.workshop import app

HOOK = "https://hook.example/in"


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(app, database=platform_server) as platform:
        yield platform


async def make(platform: Platform, name: str = "saw") -> workshop.Shown:
    made: workshop.Shown = await platform.call(workshop.make, workshop.NewTool(name=name))
    return made


async def test_several_processes_take_turns(platform_server: str | None) -> None:
    """What one keeps in its memory another does not see; all that is committed each sees."""
    counts, ran = Service("counts", doc="For this test."), list[int]()

    class Calls:
        def __init__(self) -> None:
            self.counted = 0

    counts.provide(Calls)

    @counts.job()
    async def note(call: Call) -> None:
        ran.append(id(call.use(Calls)))

    @counts.operation("POST /v1/counts", scope=None)
    async def count(call: Call) -> int:
        call.use(Calls).counted += 1
        call.enqueue(note)
        return call.use(Calls).counted

    app = App("counts", services=[counts])
    async with Platform(app, database=platform_server, processes=3) as platform:
        counted = [(await platform.anonymous.post("/v1/counts")).json for _ in range(9)]
        assert counted == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        await platform.drain()
        assert len(ran) == 9
        key = await platform.as_key("jobs:read")
        for _ in range(3):
            assert (await key.get("/v1/queues/default")).json["done_last_minute"] == 9
        made = (await platform.admin.get("/v1/api_keys")).expect(200)["items"]
        (kept,) = [each["id"] for each in made if each["scopes"] == ["jobs:read"]]
        (await platform.admin.delete(f"/v1/api_keys/{kept}")).expect(204)
        assert {(await key.get("/v1/queues")).status for _ in range(3)} == {401}


# Calling in Python


async def test_an_operation_is_called_as_it_is_declared(platform: Platform) -> None:
    key = await platform.as_key("workshop:*")
    made = await key.call(workshop.make, workshop.NewTool(name="saw", price=Money(1099, "EUR")))
    assert made == workshop.Shown(made.id, "saw", Money(1099, "EUR"))
    assert await key.call("workshop.show", made.id) == made
    assert await key.call(workshop.show, id=made.id) == made
    assert [tool.name for tool in await key.call(workshop.list_tools)] == ["saw"]
    assert [tool.name for tool in await key.call(workshop.list_tools, {"limit": 1})] == ["saw"]
    assert await key.call("workshop.make", {"name": "axe"}) is not None


async def test_each_caller_is_who_it_is(platform: Platform) -> None:
    assert await platform.anonymous.call(workshop.greet) == "hello anonymous"
    assert await platform.system.call(workshop.greet) == "hello system"
    assert await platform.admin.call(workshop.greet) == "hello key"
    anna = await platform.as_user("anna@example.com")
    assert await anna.call(workshop.greet) == "hello user"
    assert (await anna.call("users.get_me")).id == anna.id
    assert (await platform.as_user("anna@example.com")).id == anna.id
    key = await platform.as_key("workshop:read")
    assert (await platform.call("users.get_api_key", key.id)).scopes == ["workshop:read"]


async def test_the_gateway_stands_before_a_call_in_python_too(platform: Platform) -> None:
    reader = await platform.as_key("workshop:read")
    with pytest.raises(Forbidden):
        await reader.call(workshop.make, {"name": "saw"})
    with pytest.raises(Unauthenticated):
        await platform.anonymous.call(workshop.list_tools)
    await platform.call("users.delete_api_key", reader.id)
    with pytest.raises(Unauthenticated):
        await reader.call(workshop.list_tools)


async def test_arguments_are_checked_as_over_http(platform: Platform) -> None:
    for wrong in (workshop.NewTool(name=""), {"name": ""}, {"name": "saw", "colour": "red"},
                  {"name": "saw", "price": {"amount": 1, "currency": "XTS"}}):  # fmt: skip
        with pytest.raises(Invalid) as caught:
            await platform.call(workshop.make, wrong)
        assert caught.value.errors
    with pytest.raises(TypeError, match=r"workshop\.show needs id"):
        await platform.call(workshop.show)
    with pytest.raises(LookupError, match=r"no operation 'workshop\.shew'"):
        await platform.call("workshop.shew", "x")


async def test_failures_are_raised_as_they_are(platform: Platform) -> None:
    made = await make(platform)
    with pytest.raises(workshop.NameTaken):
        await make(platform)
    with pytest.raises(PreconditionFailed):
        await platform.system.call(workshop.rename, made.id, {"name": "axe"}, if_match='"7"')


async def test_an_idempotency_key_holds_in_python(platform: Platform) -> None:
    key = await platform.as_key("workshop:write")
    made = [
        await key.call(workshop.make, {"name": "saw"}, idempotency_key="once") for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(await platform.events("workshop.tool.made")) == 1


async def test_raw_operations_streams_and_uploads(platform: Platform) -> None:
    assert (await platform.call(workshop.sheet)).body == b"a sheet"
    items = await platform.call(workshop.ticks)
    assert [item.data async for item in items] == [b"1", b"2"]
    with pytest.raises(TypeError, match="takes a file"):
        await platform.call(workshop.draw, "plan", file=None)


async def test_a_call_leaves_nothing_in_the_tests_own_context(platform: Platform) -> None:
    before = CURRENT_CALL.get(None)
    await make(platform)
    await platform.drain()
    assert CURRENT_CALL.get(None) is before


# Calling over HTTP


@pytest.mark.parametrize("sockets", [False, True])
async def test_http_in_process_and_over_a_socket(
    platform_server: str | None, sockets: bool
) -> None:
    async with Platform(app, database=platform_server, sockets=sockets) as platform:
        assert platform.url.startswith("http://127.0.0.1:") is sockets
        key = await platform.as_key("workshop:*")
        first = await key.post("/v1/tools", {"name": "säge"}, idempotency_key="once")
        made = first.expect(201)
        assert made["price"] == {"amount": 0, "currency": "USD"}
        again = await key.post("/v1/tools", {"name": "säge"}, idempotency_key="once")
        assert (again.status, again.json) == (200, made)
        assert again.headers["idempotency-replayed"] == "true"
        wrong = await key.post(
            "/v1/tools", {"name": "x", "price": {"amount": 1, "currency": "ZZZ"}}
        )
        assert wrong.expect(422)["errors"][0]["pointer"] == "/price"
        with pytest.raises(AssertionError, match=r"answered 404, not 200: .*not_found"):
            (await key.get("/v1/tools/none")).expect(200)
        read = await key.get(f"/v1/tools/{made['id']}")
        assert read.etag is not None
        same = await key.get(f"/v1/tools/{made['id']}", headers={"If-None-Match": read.etag})
        assert (same.status, same.json) == (304, None)
        stale = await key.patch(f"/v1/tools/{made['id']}", {"name": "axe"}, if_match='"7"')
        assert stale.status == 412
        assert (await platform.anonymous.get("/v1/tools")).status == 401
        assert (await platform.anonymous.get("/v1/tool_sheet")).text == "a sheet"
        drawn = await key.put("/v1/drawings/plan", content=b"12345", content_type="image/png")
        assert drawn.expect(201) == 5
        listed = await key.get("/v1/tools?limit=9")
        assert listed.expect(422)["errors"][0]["pointer"] == "/limit"
        assert (await key.request("HEAD", "/v1/tools")).body == b""


async def test_a_user_stays_logged_in_as_a_client_would(platform: Platform) -> None:
    anna = await platform.as_user("anna@example.com")
    await platform.pass_time(days=3)
    assert (await anna.get("/v1/users/me")).expect(200)["id"] == anna.id
    await platform.call("users.delete_user", anna.id, {"erase": True})
    assert (await anna.get("/v1/users/me")).status == 401
    await platform.pass_time(hours=1)
    assert (await anna.get("/v1/users/me")).status == 401


# Draining


async def test_nothing_moves_until_it_is_drained(platform: Platform) -> None:
    made = await make(platform)
    assert await platform.jobs(workshop.sharpen) == []
    assert await platform.drain() == []
    (job,) = await platform.jobs(workshop.sharpen, state="done")
    assert (job.args, job.attempts, job.unique_key) == ({"tool_id": made.id}, 1, made.id)
    assert await platform.drain() == []


async def test_a_failing_job_fails_the_test(platform: Platform) -> None:
    platform.use(workshop.Switches).failures = 1
    await make(platform)
    with pytest.raises(
        UnexpectedFailure, match=r"workshop\.sharpen failed: RuntimeError"
    ) as caught:
        await platform.drain()
    assert isinstance(caught.value.__cause__, RuntimeError)
    await platform.pass_time(minutes=1)
    assert len(await platform.jobs(workshop.sharpen, state="done")) == 1


async def test_a_failure_that_is_expected_is_returned(platform: Platform) -> None:
    platform.use(workshop.Switches).failures = 1
    await make(platform)
    (failed,) = await platform.drain(failing=[workshop.sharpen])
    assert (failed.name, str(failed.error)) == ("workshop.sharpen", "the stone is dry")
    with pytest.raises(UnexpectedFailure, match="did not fail"):
        await platform.pass_time(minutes=1, failing=["workshop.sharpen"])


async def test_a_job_that_fails_to_the_end_is_dead(platform: Platform) -> None:
    platform.use(workshop.Switches).failures = 9
    await make(platform)
    begun = platform.now
    failed = await platform.pass_time(hours=1, failing=[workshop.sharpen])
    assert len(failed) == 3
    (job,) = await platform.jobs(workshop.sharpen)
    assert (job.state, job.attempts, job.error) == ("dead", 3, "RuntimeError: the stone is dry")
    assert platform.now == begun.replace("T08", "T09")
    await platform.enqueue(workshop.give_up)
    await platform.drain(failing=[workshop.give_up])
    assert len(await platform.jobs(state="dead")) == 2


async def test_a_failing_consumer_fails_the_test_and_is_tried_again(platform: Platform) -> None:
    switches = platform.use(workshop.Switches)
    switches.poison = True
    await make(platform)
    with pytest.raises(UnexpectedFailure, match=r"workshop\.note failed: ValueError: poisoned"):
        await platform.drain()
    await platform.pass_time(minutes=1, failing=["workshop.note"])
    switches.poison = False
    await platform.pass_time(minutes=5)
    assert len(await platform.jobs(workshop.sharpen, state="done")) == 1


async def test_work_without_end_is_told(platform: Platform) -> None:
    await platform.enqueue(workshop.again)
    with pytest.raises(AssertionError, match=r"workshop\.again make work without end"):
        await platform.drain()


async def test_a_unique_job_is_there_once(platform: Platform) -> None:
    for _ in range(3):
        await platform.enqueue(workshop.sharpen.configure(unique_key="x"), tool_id="x")
    assert len(await platform.jobs(workshop.sharpen)) == 1
    await platform.drain()
    await platform.enqueue(workshop.sharpen.configure(unique_key="x"), tool_id="x")
    await platform.drain()
    assert len(await platform.jobs(workshop.sharpen, state="done")) == 2


# By itself


async def test_work_goes_on_by_itself(platform_server: str | None) -> None:
    async with Platform(app, database=platform_server, running=True) as platform:

        async def sharpened() -> bool:
            return bool(await platform.jobs(workshop.sharpen, state="done"))

        made = await make(platform)
        await platform.until(sharpened)
        (job,) = await platform.jobs(workshop.sharpen)
        assert job.args == {"tool_id": made.id}
        assert await platform.drain() == []
        assert await platform.idle()


async def test_jobs_that_run_by_themselves_run_side_by_side(platform_server: str | None) -> None:
    async with Platform(app, database=platform_server, running=True) as platform:
        await platform.enqueue(workshop.meet)
        assert not await platform.idle()  # it waits for the other
        await platform.enqueue(workshop.meet)
        await platform.drain()
        assert len(await platform.jobs(workshop.meet, state="done")) == 2


async def test_what_fails_by_itself_fails_the_test_too(platform_server: str | None) -> None:
    async with Platform(app, database=platform_server, running=True) as platform:
        await platform.enqueue(workshop.give_up)
        with pytest.raises(UnexpectedFailure, match=r"give_up failed: JobFailed: no use"):
            await platform.drain()
        await platform.enqueue(workshop.give_up)
        (failed,) = await platform.drain(failing=[workshop.give_up])
        assert failed.name == "workshop.give_up"


async def test_time_passes_for_what_runs_by_itself(platform_server: str | None) -> None:
    async with Platform(app, database=platform_server, running=True) as platform:
        await platform.enqueue(workshop.wait, until_ms=epoch_ms(platform.now) + 3_600_000)
        await platform.pass_time(minutes=59)
        assert [job.state for job in await platform.jobs(workshop.wait)] == ["scheduled"]
        await platform.pass_time(minutes=1)
        assert [job.state for job in await platform.jobs(workshop.wait)] == ["done"]
        await platform.pass_time(days=2)
        assert len(await platform.rows(workshop.ALL_TOOLS)) == 2  # each night made one


# Time


async def test_snoozing_waits_for_the_clock(platform: Platform) -> None:
    await platform.enqueue(workshop.wait, until_ms=epoch_ms(platform.now) + 3_600_000)
    await platform.pass_time(minutes=59)
    assert [job.state for job in await platform.jobs(workshop.wait)] == ["scheduled"]
    await platform.pass_time(minutes=1)
    assert [job.state for job in await platform.jobs(workshop.wait)] == ["done"]


async def test_a_schedule_fires_at_midnight_and_not_before(platform: Platform) -> None:
    assert platform.now == "2027-01-15T08:00:00.000Z"
    await platform.pass_time(hours=15, minutes=59, seconds=59.999)
    assert await platform.rows(workshop.ALL_TOOLS) == []
    await platform.pass_time(seconds=0.001)
    assert platform.now == "2027-01-16T00:00:00.000Z"
    assert len(await platform.rows(workshop.ALL_TOOLS)) == 1
    await platform.pass_time(days=3)
    assert len(await platform.rows(workshop.ALL_TOOLS)) == 4  # each night is a night of its own


async def test_time_goes_forward(platform: Platform) -> None:
    with pytest.raises(ValueError, match="forward"):
        await platform.pass_time(hours=-1)


async def test_what_expires_goes(platform: Platform) -> None:
    key = await platform.as_key("workshop:write")
    await key.post("/v1/tools", {"name": "saw"}, idempotency_key="once")
    await platform.pass_time(days=2)
    again = await key.post("/v1/tools", {"name": "saw"}, idempotency_key="once")
    assert again.expect(409)["code"] == "name_taken_here"
    assert await platform.jobs(workshop.sharpen) == []  # done long ago, and swept


# What there is to see


async def test_events_are_in_order_by_type_and_readable(platform: Platform) -> None:
    await make(platform, "saw")
    await make(platform, "axe")
    await platform.emit(workshop.OwnerNamed("user_1", "Ann"))
    made = await platform.events("workshop.tool.made")
    assert [event.read(workshop.ToolMade).name for event in made] == ["saw", "axe"]
    assert made[0].seq is not None
    assert [e.type for e in await platform.events("workshop.*")][-1] == "workshop.owner.named"
    (named,) = await platform.events("workshop.owner.named", subject="user_1")
    assert named.read(workshop.OwnerNamed).name == "Ann"
    assert await platform.events("workshop.tool.made", subject="nobody") == []


async def test_mails_are_kept(platform: Platform) -> None:
    await platform.as_user("anna@example.com")
    assert await platform.mails() == []
    await platform.drain()
    (mail,) = await platform.mails(to="anna@example.com")
    assert mail.to == "anna@example.com"
    assert await platform.mails(to="bert@example.com") == []


async def test_requests_are_recorded_and_answered(platform: Platform) -> None:
    await platform.enqueue(workshop.ring)
    await platform.drain()
    (sent,) = platform.outgoing
    assert (sent.url, sent.json, sent.headers["x-bell"]) == ("https://bell.example/ring", {}, "1")
    platform.outgoing.clear()
    platform.outgoing.answers(WebError("timed_out", "no answer"), 204, url=sent.url)
    await platform.enqueue(workshop.ring)
    await platform.drain(failing=[workshop.ring])
    await platform.pass_time(minutes=5)
    assert len(platform.outgoing.to(sent.url)) == 2


async def test_a_webhook_is_retried_when_its_time_has_come(platform: Platform) -> None:
    made = await platform.admin.post("/v1/webhooks", {"url": HOOK, "types": ["workshop.tool.made"]})
    hook = made.expect(201)["id"]
    platform.outgoing.answers(500, 500, 200, url=HOOK)
    await make(platform)
    await platform.drain()
    assert len(platform.outgoing) == 1
    await platform.pass_time(minutes=1)
    assert len(platform.outgoing) == 2
    await platform.pass_time(hours=1)
    first, _, last = platform.outgoing
    assert first.json["data"]["name"] == "saw"
    assert first.headers["webhook-id"] == last.headers["webhook-id"]
    page = (await platform.admin.get(f"/v1/webhooks/{hook}/deliveries")).expect(200)
    assert [(d["state"], len(d["attempts"])) for d in page["items"]] == [("delivered", 3)]


async def test_a_webhook_that_is_never_taken_is_given_up(platform: Platform) -> None:
    await platform.admin.post("/v1/webhooks", {"url": HOOK, "types": ["workshop.tool.made"]})
    platform.outgoing.answers(503, url=HOOK)
    await make(platform)
    await platform.pass_time(days=6, failing=["webhooks.deliver"])
    assert [job.state for job in await platform.jobs("webhooks.deliver")] == ["dead"]


async def test_inner_addresses_are_refused_as_in_production(platform: Platform) -> None:
    for url in ("https://10.0.0.1/x", "https://hook.example:22/x", "ftp://hook.example/"):
        assert (await platform.admin.post("/v1/webhooks", {"url": url})).status == 422


# How it is set up


async def test_settings_and_start_are_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSPRING_WORKSHOP__GREETING", "from outside")
    settings = {"workshop.greeting": "good morning", "limits.anonymous": "1/h"}
    async with Platform(app, settings=settings, start="2030-02-03T04:05:06Z") as platform:
        assert platform.now == "2030-02-03T04:05:06.000Z"
        assert (await platform.anonymous.get("/v1/greeting")).json == "good morning anonymous"
        assert (await platform.anonymous.get("/v1/greeting")).status == 429
    async with Platform(app) as platform:
        assert await platform.anonymous.call(workshop.greet) == "hello anonymous"


async def test_a_port_may_be_filled_by_the_test() -> None:
    class Deaf(Outgoing):
        async def post(self, *args: Any, **named: Any) -> Any:
            raise WebError("timed_out", "nobody hears")

    async with Platform(app, ports={HttpClient: Deaf()}) as platform:
        await platform.enqueue(workshop.ring)
        (failed,) = await platform.drain(failing=[workshop.ring])
        assert str(failed.error) == "timed_out: nobody hears"


class Doorman:
    """Lets in who knows the word."""

    revoking: frozenset[str] = frozenset()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        if credential != "sesame":
            raise Unauthenticated("that is not the word")
        return Identity(Caller("key", "key_of_the_door", scopes=frozenset({"workshop:read"})))


async def test_a_port_that_a_service_provides_may_be_filled_by_the_test() -> None:
    """Who calls is told by the test's own; what users may do later, by users as ever."""
    async with Platform(app, ports={Authenticator: Doorman()}) as platform:
        (await platform.as_bearer("sesame").get("/v1/tools")).expect(200)
        (await platform.admin.get("/v1/tools")).expect(401)
        anna = await platform.as_user("anna@example.com")
        found = await platform.use(Authority).current(anna.id, "main", platform.clock.now_ms())
        assert found is not None
        assert found.id == anna.id


async def test_a_server_is_as_good_as_its_url(postgres_server: PostgresServer) -> None:
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'mainspring_test_%'"
    before = postgres_server.psql(databases)
    async with Platform(app, database=postgres_server) as platform:
        await make(platform)
        assert len(await platform.rows(workshop.ALL_TOOLS)) == 1
        assert int(postgres_server.psql(databases)) == int(before) + 1
    assert postgres_server.psql(databases) == before


async def test_every_failure_is_counted(platform: Platform) -> None:
    for _ in range(3):
        await platform.enqueue(workshop.give_up)
    with pytest.raises(UnexpectedFailure, match=r"give_up failed: JobFailed: no use \(and 2 more"):
        await platform.drain()


async def test_an_app_that_never_answers_is_told() -> None:
    async def mute(scope: Any, receive: Any, send: Any) -> None:
        """Say nothing."""

    silent = App("silent")
    silent.mount("/mute", mute)
    async with Platform(silent) as platform:
        answer = await platform.anonymous.get("/mute")
        assert (answer.status, answer.json["title"]) == (500, "Internal error")


async def test_runs_are_alike_to_the_last_id(platform_server: str | None) -> None:
    async def run(seed: int) -> list[Any]:
        async with Platform(app, database=platform_server, seed=seed) as platform:
            await platform.as_user("anna@example.com")
            await make(platform)
            await platform.pass_time(days=1)
            return [(event.id, event.subject, event.time) for event in await platform.events()]

    first, second, other = await run(7), await run(7), await run(8)
    assert first == second
    assert first != other


async def test_nothing_is_left_when_opening_fails() -> None:
    platform = Platform(app, settings={"workshop.greetign": "x"})
    with pytest.raises(Exception, match="greetign"):
        await platform.__aenter__()
    with pytest.raises(ValueError, match="URL of a PostgreSQL server"):
        await Platform(app, database="sqlite:x").__aenter__()


async def test_a_broken_migration_leaves_no_thread_behind(
    platform_server: str | None, tmp_path: Path
) -> None:
    (tmp_path / "0001_broken.sql").write_text("CREATE TABEL x (id text)")
    broken = App("broken", services=[Service("broken", doc="Broken.", migrations=tmp_path)])
    with pytest.raises(StartError, match="0001_broken"):
        await Platform(broken, database=platform_server).__aenter__()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("mainspring")]


async def test_another_process_shares_the_database(platform: Platform) -> None:
    made = await make(platform)
    other = await platform.another_process()
    call = other.runtime.dispatcher.call(SYSTEM, request_id="req_1")
    assert await workshop.show.handler(call, made.id) == made
    assert other.gateway.identities is not platform.app.gateway.identities


async def test_without_an_app_the_built_in_services_are_there() -> None:
    async with Platform() as platform:
        assert (await platform.admin.get("/v1/status")).expect(200)["ready"]


async def test_the_schema_is_made_once_and_copied(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    templates = "SELECT count(*) FROM pg_database WHERE datname LIKE 'mainspring_template_%'"
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE lamps (id text NOT NULL PRIMARY KEY);")
    lamps = App("lamps", services=[Service("lamps", doc="Lamps.", migrations=tmp_path)])
    before = int(postgres_server.psql(templates))
    for _ in range(2):
        async with Platform(lamps, database=postgres_server) as platform:
            assert await platform.rows(Query("test.lamps", "SELECT id FROM lamps", str)) == []
    assert int(postgres_server.psql(templates)) == before + 1
    (tmp_path / "0002_next.sql").write_text("ALTER TABLE lamps ADD COLUMN watts bigint;")
    for server in (postgres_server, None):
        async with Platform(lamps, database=server) as platform:
            assert await platform.rows(Query("test.watts", "SELECT watts FROM lamps", int)) == []
    assert int(postgres_server.psql(templates)) == before + 2


async def test_processes_that_make_a_template_at_once_make_one(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE moths (id text NOT NULL PRIMARY KEY);")
    moths = App("moths", services=[Service("moths", doc="Moths.", migrations=tmp_path)])
    made = "SELECT count(*) FROM pg_database WHERE datname LIKE 'mainspring_%'"
    before = int(postgres_server.psql(made))

    async def once() -> None:
        async with Platform(moths, database=postgres_server):
            pass

    await asyncio.gather(once(), once(), once())
    assert int(postgres_server.psql(made)) == before + 1

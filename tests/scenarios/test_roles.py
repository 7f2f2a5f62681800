"""Several processes over one database, each with a part of the work: who serves, and who works."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainspring import App, Call, Input, Service
from mainspring.app import Instance, build, sections
from mainspring.kernel.process_role import ProcessRole
from mainspring.settings import Flag, SettingsError, load
from tests.deadline import DEADLINE_S

errands = Service("errands", doc="Things to be done by another process.")
app = App("errands", services=[errands])


class Ran:
    """What one process has run, in the order it ended."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self.done.get()


class Errand(Input, frozen=True):
    name: str


@errands.event("errands.errand.asked")
class ErrandAsked(msgspec.Struct, frozen=True):
    id: str


@errands.job()
async def run_errand(call: Call, name: str) -> None:
    call.use(Ran).done.put_nowait(f"job {name}")


@errands.on("errands.errand.asked")
async def note(call: Call, event: ErrandAsked) -> None:
    call.use(Ran).done.put_nowait(f"consumer {event.id}")


@errands.operation("POST /v1/errands", scope="errands:write")
async def ask_errand(call: Call, errand: Errand) -> None:
    call.emit(ErrandAsked(errand.name))
    call.enqueue(run_errand, errand.name)


class Process:
    """One of the processes: its address, and what it has run."""

    def __init__(self, instance: Instance, http: aiohttp.ClientSession, ran: Ran) -> None:
        self.instance = instance
        self.http = http
        self.ran = ran

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.http.request(method, self.instance.url + path, json=body) as answer:
            return answer.status, msgspec.json.decode(await answer.read() or b"null")

    async def jobs(self) -> list[str]:
        """Return how each errand stands, the oldest first."""
        status, page = await self.ask("GET", "/v1/jobs?name=errands.run_errand")
        assert status == 200
        return [job["state"] for job in page["items"]]


@asynccontextmanager
async def process(role: ProcessRole, url: str, folder: Path) -> AsyncIterator[Process]:
    ran = Ran()
    flags = [
        Flag("flag", "platform.data_dir", str(folder)), Flag("flag", "database.url", url),
        Flag("flag", "server.port", 0), Flag("flag", "platform.role", role),
    ]  # fmt: skip
    instance = await build(load(sections(app), flags=flags), app, ports={Ran: ran})
    await instance.start()
    try:
        key = (folder / "admin.key").read_text().strip()
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(DEADLINE_S)
        ) as http:
            yield Process(instance, http, ran)
    finally:
        await instance.drain(5.0)


@asynccontextmanager
async def feed(serving: Process) -> AsyncIterator[AsyncIterator[str]]:
    """Follow the errands asked for; yields their names, from the moment it is entered."""
    path = "/v1/events/stream?type=errands.errand.asked"
    async with serving.http.get(serving.instance.url + path) as answer:
        assert answer.status == 200

        async def names() -> AsyncIterator[str]:
            async for line in answer.content:
                if line.startswith(b"data:") and b'"errands.errand.asked"' in line:
                    yield msgspec.json.decode(line.removeprefix(b"data:"))["data"]["id"]

        while (await answer.content.readline()).strip() != b"event: ready":
            pass
        yield names()


async def test_one_process_serves_and_another_works(postgres_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(DEADLINE_S):
        serving = await stack.enter_async_context(
            process(ProcessRole.SERVE, postgres_url, tmp_path)
        )
        followed = await stack.enter_async_context(feed(serving))
        assert (await serving.ask("POST", "/v1/errands", {"name": "milk"}))[0] == 204
        assert await anext(followed) == "milk"  # with nobody up who works
        assert await serving.jobs() == ["ready"]

        async with process(ProcessRole.WORK, postgres_url, tmp_path) as working:
            # The first of its kind, and yet its consumer has missed nothing.
            assert {await working.ran.next(), await working.ran.next()} == {
                "job milk", "consumer milk",
            }  # fmt: skip
            assert (await serving.ask("POST", "/v1/errands", {"name": "bread"}))[0] == 204
            assert {await working.ran.next(), await working.ran.next()} == {
                "job bread", "consumer bread",
            }  # fmt: skip
            assert await anext(followed) == "bread"

        assert (await serving.ask("POST", "/v1/errands", {"name": "salt"}))[0] == 204
        assert await anext(followed) == "salt"
        assert await serving.jobs() == ["done", "done", "ready"]
        async with process(ProcessRole.WORK, postgres_url, tmp_path) as next_one:
            assert {await next_one.ran.next(), await next_one.ran.next()} == {
                "job salt", "consumer salt",
            }  # fmt: skip
        assert serving.ran.done.empty()


async def test_what_works_tells_how_it_is_and_serves_nothing(
    postgres_url: str, tmp_path: Path
) -> None:
    async with process(ProcessRole.WORK, postgres_url, tmp_path) as working:
        assert (await working.ask("GET", "/healthz"))[0] == 200
        assert (await working.ask("GET", "/readyz"))[0] == 200
        status, told = await working.ask("GET", "/v1/status")
        assert (status, told["role"], told["ready"]) == (200, "work", True)
        async with working.http.get(working.instance.url + "/metrics") as answer:
            assert answer.status == 200
        for method, path in (
            ("POST", "/v1/errands"), ("GET", "/v1/jobs"), ("GET", "/v1/events/stream"),
            ("PUT", "/v1/files/x"), ("GET", "/openapi.json"), ("GET", "/"), ("OPTIONS", "/v1/jobs"),
        ):  # fmt: skip
            status, problem = await working.ask(method, path, {"name": "milk"})
            assert (status, problem["code"]) == (503, "not_served_here")
            assert "serve or all" in problem["detail"]


async def test_each_revokes_for_the_other(postgres_url: str, tmp_path: Path) -> None:
    """A key that the serving process has taken back is none for the working one either."""
    async with (
        process(ProcessRole.SERVE, postgres_url, tmp_path) as serving,
        process(ProcessRole.WORK, postgres_url, tmp_path) as working,
    ):
        _, made = await serving.ask("POST", "/v1/api_keys", {"name": "x", "scopes": ["jobs:read"]})
        headers = {"Authorization": f"Bearer {made['key']}"}
        url = working.instance.url + "/v1/status"
        async with working.http.get(url, headers=headers) as answer:
            assert answer.status == 200
        assert (await serving.ask("DELETE", f"/v1/api_keys/{made['id']}"))[0] == 204
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with working.http.get(url, headers=headers) as answer:
                    if answer.status == 401:
                        break


@pytest.mark.parametrize("role", ["serve", "work"])
async def test_sqlite_has_one_process_that_does_everything(role: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    environ = {"MAINSPRING_PLATFORM__ROLE": role, "MAINSPRING_PLATFORM__DATA_DIR": str(folder)}
    with pytest.raises(SettingsError) as refused:
        await build(load(sections(None), environ=environ))
    assert str(refused.value) == (
        f"MAINSPRING_PLATFORM__ROLE: platform.role: {role} needs PostgreSQL: each process "
        "over an SQLite database does everything (set [database] url, or leave role at all)"
    )
    assert not folder.exists()


def test_a_role_that_is_none_is_told_which_there_are() -> None:
    with pytest.raises(
        SettingsError, match=r"'worker'; it is one of all, serve, work, own, relay, gateway$"
    ):
        load(sections(None), environ={"MAINSPRING_PLATFORM__ROLE": "worker"})
    with pytest.raises(SettingsError, match=r"'loud'; it is one of debug, info, warning, error$"):
        load(sections(None), environ={"MAINSPRING_LOG__LEVEL": "loud"})

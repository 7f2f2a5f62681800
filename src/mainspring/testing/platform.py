"""A whole platform for a test: time stands still until it is moved, and so does all else.

It is put together by ``mainspring.app`` as in production. A database of its own, a clock and a
random source that the test holds, mails and outgoing requests that are kept instead of sent.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from mainspring.adapters.mail.sandbox import SandboxMail
from mainspring.app import BUILT_IN, Instance, build, sections, services_of, share
from mainspring.engines import opened
from mainspring.kernel import channel
from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.clock import epoch_ms, rfc3339
from mainspring.kernel.event import Envelope, envelope
from mainspring.kernel.job import ConfiguredJob, Job
from mainspring.kernel.operation import Operation
from mainspring.kernel.process_role import Seat
from mainspring.kernel.service import Consumer, pattern_covers
from mainspring.kernel.table import Query
from mainspring.kernel.user_app import App
from mainspring.ports.bus import BusEvent
from mainspring.ports.database import ALL_WAKES, Database
from mainspring.ports.http_client import HttpClient
from mainspring.ports.keyring import Keyring
from mainspring.ports.mail import Mail, MailMessage
from mainspring.ports.opening import Sources
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.catch_up import CatchUp
from mainspring.runtime.jobs.workers import JobAttempt
from mainspring.runtime.runtime import Through
from mainspring.runtime.tables import EVENTS_AFTER
from mainspring.services.users.api.structs import Login, MadeApiKey, NewApiKey, NewUser
from mainspring.services.users.passwords import Passwords
from mainspring.settings import Flag, HttpClientSettings, load
from mainspring.testing.client import Client, HttpAnswer, Send, in_process
from mainspring.testing.clock import START_MS, FakeClock, SeededEntropy
from mainspring.testing.databases import fast, fresh_url
from mainspring.testing.encoding import EncodingInvoker
from mainspring.testing.outgoing import Outgoing
from mainspring.testing.servers import PostgresServer

T = TypeVar("T")
P = ParamSpec("P")

PASSWORD = "correct horse battery staple"  # noqa: S105 - of people who exist for one test
ROUNDS_MAX = 1_000  # of work that makes more work, before a drain gives up
PATIENCE_S = 60.0  # with what moves by itself
STOP_S = 1.0  # that jobs are given which run when the test ends
EVENTS_PAGE = 500
# Time stands still, so a limit would never be given back.
_LIMITS = ("default", "anonymous", "login")
_UNLIMITED = "1000000/s"


class JobSeen(msgspec.Struct, frozen=True):
    """A job as it is stored. ``args`` are its handler's arguments."""

    id: str
    name: str
    queue: str
    state: str
    args: dict[str, Any]
    attempts: int
    run_at: str
    error: str | None
    unique_key: str | None


class Failed(msgspec.Struct, frozen=True):
    """A job's attempt or a consumer's event that failed while the platform was drained."""

    name: str
    id: str
    error: Exception


class UnexpectedFailure(AssertionError):
    """Something failed that the test did not expect, or did not fail where it was expected to."""


class _StoredJob(msgspec.Struct, frozen=True):
    id: str
    name: str
    queue: str
    state: str
    args: str
    attempt: int
    run_at_ms: int
    error: str | None
    unique_key: str | None


_JOBS = Query(
    "testing.jobs",
    f"SELECT {', '.join(_StoredJob.__struct_fields__)} FROM jobs ORDER BY id",
    _StoredJob,
    scans=True,
)
_WORK = Query(
    "testing.work",
    """
    SELECT COUNT(*), COUNT(CASE WHEN state = 'running'
        OR (state = 'ready' AND NOT parked AND queue NOT IN (SELECT name FROM queues WHERE paused))
        OR (state = 'scheduled' AND run_at_ms <= :now_ms) THEN 1 END)
    FROM jobs
    """,
    tuple,
    scans=True,
)


class Platform:
    """Use it as ``async with Platform(app) as platform:``, or yield it from a fixture.

    ``database`` is the URL of a PostgreSQL server, on which a fresh database is made; without one
    it is SQLite. ``settings`` are by path, ``{"webhooks.timeout_s": 5}``: no file and no variable
    of the environment is read, and limits are lifted unless set here. ``start`` is the time when it
    begins. ``ports`` fill a port by other means than the test's own. With ``sockets`` HTTP goes
    over a real socket on loopback, at ``url``; without them the app is called in process. With
    ``running`` jobs and consumers run by themselves and side by side, as in production. With
    ``encoded`` each call goes to the owner of its operation as bytes, as to another process;
    ``through`` is what it goes through instead.

    With ``processes`` it is as many, as ``mainspring up --workers`` starts them, except that they
    have one event loop: what comes over HTTP, and what is due, is each one's in turn. ``app`` is
    the first of them.
    """

    def __init__(
        self,
        app: App | None = None,
        *,
        database: str | PostgresServer | None = None,
        settings: Mapping[str, Any] | None = None,
        start: str = rfc3339(START_MS),
        seed: int = 1,
        ports: Mapping[type, Any] | None = None,
        sockets: bool = False,
        running: bool = False,
        encoded: bool = False,
        through: Through | None = None,
        processes: int = 1,
    ) -> None:
        self.user_app = app
        self._where = database
        self._settings = settings or {}
        self._ports = dict(ports or {})
        self._sockets = sockets
        self._running = running
        self._processes = processes
        self._through = EncodingInvoker if encoded else through
        self._stack = AsyncExitStack()
        self._failed: list[Failed] = []
        self._entropy = SeededEntropy(seed)
        self.clock = FakeClock(epoch_ms(start))
        self.anonymous = Client(self)
        self.system = Client(self, system=True)

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        stack = self._stack
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-test-")))
        services = services_of(self.user_app)
        url = await stack.enter_async_context(fresh_url(self._where, folder, services))
        flags = [
            Flag("data_dir", "platform.data_dir", str(folder)),
            Flag("database", "database.url", url),
            Flag("port", "server.port", 0),
            *(Flag(f"settings[{path!r}]", path, value) for path, value in self._lifted().items()),
        ]
        settings = self._loaded = load(sections(self.user_app), flags=flags)
        reach = settings.of(HttpClientSettings)
        self.outgoing = Outgoing(allow_private=reach.allow_private_addresses)
        self._mail = SandboxMail(folder / "mail")
        sources = Sources(self.clock, self._entropy)
        self._filled = {
            Keyring: opened("keyring", f"file:{folder / 'keyring.json'}", sources),
            HttpClient: self.outgoing,
            Mail: self._mail,
            DatabaseClock: DatabaseClock(self.clock),
            # Real hashes, at a price that a test can pay.
            Passwords: Passwords(self._entropy, memory_kib=8, passes=1, threads=1),
            **self._ports,
        }
        await self._filled[Keyring].open()  # a start would miss it where there is a schema
        shared: list[Mapping[type, Any]] = [{}]
        if self._processes > 1:
            own, size = share(settings, self._processes, self.user_app), self._processes
            shared = [own(Seat(number, size, first=number == 0)) for number in range(size)]
        else:
            self._filled = {Database: fast(url), **self._filled}
        self.members = [await self._member(each) for each in shared]
        self.app = self.members[0]
        self._due: deque[Instance] = deque(self.members)
        key = (folder / "admin.key").read_text().strip()
        self.admin = Client(self, credential=key)
        ways = [await self._way_to(member) for member in self.members]
        self.send: Send = ways[0] if len(ways) == 1 else self._in_turns(ways)

    def _in_turns(self, ways: list[Send]) -> Send:
        """Make the way to send that leads to the next process each time."""
        turns = deque(ways)

        async def send(
            method: str, path: str, headers: list[tuple[str, str]], body: bytes
        ) -> HttpAnswer:
            turns.rotate(-1)
            for member in self.members:
                # Over PostgreSQL one hears within a second of who was revoked: that has passed.
                if not isinstance(member.elsewhere, CatchUp):
                    member.gateway.identities.forget_all()
            return await turns[0](method, path, headers, body)

        return send

    async def _member(self, shared: Mapping[type, Any]) -> Instance:
        """Put one process of it together, with what it shares with the others."""
        stack, member = self._stack, await self._built(self.user_app, {**shared, **self._filled})
        await member.open()
        stack.push_async_callback(member.close)
        runtime = member.runtime
        runtime.consumer_runner.on_aside(self._set_aside)
        runtime.workers.on_attempt(self._attempted)
        await runtime.prepare()
        if shared and isinstance(member.elsewhere, CatchUp):
            await member.elsewhere.start()
            stack.push_async_callback(member.elsewhere.stop)
        if self._running:
            self.clock.on_move(lambda: runtime.board.wake(frozenset({ALL_WAKES})))
            await runtime.start()
            stack.push_async_callback(runtime.stop, STOP_S)
        return member

    async def _built(self, app: App | None, ports: Mapping[type, Any]) -> Instance:
        return await build(
            self._loaded, app, clock=self.clock, entropy=self._entropy, ports=ports,
            through=self._through,
        )  # fmt: skip

    async def _way_to(self, member: Instance) -> Send:
        """Return how HTTP is sent to one of its processes."""
        stack = self._stack
        if self._sockets:
            await member.server.start()
            stack.push_async_callback(member.server.drain, STOP_S)
            session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            return _over(session, member.server.url)
        await member.rest.mounts.start()
        stack.push_async_callback(member.rest.mounts.stop)
        return in_process(member.server)

    def _lifted(self) -> dict[str, Any]:
        """Return the settings that the test gave, with every limit lifted that it did not set."""
        services = self.user_app.services if self.user_app else ()
        own = [f"own.{name}" for service in services for name in service.rate_classes]
        lifted = {f"limits.{name}": _UNLIMITED for name in (*_LIMITS, *own)}
        return {**lifted, **self._settings}

    async def another_process(self, app: App | None = None) -> Instance:
        """Put a second process together over the same database, keyring and clock; HTTP aside.

        What one caches of the other's writes shows in it: ``.runtime``, ``.gateway`` are its own.
        With ``app`` it runs another version of the app, as while one is rolled out.
        """
        other = await self._built(app or self.user_app, self._filled)
        await other.open_keyring()
        return other

    @property
    def url(self) -> str:
        """Where it listens. Empty without ``sockets``."""
        return self.app.url

    @property
    def now(self) -> str:
        """The time on the platform's clock."""
        return rfc3339(self.clock.now_ms())

    # Who calls

    async def as_user(self, email: str, *, roles: Iterable[str] = ("user",)) -> Client:
        """Log somebody in, who signs up first where the address is new."""
        known = await self.system.call("users.list_users", {"email": email})
        if not known.items:
            new = NewUser(email=email, password=PASSWORD, roles=list(roles))
            await self.system.call("users.create_user", new)
        login = Login(email=email, password=PASSWORD)
        tokens = await self.system.call("users.create_session", login)
        return Client(self, id=tokens.user.id, tokens=tokens)

    async def as_key(self, *scopes: str) -> Client:
        """Make an API key with these scopes, which belongs to no user."""
        new = NewApiKey(name="test", scopes=list(scopes))
        made: MadeApiKey = await self.system.call("users.create_api_key", new)
        return Client(self, id=made.id, credential=made.key)

    def as_bearer(self, credential: str) -> Client:
        """Call with a key or access token that the test came by, whatever it is worth."""
        return Client(self, credential=credential)

    async def call(self, operation: Operation | str, /, *args: Any, **named: Any) -> Any:
        """Call an operation as the system, which may do anything. See ``Client.call``."""
        return await self.system.call(operation, *args, **named)

    def operation(self, operation: Operation | str) -> Operation:
        """Return the operation of this name. Raises LookupError."""
        if isinstance(operation, Operation):
            return operation
        operations = self.app.runtime.registry.operations
        if operation not in operations:
            raise LookupError(f"no operation {operation!r}; there are {', '.join(operations)}")
        return operations[operation]

    # What moves

    async def enqueue(
        self, job: Job[P] | ConfiguredJob[P], /, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """Enqueue a job of an app; ``drain`` runs it. Takes what ``Call.enqueue`` takes."""
        return await self._stage(lambda call: call.enqueue(job, *args, **kwargs))

    async def emit(self, data: object, *, subject: str | None = None) -> str:
        """Have an event happen; ``drain`` hands it to consumers. Returns its id."""
        return await self._stage(lambda call: call.emit(data, subject=subject))

    async def _stage(self, stage: Callable[[Call], str]) -> str:
        runtime = self.app.runtime

        async def commit() -> str:
            call = runtime.dispatcher.call(SYSTEM, request_id=runtime.ids.new("req"))
            staged_id = stage(call)
            await runtime.dispatcher.commit(call)
            return staged_id

        staged_id = await asyncio.create_task(commit())
        await self.place_events()
        return staged_id

    async def drain(self, *, failing: Iterable[Job[...] | str] = ()) -> list[Failed]:
        """Run jobs and consumers, one after the other, until nothing is due at this moment.

        Where they run by themselves it waits until nothing is. Returns what failed. Raises
        UnexpectedFailure when a job's attempt or a consumer failed that ``failing`` does not name,
        or did not fail that it names.
        """
        await self._settle()
        return self._judged(failing)

    async def pass_time(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        failing: Iterable[Job[...] | str] = (),
    ) -> list[Failed]:
        """Let time pass: what falls due on the way runs at its own moment, and is drained.

        Retries, delayed jobs and the app's schedules each run when their time has come; the
        platform's own schedules whenever the clock stops, and in the end. See ``drain``.
        """
        passed_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if passed_s < 0:
            raise ValueError("time goes forward")
        end_ms = self.clock.now_ms() + round(passed_s * 1000)
        schedules = await self._settle()
        while (at_ms := await self._next_stop_ms(schedules)) is not None and at_ms <= end_ms:
            self.clock.move_to(at_ms)
            schedules = await self._settle()
        self.clock.move_to(end_ms)
        await self._settle()
        await self.app.runtime.scheduler.sweep()
        return self._judged(failing)

    async def _settle(self) -> Mapping[str, int]:
        """Do what is due until nothing is; return the next moment of each schedule."""
        if self._running:
            schedules = await self.app.runtime.scheduler.run_due()
            await self.until(self.idle)
            return schedules
        idle = 0
        for _ in range(ROUNDS_MAX):
            # In a task of its own, so that what the test logs does not carry a job's ids.
            done = await asyncio.create_task(self._due[0].runtime.run_due())
            self._due.rotate(-1)
            idle = 0 if done.batches or done.attempts else idle + 1
            if idle == len(self.members):
                return done.schedules
        busy = ", ".join(sorted({attempt.job.name for attempt in done.attempts})) or "consumers"
        raise AssertionError(f"not idle after {ROUNDS_MAX} rounds: {busy} make work without end")

    async def _next_stop_ms(self, schedules: Mapping[str, int]) -> int | None:
        built_in = {job for service in BUILT_IN for job in service.jobs}
        moments = [
            schedules[schedule.name]
            for schedule in self.app.runtime.registry.schedules
            if schedule.job.name not in built_in
        ]
        due_ms = await self.app.runtime.workers.next_due_ms()
        if due_ms is not None:
            moments.append(due_ms)
        return min(moments, default=None)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it holds: look again whenever a job ended or a consumer moved on.

        For a platform that is ``running``. Raises TimeoutError after half a minute.
        """
        with self.app.runtime.board.listen(channel.CONSUMED, channel.FINISHED) as signal:
            async with asyncio.timeout(PATIENCE_S):
                while not await holds():
                    await signal.wait()
                    signal.clear()

    async def idle(self) -> bool:
        """Tell whether nothing is due: consumers have taken every event, and no job is to run."""
        await self.place_events()
        (before,) = await self.app.database.read(_WORK, (self.clock.now_ms(),))
        behind = await self.app.runtime.consumer_runner.behind()
        # Whoever took the last event in between has enqueued its jobs by now.
        (after,) = await self.app.database.read(_WORK, (self.clock.now_ms(),))
        return (
            not any(its.events for its in behind.values())
            and tuple(before) == tuple(after)
            and before[1] == 0
        )

    def _attempted(self, attempt: JobAttempt) -> None:
        if attempt.error is not None and attempt.outcome in {"failed", "refused"}:
            self._failed.append(Failed(attempt.job.name, attempt.job.id, attempt.error))

    def _set_aside(self, consumer: Consumer, event: BusEvent, error: Exception) -> None:
        if all((f.name, f.id) != (consumer.name, event.id) for f in self._failed):
            self._failed.append(Failed(consumer.name, event.id, error))

    def _judged(self, failing: Iterable[Job[...] | str]) -> list[Failed]:
        failed, self._failed = self._failed, []
        expected = {job if isinstance(job, str) else job.name for job in failing}
        names = {f.name.removesuffix(".again") for f in failed}
        unexpected = [f for f in failed if f.name.removesuffix(".again") not in expected]
        if unexpected:
            first, *others = unexpected
            why = f"{first.name} failed: {type(first.error).__name__}: {first.error}"
            more = f" (and {len(others)} more)" if others else ""
            raise UnexpectedFailure(why + more) from first.error
        if missing := sorted(expected - names):
            raise UnexpectedFailure(f"{', '.join(missing)} did not fail")
        return failed

    async def place_events(self) -> None:
        """Give committed events their place in the log, where that is not done by the commit.

        Where the platform runs by itself it may be at it, in a transaction that is not through yet.
        """
        sequencer = self.app.runtime.sequencer
        while (await sequencer.waits()).oldest is not None:
            await sequencer.sequence()

    # What there is to see

    async def events(self, type: str = "*", *, subject: str | None = None) -> list[Envelope]:
        """Events so far, in the order of the log: of a type, or of ``prefix.*``.

        Personal fields are readable, as those who may see them see them.
        """
        await self.place_events()
        found: list[Envelope] = []
        after = 0
        while page := await self.app.database.read(EVENTS_AFTER, (after, EVENTS_PAGE)):
            for row in page:
                if pattern_covers(type, row.type):
                    event = envelope(await self.app.sealer.reveal(row.body), row.seq)
                    if subject in (None, event.subject):
                        found.append(event)
            after = page[-1].seq
        return found

    async def jobs(
        self, job: Job[...] | str | None = None, *, state: str | None = None
    ) -> list[JobSeen]:
        """Jobs in the order they were made: of a kind, in a state."""
        name = job.name if isinstance(job, Job) else job
        return [
            JobSeen(
                id=row.id, name=row.name, queue=row.queue, state=row.state,
                args=msgspec.json.decode(row.args), attempts=row.attempt,
                run_at=rfc3339(row.run_at_ms), error=row.error, unique_key=row.unique_key,
            )
            for row in await self.app.database.read(_JOBS, ())
            if name in (None, row.name) and state in (None, row.state)
        ]  # fmt: skip

    async def mails(self, to: str | None = None) -> list[MailMessage]:
        """Mails that jobs sent, the oldest first."""
        return [mail for mail in await self._mail.sent() if to in (None, mail.to)]

    async def rows(self, query: Query[T], **params: Any) -> list[T]:
        """Read rows with a query of the app."""
        return await self.app.database.read(query, query.sql.bind(params))

    def use(self, resource: type[T]) -> T:
        """Return what handlers reach with ``call.use``: a port, settings, a service's state."""
        found: T = self.app.runtime.resources[resource]
        return found


def _over(session: aiohttp.ClientSession, base: str) -> Send:
    """Make the way to send that goes over a real socket."""

    async def send(
        method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> HttpAnswer:
        kept = [(name, value) for name, value in headers if name not in {"host", "content-length"}]
        async with session.request(
            method, URL(base + path, encoded=True), data=body or None, headers=kept,
            allow_redirects=False,
        ) as answer:  # fmt: skip
            named = {name.lower(): value for name, value in answer.headers.items()}
            return HttpAnswer(answer.status, named, await answer.read())

    return send

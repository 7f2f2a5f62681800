"""Wakes between processes: who tells of commits, and who listens and comes back."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial

import asyncpg

from mainspring.adapters.database.postgres_pool import (
    CLOSE_TIMEOUT_S,
    LOST,
    Connection,
    ConnectionPool,
    PostgresTarget,
    close,
    retry_delay_s,
    translated,
)
from mainspring.kernel.channel import LOCAL, Channel
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import ALL_WAKES, Wakes

CHANNEL = "mainspring"
TURNS = Channel("turns")  # has every process take turns; no wake of anybody
CHECK_S = 15.0  # how often a silent connection is asked whether it still lives
PAUSE_S = 0.005  # between two notifications: each costs every process that listens
PAYLOAD_MAX_BYTES = 7_900  # of a notification; PostgreSQL takes 7,999
# A notification takes a lock of the whole server from before its commit until after it, so it must
# not wait for a disk meanwhile. One that is lost with the server is looked for by who waits for it.
_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"


class Announcer:
    """Tells every process what was committed: beside the commits, which would take turns for it.

    The first goes at once; what is committed while it is on its way, or soon after, goes into the
    next. A process that
    dies before it has told leaves the others to look for themselves, as they do every few seconds.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._waiting: set[Channel] = set()
        self._task: asyncio.Task[None] | None = None

    def tell(self, wakes: Wakes) -> None:
        """Send what other processes care about, soon. Never raises."""
        self._waiting.update(name for name in wakes if not name.startswith(LOCAL))
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._send(), name="wake announcer")

    async def stop(self) -> None:
        """Send what waits, unless the server is away."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT_S)
            self._task.cancel()

    async def _send(self) -> None:
        failures = 0
        while self._waiting:
            told = frozenset(self._waiting)
            self._waiting.clear()
            try:
                await self._pool.run(partial(self._notify, payload(told)))
            except Exception as error:
                if not isinstance(translated(error), Unavailable):
                    raise
                self._waiting |= told
                await asyncio.sleep(retry_delay_s(failures))
                failures += 1
            else:
                failures = 0
                await asyncio.sleep(PAUSE_S)

    async def _notify(self, text: str, connection: Connection) -> None:
        await self._pool.fetch(connection, _NOTIFY, (CHANNEL, text))


class Listener:
    """Delivers what other processes notify. After a break everybody is woken: some may be lost.

    ``is_ours`` tells by its process id whether a notification comes from this process, which has
    delivered its wakes already.
    """

    def __init__(
        self,
        target: PostgresTarget,
        deliver: Callable[[Wakes], None],
        is_ours: Callable[[int], bool],
    ) -> None:
        self._target = target
        self._deliver = deliver
        self._is_ours = is_ours
        self._task: asyncio.Task[None] | None = None
        self._moves = 0  # of the hosts, when the connection was made
        self.connection: Connection | None = None

    async def start(self) -> None:
        """Listen from now on. Raises what the driver raises when the first attempt fails."""
        connection = await self._listen()
        self._task = asyncio.create_task(self._keep_listening(connection), name="wake listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.connection is not None:
            await close(self.connection)

    async def _listen(self) -> Connection:
        connection = await self._target.connect()
        self._moves = self._target.hosts.moves
        try:
            await connection.add_listener(CHANNEL, self._hear)
        except BaseException:
            connection.terminate()
            raise
        self.connection = connection
        return connection

    async def _keep_listening(self, connection: Connection) -> None:
        failures = 0
        while True:
            await self._until_broken(connection)
            connection.terminate()
            try:
                connection = await self._listen()
            except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(retry_delay_s(failures))
                failures += 1
            else:
                failures = 0
                self._deliver(frozenset({ALL_WAKES}))

    async def _until_broken(self, connection: Connection) -> None:
        """Return when it is closed, silent, or the calls go to another server by now."""
        loop, left = asyncio.get_running_loop(), asyncio.Event()
        connection.add_termination_listener(lambda _: left.set())
        hosts = self._target.hosts
        hosts.moved = lambda: _tell(loop, left)
        while not connection.is_closed() and hosts.moves == self._moves:
            try:
                async with asyncio.timeout(CHECK_S):
                    await left.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1")
                except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
                    return
            else:
                return

    def _hear(self, _connection: Connection, pid: int, _channel: str, payload: str) -> None:
        if not self._is_ours(pid):
            self._deliver(frozenset(map(Channel, payload.split(","))))


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set an event of a loop from any thread; one that has ended waits for nothing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


def payload(wakes: Iterable[Channel]) -> str:
    """What a notification says: names, or that it could be any."""
    names = ",".join(sorted(wakes))
    return names if len(names.encode()) <= PAYLOAD_MAX_BYTES else ALL_WAKES

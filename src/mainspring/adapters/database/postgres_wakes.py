"""Wakes between processes: a connection that listens, and comes back when it breaks."""

import asyncio
from collections.abc import Callable

import asyncpg

from mainspring.adapters.database.postgres_batch import CHANNEL
from mainspring.adapters.database.postgres_pool import (
    LOST,
    Connection,
    PostgresTarget,
    close,
    retry_delay_s,
)
from mainspring.kernel.channel import Channel
from mainspring.ports.database import ALL_WAKES, Wakes

CHECK_S = 15.0  # how often a silent connection is asked whether it still lives


class Listener:
    """Delivers what other processes notify. After a break everybody is woken: some may be lost.

    ``is_ours`` tells by its process id whether a notification comes from a connection of this
    process, which has delivered its wakes already.
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
        broken = asyncio.Event()
        connection.add_termination_listener(lambda _: broken.set())
        while not connection.is_closed():
            try:
                async with asyncio.timeout(CHECK_S):
                    await broken.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1")
                except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
                    return

    def _hear(self, _connection: Connection, pid: int, _channel: str, payload: str) -> None:
        if not self._is_ours(pid):
            self._deliver(frozenset(map(Channel, payload.split(","))))

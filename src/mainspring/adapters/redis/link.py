"""A connection that is kept up: to one place, or to whichever is the primary by now."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis

from mainspring.adapters.outage import Outage
from mainspring.adapters.redis.connection import (
    Lost,
    RedisCommand,
    RedisConnection,
    RedisRefuses,
    connect,
    greet,
)
from mainspring.adapters.redis.target import ServerPlace, Target

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 1.0
# What a server answers that is of no use to us by now: another has taken over, or will.
USELESS = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM", "UNBLOCKED"})
TOO_LATE = "it answers too late"
MOVED = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})  # what a cluster answers


class RedisLink:
    """Keeps a connection. ``find`` says where to; ``greeting`` is said first on each.

    ``came`` is called with each connection that is ready, also again when it has caught up;
    ``went`` as soon as there is none, or it is late; ``moved`` where another has what was wanted.
    """

    def __init__(
        self,
        part: str,
        target: Target,
        find: Callable[[], Awaitable[ServerPlace]],
        greeting: Sequence[RedisCommand],
        pushed: Callable[[list[Any]], None],
        came: Callable[["RedisLink"], None],
        went: Callable[[], None],
        *,
        moved: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._target = target
        self._find = find
        self._greeting = greeting
        self._pushed = pushed
        self._came, self._went = came, went
        self._outage = Outage(part)
        self._jitter = jitter
        self._moved = moved
        self._before: RedisConnection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self.connection: RedisConnection | None = None
        self.why = "not connected yet"
        self.refused: str | None = None  # why, where the server itself says that it will not

    @property
    def ready(self) -> RedisConnection | None:
        """The connection, where an answer can be expected of it in time."""
        connection = self.connection
        return connection if connection is not None and not connection.late else None

    async def start(self, wait_s: float) -> None:
        """Begin to keep one up. Returns once there is one, or it is clear that there is none."""
        self._keeping = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._settled.wait()

    async def stop(self) -> None:
        """Close it, and keep none up any more."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.connection is not None:
            self.connection.drop()
            await self.connection.closed
            self.connection = None

    def heed(self, reply: Any) -> None:
        """Look whether an error says that this is the wrong server by now; then find another."""
        code = str(reply).partition(" ")[0] if isinstance(reply, hiredis.ReplyError) else ""
        if code in MOVED:
            self._moved()
        if code in USELESS and self.connection is not None:
            self.connection.drop()

    def why_not(self) -> str:
        """Say why it cannot be asked."""
        return self.why if self.connection is None else TOO_LATE

    async def _keep(self) -> None:
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                connection = await self._connect()
            except RedisRefuses as error:
                self.refused = self.why = str(error)
            except (Lost, OSError, TimeoutError) as error:
                self.why = str(error) or "no answer in time"
            else:
                self.why, self.refused = "", None
                self.connection = self._before = connection
                self._outage.worked()
                if not connection.late:
                    self._came(self)
                self._settled.set()
                began_s = asyncio.get_running_loop().time()
                await asyncio.shield(connection.closed)
                self.connection, self.why = None, "the connection was lost"
                if asyncio.get_running_loop().time() - began_s > BACKOFF_MAX_S:
                    wait_s = BACKOFF_FIRST_S
            self._outage.failed(f"{self._target.shown}: {self.why}")
            self._settled.set()
            await asyncio.sleep(wait_s * (1 + self._jitter()) / 2)
            wait_s = min(wait_s * 2, BACKOFF_MAX_S)

    async def _connect(self) -> RedisConnection:
        place = await self._find()
        connection = await connect(place, self._target, self._pushed, self._changed)
        try:
            async with asyncio.timeout(self._target.timeout_s * 10):
                await greet(connection, self._target.user, self._target.password)
                await self._settle(connection)
        except BaseException:
            connection.drop()
            raise
        connection.start_pulse()
        return connection

    async def _settle(self, connection: RedisConnection) -> None:
        """Make sure of the server: that it is a primary, and done with what we asked before.

        What was sent on a connection that was given up may still lie there unread, of a server
        that stood still. It would be done after what is asked on this one, so it is killed first.
        """
        info, role, time = await connection.answers([("INFO", "server"), ("ROLE",), ("TIME",)])
        connection.took_time(time)
        told = _told_by(info)
        connection.run, connection.version = told.get("run_id", ""), _named(told)
        if isinstance(role, list) and role and role[0] not in (b"master", "master"):
            raise Lost("it is a replica")
        before = self._before
        if before is not None and connection.run and before.run == connection.run:
            await connection.answers([("CLIENT", "KILL", "ID", before.id)])
        commands: list[RedisCommand] = [*self._greeting]
        if self._target.database:
            commands.insert(0, ("SELECT", self._target.database))
        for reply in await connection.answers(commands) if commands else ():
            if isinstance(reply, hiredis.ReplyError):
                raise RedisRefuses(str(reply)[:200])

    def _changed(self) -> None:
        connection = self.connection
        if connection is None:
            return
        if not connection.late:
            self._outage.worked()
            self._came(self)
            return
        if not connection.closed.done():
            self._outage.failed(f"{self._target.shown}: {TOO_LATE}")
        self._went()


def _told_by(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, _, value in pairs if value}


def _named(told: dict[str, str]) -> str:
    """Name the server: Valkey calls itself a version of Redis, too."""
    if "valkey_version" in told:
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told.get('redis_version', 'of an unknown version')}"


async def ask_once(
    place: ServerPlace, target: Target, user: str, password: str, commands: Sequence[RedisCommand]
) -> list[Any]:
    """Ask something on a connection of its own.

    Raises Lost, RedisRefuses, OSError or TimeoutError.
    """
    connection = await connect(place, target, lambda _: None, lambda: None)
    try:
        async with asyncio.timeout(target.timeout_s * 10):
            await greet(connection, user, password)
            return await connection.answers(commands)
    finally:
        connection.drop()

"""A cache that processes share, on Redis or Valkey, and in front of it one in the process.

What this process has put or read is kept here too, and the server says when it has changed there
(``CLIENT TRACKING``): a value that is at hand costs no round trip. What is asked, and what is told,
goes over one connection per server, so both come in the order in which they happened there.

**What holds.** Nobody is shown a value for longer than it was to be kept: its end is a moment of
the server's clock, and of this process's, whichever comes first. After a ``put`` nobody in this
process sees what was there before, also where the put was lost: such a key is *doubted*, which
means not read, until it was taken out there or put again. What another process has put is seen here
once the server's word has come, which is at once; a connection that is lost or late empties what is
kept here, and one that broke without a sign is found within ``PULSE_S`` and a timeout.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis

from mainspring.adapters.redis.client import RedisClient, connection_of
from mainspring.adapters.redis.connection import RedisCommand
from mainspring.adapters.redis.link import RedisLink
from mainspring.adapters.redis.target import Target, read_target
from mainspring.adapters.redis.uncounted import UNCOUNTED
from mainspring.kernel.clock import Clock
from mainspring.kernel.lru_cache import ExpiringCache
from mainspring.ports.cache import VALUE_BYTES_MAX
from mainspring.ports.database import StartError
from mainspring.ports.opening import SYSTEM_SOURCES, Sources
from mainspring.ports.telemetry import CounterSeries

NEAR_BYTES = 16 << 20
NEAR_BYTES_MAX = 4 << 30
ENTRY_BYTES = 1_024  # about what an entry takes beside its value, its key with it
DOUBTS_MAX = 4_096  # keys; with more nothing is read any more that was put before
TAKEN_OUT_AT_ONCE = 500  # doubted keys
STAMP_BYTES = 8  # in front of a value: when it was put, in milliseconds of the server's clock
PREFIX = "mainspring:"
# Tell of changes of what was read on this connection, except by itself.
_TRACK: tuple[RedisCommand, ...] = (("CLIENT", "TRACKING", "ON", "NOLOOP"),)


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "RedisCache":
    """Share through ``redis://host``; ``?near=BYTES`` are kept here too. Raises StartError."""
    target = read_target(url, "cache", frozenset({"near"}))
    near = target.others.get("near", str(NEAR_BYTES))
    if not (near.isascii() and near.isdigit() and int(near) <= NEAR_BYTES_MAX):
        raise StartError(f"[cache] url: near is how many bytes, at most {NEAR_BYTES_MAX}")
    return RedisCache(target, sources.clock, near_bytes_max=int(near))


class _Fill:
    """A value that was asked for. Once it has changed meanwhile it is not kept here."""

    __slots__ = ("changed", "waiting")

    def __init__(self) -> None:
        self.changed = False
        self.waiting: list[asyncio.Future[bytes | None]] = []

    def wait(self) -> "asyncio.Future[bytes | None]":
        """Return a future of its own for each who asks: one that gives up takes no other along."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future


class RedisCache:
    """Fills the cache port."""

    def __init__(self, target: Target, clock: Clock, *, near_bytes_max: int = NEAR_BYTES) -> None:
        self._clock = clock
        self._prefix = ""
        self._near: ExpiringCache[bytes, bytes] = ExpiringCache(
            near_bytes_max, size_of=lambda value: ENTRY_BYTES + len(value)
        )
        self._fills: dict[bytes, _Fill] = {}
        self._doubts: dict[bytes, None] = {}
        self._ignore_older = False
        self._not_before_ms = 0
        self._margin_ms = target.timeout_s * 1000  # by which clocks of servers may differ
        self._near_hits = self._hits = self._misses = UNCOUNTED
        self._invalidated = self._emptied = UNCOUNTED
        self.client = RedisClient(
            "cache", target, greeting=_TRACK, pushed=self._pushed, came=self._came,
            went=self._forget,
        )  # fmt: skip

    async def open(self, owner: str) -> None:
        """Connect; what is kept is apart from that of any other ``owner``. Raises StartError."""
        self._prefix = f"{PREFIX}{owner}:cache:"
        await self.client.open()

    async def close(self) -> None:
        """Let go of the connection, and of what is kept here."""
        await self.client.close()
        self._forget()

    def away(self) -> str:
        """Say why the store cannot be asked now; empty when it can."""
        return self.client.away()

    def measure(self, series: Callable[[str], CounterSeries]) -> None:
        """Count what was at hand, was there, or was not; and what the server said has changed."""
        self._near_hits, self._hits, self._misses = series("near"), series("hit"), series("miss")
        self._invalidated, self._emptied = series("invalidated"), series("emptied")

    def version(self) -> str:
        """Name the server."""
        return self.client.version

    def get(self, key: str) -> "bytes | asyncio.Future[bytes | None] | None":
        """Return what is at hand at once; else what the server has, asked with others together."""
        name = self._name(key)
        found = self._near.get(name, self._clock.monotonic_s())
        if found is not None:
            self._near_hits.add()
            return found
        if name not in self._doubts:
            fill = self._fills.get(name)
            asked = self._fill(name) if fill is None else fill.wait()
            if asked is not None:
                return asked
        self._misses.add()
        return None

    def put(self, key: str, value: bytes, *, kept_s: float) -> None:
        """Keep a value for so long, here at once, and there with what else is asked in this turn.

        What cannot be sent, or is not taken there, is not kept here either.
        """
        name = self._name(key)
        self._near.pop(name)
        self._fills.pop(name, None)  # who asks from now on is not to be given what was before
        connection = connection_of(self.client.of(name))
        if connection is None or len(value) > VALUE_BYTES_MAX or kept_s <= 0:
            self._lose(name)
            return
        now_s, now_ms = self._clock.monotonic_s(), connection.server_ms()
        stamped = int(now_ms).to_bytes(STAMP_BYTES, "big") + value
        # One transaction: what is read in it is tracked from the moment on at which it was set.
        commands: list[RedisCommand] = [
            ("MULTI",), ("SET", name, stamped, "PXAT", int(now_ms + kept_s * 1000)),
            ("PTTL", name), ("EXEC",),
        ]  # fmt: skip
        if connection.ask(commands, partial(self._was_put, name)):
            self._doubts.pop(name, None)  # what is asked after this is answered after this
            self._near.put(name, value, now_s, now_s + kept_s)
        else:
            self._lose(name)

    def _name(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    # Reading

    def _fill(self, name: bytes) -> "asyncio.Future[bytes | None] | None":
        """Ask the server, once for all who want the same; None at once where it cannot be."""
        link = self.client.of(name)
        connection = connection_of(link)
        if link is None or connection is None:
            return None
        fill = _Fill()
        asked_s = self._clock.monotonic_s()
        commands: list[RedisCommand] = [("GET", name), ("PTTL", name)]
        if not connection.ask(commands, partial(self._was_read, name, fill, asked_s, link)):
            return None
        self._fills[name] = fill
        return fill.wait()

    def _was_read(
        self,
        name: bytes,
        fill: _Fill,
        asked_s: float,
        link: RedisLink,
        replies: Sequence[Any] | None,
    ) -> None:
        current = self._fills.get(name) is fill
        if current:
            del self._fills[name]
        value = None
        if replies is not None:
            found, left_ms = replies
            link.heed(found)
            # What has no end was not put by us.
            if isinstance(found, bytes) and isinstance(left_ms, int) and left_ms > 0:
                value = None if name in self._doubts else self._unless_older(found)
            if value is not None and current and not fill.changed and link.ready is not None:
                self._near.put(name, value, asked_s, asked_s + left_ms / 1000)
        came_of_it = self._misses if value is None else self._hits
        for future in fill.waiting:
            if not future.done():
                came_of_it.add()
                future.set_result(value)

    def _unless_older(self, stamped: bytes) -> bytes | None:
        if int.from_bytes(stamped[:STAMP_BYTES], "big") < self._not_before_ms:
            return None
        return stamped[STAMP_BYTES:]

    # Writing

    def _was_put(self, name: bytes, replies: Sequence[Any] | None) -> None:
        done = replies[-1] if replies is not None else None
        if isinstance(done, list) and done and not isinstance(done[0], hiredis.ReplyError):
            return
        self._heed(name, replies)
        self._lose(name)

    def _heed(self, name: bytes, replies: Sequence[Any] | None) -> None:
        link = self.client.of(name)
        for reply in replies or ():
            if link is not None:
                link.heed(reply)

    def _lose(self, name: bytes) -> None:
        """Neither keep nor read this key until it was taken out there or put again."""
        self._near.pop(name)
        self._doubts[name] = None
        if len(self._doubts) > DOUBTS_MAX:
            self._doubt_all()
        self._take_out([name])

    def _take_out(self, names: list[bytes]) -> None:
        """Take these out there, so many at a time: whoever asks after that reads what is newer."""
        now, later = names[:TAKEN_OUT_AT_ONCE], names[TAKEN_OUT_AT_ONCE:]
        for name in now:
            connection = connection_of(self.client.of(name))
            rest = later if name is now[-1] else []
            told = partial(self._was_taken_out, name, rest)
            if connection is not None and connection.ask([("UNLINK", name)], told):
                self._doubts.pop(name, None)

    def _was_taken_out(self, name: bytes, rest: list[bytes], replies: Sequence[Any] | None) -> None:
        if replies is not None and isinstance(replies[0], int):
            self._take_out(rest)
        else:
            self._heed(name, replies)
            self._near.pop(name)
            self._doubts[name] = None  # until it is put, or the server is reached anew

    def _doubt_all(self) -> None:
        self._doubts.clear()
        self._ignore_older = True
        self._look_for_age()

    def _look_for_age(self) -> None:
        """Where more was lost than is known by name, read nothing that was put before now."""
        connection = self.client.any()
        if self._ignore_older and connection is not None:
            self._ignore_older = False
            self._not_before_ms = int(connection.server_ms() + self._margin_ms)

    # What the connection tells

    def _pushed(self, told: Sequence[Any]) -> None:
        if told[0] != b"invalidate":
            return
        if told[1] is None:  # all of it: the server was flushed, or tracks no more
            self._forget()
            return
        for name in told[1]:
            self._invalidated.add()
            self._near.pop(name)
            if (fill := self._fills.get(name)) is not None:
                fill.changed = True

    def _came(self, _: RedisLink) -> None:
        self._look_for_age()
        self._take_out([*self._doubts])

    def _forget(self) -> None:
        self._emptied.add()
        self._near.clear()
        for fill in self._fills.values():
            fill.changed = True

"""Rates that all processes count together, on Redis or Valkey, a slice of calls at a time.

A process leases calls of a key: the server counts them at once, by GCRA and by its own clock, and
the process lets that many through without asking again. A key that is called often gets larger
slices, up to a hundredth of its rate's count; one that is not is asked for call by call.

**The bound.** What was leased is used within ``LEASE_S``, or not at all. So N processes together
let through, in any stretch of time, no more than the rate allows there, and N slices, or what the
rate allows in ``LEASE_S``, whichever is less. Where the count is under 200 a slice is one call:
then the rate holds to the call. What a process has leased and not used is given back with its next
question; a process that asks no more keeps a slice from the others until it would have been free.
"""

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis

from mainspring.adapters.limits.memory import GcraLimiter
from mainspring.adapters.redis.client import RedisClient, connection_of
from mainspring.adapters.redis.connection import RedisCommand
from mainspring.adapters.redis.target import Target, read_target
from mainspring.adapters.redis.uncounted import UNCOUNTED
from mainspring.kernel.clock import Clock
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.policy import Rate
from mainspring.ports.database import StartError
from mainspring.ports.limits import KEYS_MAX, LimitVerdict
from mainspring.ports.opening import SYSTEM_SOURCES, Sources
from mainspring.ports.telemetry import CounterSeries

LEASE_S = 0.1  # how long leased calls may be used
SLICES = 100  # the largest slice is this part of a rate's count
SLICE_MAX = 1_000  # calls
CLOSED_S = 1.0  # after which who was refused for want of an answer may try again
PREFIX = "mainspring:"
_OWN = frozenset({"keys_max", "fail"})

# Gives back some calls and takes others, at one moment. Returns how many it took, how many more are
# free, how far the meter is ahead, and how long until one more is free, in microseconds. A moment
# further ahead than a window is of a clock that was set back since.
SCRIPT = b"""
local told = redis.call('TIME')
local now = told[1] * 1000000 + told[2]
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local given, wanted = tonumber(ARGV[3]), tonumber(ARGV[4])
local ahead = tonumber(redis.call('GET', KEYS[1]) or '0') - now
ahead = math.max(0, math.min(ahead, window) - given * interval)
local free = math.floor((window - ahead) / interval + 0.000001)
local taken = math.max(0, math.min(wanted, free))
if taken > 0 or given > 0 then
    ahead = ahead + taken * interval
    if ahead > 0 then
        redis.call('SET', KEYS[1], string.format('%.3f', now + ahead),
            'PX', math.ceil(ahead / 1000))
    else
        redis.call('DEL', KEYS[1])
    end
end
return {taken, free - taken, math.ceil(ahead), math.ceil(ahead + interval - window)}
"""
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "RedisLimits":
    """Count through ``redis://host``; ``?fail=open`` counts alone while it is away.

    ``fail=closed`` refuses then. Raises StartError.
    """
    target = read_target(url, "limits", _OWN)
    keys, fail = target.others.get("keys_max", str(KEYS_MAX)), target.others.get("fail", "open")
    if not (keys.isascii() and keys.isdigit() and int(keys)):
        raise StartError("[limits] url: keys_max is the keys of a limit, a number from 1 on")
    if fail not in ("open", "closed"):
        raise StartError(f"[limits] url: fail is open or closed, not {fail!r}")
    return RedisLimits(target, sources.clock, keys_max=int(keys), closes=fail == "closed")


class RedisLimits:
    """Fills the limits port."""

    def __init__(
        self, target: Target, clock: Clock, *, keys_max: int = KEYS_MAX, closes: bool = False
    ) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._closes = closes
        self._limits: dict[str, LeasingLimiter] = {}
        self.client = RedisClient("limits", target)
        self.prefix = b""
        self.asked = self.counted = self.refused = self.alone = UNCOUNTED

    async def open(self, owner: str) -> None:
        """Connect; what is counted is apart from that of any other ``owner``. Raises StartError."""
        self.prefix = f"{PREFIX}{owner}:limits:".encode()
        await self.client.open()

    async def close(self) -> None:
        """Let go of the connection."""
        await self.client.close()

    def away(self) -> str:
        """Say why the store cannot be asked now; empty when it can."""
        return self.client.away()

    def measure(self, series: Callable[[str], CounterSeries]) -> None:
        """Count questions to the server, and calls: let through, refused, or decided without it."""
        self.asked, self.counted = series("asked"), series("counted")
        self.refused, self.alone = series("refused"), series("alone")

    def version(self) -> str:
        """Name the server."""
        return self.client.version

    def limit(self, name: str, rate: Rate) -> "LeasingLimiter":
        """Return the limit of this name."""
        if name not in self._limits:
            alone = (
                None if self._closes else GcraLimiter(rate, self._clock, keys_max=self._keys_max)
            )
            self._limits[name] = LeasingLimiter(
                self, name, rate, self._clock, alone, keys_max=self._keys_max
            )
        return self._limits[name]


class _Lease:
    """What this process may let through of one key without asking, and who waits for more."""

    __slots__ = (
        "ahead_s", "asked_s", "asking", "free", "left", "refused_until_s", "size", "taken",
        "until_s", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.left = self.taken = 0  # of the calls that were leased last
        self.size = 1  # how many are asked for next
        self.free = 0  # that the server had more
        self.ahead_s = self.asked_s = self.until_s = self.refused_until_s = 0.0
        self.asking = False
        self.waiting: deque[asyncio.Future[LimitVerdict]] = deque()


class LeasingLimiter:
    """One limit. ``alone`` counts what this process lets through, for when nobody can be asked."""

    def __init__(
        self,
        limits: RedisLimits,
        name: str,
        rate: Rate,
        clock: Clock,
        alone: GcraLimiter | None,
        *,
        keys_max: int,
    ) -> None:
        self._limits = limits
        self._name = name.encode()
        self._clock = clock
        self._alone = alone
        self._interval_s = rate.window_s / rate.count
        self._rate = (repr(rate.window_s * 1e6 / rate.count), repr(rate.window_s * 1e6))
        self.slice_max = max(1, min(rate.count // SLICES, SLICE_MAX))
        self._leases: LruCache[str, _Lease] = LruCache(keys_max)
        self._told = LimitVerdict(True, 0, 0.0)

    def take(self, key: str) -> "LimitVerdict | asyncio.Future[LimitVerdict]":
        """Count one call of what is leased, or ask for more, together with who else asks."""
        now_s = self._clock.monotonic_s()
        lease = self._leases.get(key)
        if lease is None:
            lease = _Lease()
            self._leases.put(key, lease)
        if lease.left and now_s < lease.until_s:
            return self._count(key, lease, now_s)
        if now_s < lease.refused_until_s:
            return self._refuse(lease.refused_until_s - now_s)
        if not lease.asking and not self._ask(key, lease, now_s, waiting=1):
            return self._without(key, now_s)
        future = asyncio.get_running_loop().create_future()
        lease.waiting.append(future)
        return future

    def give_back(self, key: str) -> None:
        """Uncount one call: whoever comes next may have it."""
        now_s = self._clock.monotonic_s()
        if self._alone is not None:
            self._alone.give_back(key)
        lease = self._leases.get(key)
        if lease is not None:
            lease.refused_until_s = 0.0
            if now_s < lease.until_s:
                lease.left += 1
                return
        connection = connection_of(self._limits.client.of(name := self._key(key)))
        if connection is not None:
            connection.ask([self._command(name, 1, 0)], None)

    def _key(self, key: str) -> bytes:
        """Name what is counted of whom. Addresses and ids of people stay out of the store."""
        hashed = hashlib.blake2b(key.encode(), digest_size=16, key=self._name[:64]).hexdigest()
        return b"%b%b:%b" % (self._limits.prefix, self._name, hashed.encode())

    def _command(
        self, name: bytes, given: int, wanted: int, *, whole: bool = False
    ) -> RedisCommand:
        start: RedisCommand = ("EVAL", SCRIPT) if whole else ("EVALSHA", _SHA)
        return (*start, 1, name, *self._rate, given, wanted)

    def _ask(self, key: str, lease: _Lease, now_s: float, *, waiting: int) -> bool:
        """Give back what was not used, and ask for as much as was used. Returns whether it does."""
        given = 0
        if lease.left:
            # As many as the meter has not counted off by now, so that this undoes what was done.
            still = int(lease.taken - (now_s - lease.asked_s) / self._interval_s)
            given = max(0, min(lease.left, still))
        name = self._key(key)
        connection = connection_of(self._limits.client.of(name))
        if connection is None:
            return False
        used, hurried = lease.taken - lease.left, not lease.left and now_s < lease.until_s
        lease.size = min(self.slice_max, lease.size * 2 if hurried else max(1, used))
        wanted = max(waiting, lease.size)
        told = partial(self._hear, key, lease, name, wanted)
        if not connection.ask([self._command(name, given, wanted)], told):
            return False
        self._limits.asked.add()
        lease.asking, lease.asked_s = True, now_s
        lease.left = lease.taken = 0
        return True

    def _hear(
        self, key: str, lease: _Lease, name: bytes, wanted: int, replies: Sequence[Any] | None
    ) -> None:
        told = replies[0] if replies is not None else None
        if isinstance(told, hiredis.ReplyError) and str(told).startswith("NOSCRIPT"):
            connection = connection_of(self._limits.client.of(name))
            whole = self._command(name, 0, wanted, whole=True)
            if connection is not None and connection.ask(
                [whole], partial(self._hear, key, lease, name, wanted)
            ):
                return
        lease.asking = False
        now_s = self._clock.monotonic_s()
        if not isinstance(told, list):
            link = self._limits.client.of(name)
            if link is not None:
                link.heed(told)
            self._tell(lease, lambda: self._without(key, now_s))
            return
        lease.taken, lease.free, ahead_us, wait_us = told
        lease.left, lease.ahead_s = lease.taken, ahead_us / 1e6
        lease.until_s = lease.asked_s + LEASE_S
        if lease.taken < wanted:
            lease.refused_until_s = lease.asked_s + wait_us / 1e6
        while lease.waiting and lease.left:
            future = lease.waiting.popleft()
            if not future.done():
                future.set_result(self._count(key, lease, now_s))
        if lease.taken < wanted:
            wait_s = max(self._interval_s / 2, lease.refused_until_s - now_s)
            self._tell(lease, lambda: self._refuse(wait_s))
        elif lease.waiting and not self._ask(key, lease, now_s, waiting=len(lease.waiting)):
            self._tell(lease, lambda: self._without(key, now_s))

    def _tell(self, lease: _Lease, verdict: Callable[[], LimitVerdict]) -> None:
        """Tell all who wait."""
        while lease.waiting:
            future = lease.waiting.popleft()
            if not future.done():
                future.set_result(verdict())

    def _refuse(self, wait_s: float) -> LimitVerdict:
        self._limits.refused.add()
        return LimitVerdict(False, 0, wait_s)

    def _count(self, key: str, lease: _Lease, now_s: float) -> LimitVerdict:
        lease.left -= 1
        self._limits.counted.add()
        if self._alone is not None:
            self._alone.take_at(key, now_s)
        left = lease.free + lease.left
        ahead_s = lease.ahead_s - lease.left * self._interval_s - (now_s - lease.asked_s)
        wait_s = float(max(0, math.ceil(ahead_s)))
        if self._told.left != left or self._told.wait_s != wait_s:
            self._told = LimitVerdict(True, left, wait_s)
        return self._told

    def _without(self, key: str, now_s: float) -> LimitVerdict:
        """Decide while nobody can be asked: by what this process has let through, or not at all."""
        self._limits.alone.add()
        if self._alone is None:
            return LimitVerdict(False, 0, CLOSED_S)
        return self._alone.take_at(key, now_s)

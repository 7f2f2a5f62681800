"""Every adapter of the limits port against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable

import pytest

from mainspring.adapters.limits import memory, redis
from mainspring.kernel.process_role import Seat
from mainspring.ports.limits import RateLimits
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.conformance.limits import CHECKS, PassTime
from mainspring.testing.servers import ValkeyServer


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_limits(check: Callable[[RateLimits, PassTime], Awaitable[None]]) -> None:
    clock = FakeClock()
    await check(memory.open("memory:", Sources(clock, SeededEntropy(1))), clock.move)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_shared_limits(check: Callable[[RateLimits, PassTime], Awaitable[None]]) -> None:
    clock = FakeClock()
    shared = memory.share("memory:", 2, Sources(clock, SeededEntropy(1)))
    await check(shared(Seat(0, 2, first=True)), clock.move)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_redis_limits(
    check: Callable[[RateLimits, PassTime], Awaitable[None]], valkey: ValkeyServer
) -> None:
    clock = FakeClock()
    limits = redis.open(f"{valkey.url()}?timeout_ms=5000", Sources(clock, SeededEntropy(1)))
    await limits.open("shop")
    assert not limits.away()

    def move(seconds: float) -> None:
        """Have every meter be so much older: the server counts by a clock of its own."""
        clock.move(seconds)
        for key in valkey.command("KEYS", "*"):
            ahead_us = float(valkey.command("GET", key)) - seconds * 1e6
            valkey.command("SET", key, f"{ahead_us:.3f}", "KEEPTTL")

    await check(limits, move)
    await limits.close()

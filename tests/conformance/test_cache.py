"""Every cache adapter against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable

import pytest

from mainspring.adapters.cache import memory, redis
from mainspring.ports.cache import Cache
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.conformance.cache import CHECKS, PassTime
from mainspring.testing.servers import ValkeyServer

Check = Callable[[Cache, PassTime], Awaitable[None]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_cache(check: Check) -> None:
    clock = FakeClock()
    await check(memory.open("memory:", Sources(clock, SeededEntropy(1))), clock.move)


@pytest.mark.parametrize("near", [redis.NEAR_BYTES, 0])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_redis_cache(check: Check, near: int, valkey: ValkeyServer) -> None:
    """With what is kept in the process too, and with a server that is asked each time."""
    clock = FakeClock()

    async def move(seconds: float) -> None:
        asked = cache.get("nobody has put this")
        assert asked is None or not await asked  # by now all that was put is there
        clock.move(seconds)
        valkey.age(seconds)

    cache = redis.open(
        f"{valkey.url()}?near={near}&timeout_ms=5000", Sources(clock, SeededEntropy(1))
    )
    await cache.open("shop")
    assert not cache.away()
    await check(cache, move)
    await cache.close()

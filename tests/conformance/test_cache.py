"""Every cache adapter against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable

import pytest

from mainspring.adapters.cache import memory
from mainspring.ports.cache import Cache
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.conformance.cache import CHECKS, PassTime


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_cache(check: Callable[[Cache, PassTime], Awaitable[None]]) -> None:
    clock = FakeClock()
    await check(memory.open("memory:", Sources(clock, SeededEntropy(1))), clock.move)

"""Waiting for what another program does by itself, and tells nobody of."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.deadline import DEADLINE_S

_LOOK_EVERY_S = 0.002


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Look again and again until it holds. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.wait([loop.create_future()], timeout=_LOOK_EVERY_S)

"""What every ``Bus`` must do. Run each of ``CHECKS`` on a fresh bus.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_bus(check, bus):
    await check(bus)
"""

from collections.abc import Awaitable, Callable

from mainspring.ports.bus import Bus
from mainspring.testing.conformance.bus import reading

CHECKS: tuple[Callable[[Bus], Awaitable[None]], ...] = tuple(
    check for name, check in vars(reading).items() if name.startswith("check_")
)

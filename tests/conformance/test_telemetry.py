"""Every telemetry adapter against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable

import pytest

from mainspring.adapters.telemetry import rollups
from mainspring.kernel.process_role import Seat
from mainspring.ports.telemetry import Telemetry
from mainspring.testing.conformance.telemetry import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_telemetry(check: Callable[[Telemetry], Awaitable[None]]) -> None:
    await check(rollups.open("rollups:"))
    await check(rollups.share("rollups:", 2)(Seat(1, 2)))

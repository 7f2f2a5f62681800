"""A bus is named by a URL in the settings: one line of ``app.py`` says which module opens it."""

from typing import Any

import pytest

from mainspring.engines import ADAPTERS
from mainspring.testing import Platform
from tests.runtime.events import memory_bus
from tests.testing import workshop


async def test_consumers_follow_the_bus_that_the_settings_name(
    platform_server: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes: Any = ADAPTERS["bus"]
    monkeypatch.setitem(schemes, "memory", memory_bus.__name__)
    settings = {"bus.url": "memory:shop"}
    async with Platform(workshop.app, database=platform_server, settings=settings) as platform:
        bus = platform.app.bus
        assert isinstance(bus, memory_bus.MemoryBus)
        assert (bus.source, bus.opened) == ("memory:shop", 1)
        made = await platform.call(workshop.make, workshop.NewTool(name="saw"))
        await platform.drain()
        held = [event for events in bus.events.values() for event in events]
        assert made.id in {event.subject for event in held}
        assert len([j for j in await platform.jobs() if j.name == "workshop.sharpen"]) == 1
        assert platform.app.runtime.consumer_runner.failing() == []
    assert bus.opened == 0


async def test_without_one_it_is_the_log_and_nothing_is_published(
    platform_server: str | None,
) -> None:
    async with Platform(workshop.app, database=platform_server) as platform:
        assert platform.app.bus is None
        assert platform.app.runtime.publishers == []

"""Every bus against the conformance suite that ships with Mainspring."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mainspring.adapters.bus import kafka
from mainspring.ports.bus import Bus
from mainspring.ports.database import Database
from mainspring.runtime.events.log_bus import LogBus
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.testing.conformance.bus import CHECKS
from mainspring.testing.servers import KafkaServer
from tests.runtime.events.memory_bus import MemoryBus


@pytest.fixture
async def log_bus(database: Database) -> AsyncIterator[Bus]:
    await migrate(database, [])
    board = Notifier()
    database.on_wake(board.wake)
    sequencer = Sequencer(database, board)
    await sequencer.start()
    yield LogBus(database, board)
    await sequencer.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_log_is_a_bus(check: Callable[[Bus], Awaitable[None]], log_bus: Bus) -> None:
    await check(log_bus)


@pytest.fixture
async def kafka_bus(kafka_server: KafkaServer) -> AsyncIterator[Bus]:
    bus = kafka.open(kafka_server.url(secrets.token_hex(6), partitions=3))
    await bus.open()
    yield bus
    await bus.close()


@pytest.mark.more
@pytest.mark.xdist_group("kafka")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_kafka(check: Callable[[Bus], Awaitable[None]], kafka_bus: Bus) -> None:
    await check(kafka_bus)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_a_bus_in_memory(check: Callable[[Bus], Awaitable[None]], copies: int) -> None:
    await check(MemoryBus(copies))

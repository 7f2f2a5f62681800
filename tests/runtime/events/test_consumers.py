"""Consumers of any bus: once each, in batches, and by one process at a time."""

import asyncio
import copy
from pathlib import Path

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.event import Envelope
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Statement, Table
from mainspring.ports.bus import Bus
from mainspring.ports.database import Database
from mainspring.runtime.events.cursors import LEASE_S, ClaimedCursor, CursorMoved, Cursors
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S
from tests.runtime.bare_runtime import bare_runtime
from tests.runtime.events.memory_bus import PARTITIONS, MemoryBus

ORDERS = 12
CUSTOMERS = ("ann", "bob", "cid")
shop = Service("shop", doc="For these tests.", migrations=Path(__file__).parent / "shop_migrations")


class Line(msgspec.Struct, frozen=True):
    id: str
    place: str
    batch: str


LINES = Table("shop_lines", Line, key=("id",))
PLACES = Query("test.places", "SELECT place FROM shop_lines WHERE batch = :batch ORDER BY id", str)
ALL = Query("test.lines", f"SELECT {LINES.columns} FROM shop_lines ORDER BY id", LINES)
INBOX_SIZE = Query("test.inbox", "SELECT COUNT(*) FROM inbox", int)
LEAVE_CURSORS = Statement(
    "test.leave_cursors", "UPDATE consumer_cursors SET owner = 'gone', lease_until_ms = 1"
)
END_LEASES = Statement("test.end_leases", "UPDATE consumer_cursors SET lease_until_ms = 1")


@shop.event("shop.order.paid", partition_key="customer")
class Paid(msgspec.Struct, frozen=True):
    id: str
    customer: str


@shop.on("shop.order.paid", from_start=True, retry=RetryPolicy(max_attempts=2))
async def note(call: Call, paid: Paid) -> None:
    if paid.id == "poison":
        raise ValueError("never")
    call.write(LINES.insert(Line(call.new_id("line"), paid.id, "one")))


@shop.on("shop.order.*", from_start=True, batch=5)
async def tally(call: Call, events: list[Envelope]) -> None:
    if any(event.subject == "poison" for event in events):
        raise ValueError("never")
    for event in events:
        call.write(LINES.insert(Line(call.new_id("line"), event.subject, f"of {len(events)}")))


class Shop:
    """The shop in a process that moves when it is told to, over the log or over another bus."""

    def __init__(
        self, database: Database, folder: Path, bus: Bus | None, seed: int = 1, *others: Service
    ) -> None:
        self.database, self.clock = database, FakeClock()
        self._made = bare_runtime(
            database, folder, [shop, *others], clock=self.clock, seed=seed, bus=bus
        )

    async def open(self) -> "Shop":
        self.runtime = await self._made
        await self.runtime.prepare()
        return self

    async def pay(self, *ids: str) -> None:
        for at, order in enumerate(ids):
            call = self.runtime.dispatcher.call(SYSTEM, request_id="req_1")
            call.emit(Paid(order, CUSTOMERS[at % 3]))
            await self.runtime.dispatcher.commit(call)

    async def places(self, batch: str) -> list[str]:
        return await self.database.read(PLACES, (batch,))


@pytest.mark.parametrize("bus", [None, MemoryBus], ids=["log", "repeating"])
async def test_each_event_takes_effect_once_for_each_consumer(
    database: Database, tmp_path: Path, bus: type[MemoryBus] | None
) -> None:
    memory = bus() if bus else None
    platform = await Shop(database, tmp_path, memory).open()
    orders = [f"order_{i:02}" for i in range(ORDERS)]
    await platform.pay(*orders)
    await platform.runtime.run_due()
    taken = await database.read(INBOX_SIZE, ())
    assert taken == [2 * ORDERS if bus else 0]
    await platform.runtime.run_due()
    assert sorted(await platform.places("one")) == orders
    lines = await database.read(ALL, ())
    assert sorted(line.place for line in lines if line.batch != "one") == orders
    assert max(line.batch for line in lines if line.batch != "one") > "of 1"
    if memory is not None:
        again = [event for held in memory.events.values() for event in held]
        assert len(again) == 2 * ORDERS
        await memory.publish(again)  # as by a publisher that did not know what it had done
        await platform.runtime.run_due()
        assert len(await database.read(ALL, ())) == len(lines)


async def test_order_is_kept_within_a_partition_key(database: Database, tmp_path: Path) -> None:
    bus = MemoryBus()
    platform = await Shop(database, tmp_path, bus).open()
    orders = [f"order_{i:02}" for i in range(ORDERS)]
    await platform.pay(*orders)
    await platform.runtime.run_due()
    for at, customer in enumerate(CUSTOMERS):
        held = [e for p in PARTITIONS for e in bus.events[p] if e.key == customer]
        assert [e.subject for e in held[::2]] == orders[at::3]
        assert {e.envelope.partitionkey for e in held} == {customer}
    placed = await platform.places("one")
    for at in range(3):
        assert [place for place in placed if place in orders[at::3]] == orders[at::3]


@pytest.mark.parametrize("bus", [None, MemoryBus], ids=["log", "repeating"])
async def test_the_one_that_fails_is_set_aside_and_the_batch_goes_on(
    database: Database, tmp_path: Path, bus: type[MemoryBus] | None
) -> None:
    platform = await Shop(database, tmp_path, bus() if bus else None).open()
    await platform.pay("a", "b", "poison", "c")
    done = await platform.runtime.run_due()
    assert done.batches
    assert await platform.places("one") == ["a", "b", "c"] or bus is not None
    assert sorted(await platform.places("one")) == ["a", "b", "c"]
    places = [line.place for line in await database.read(ALL, ()) if line.batch != "one"]
    assert sorted(places) == ["a", "b", "c"]
    platform.clock.move(3_600)
    failed = (await platform.runtime.run_due()).attempts  # the jobs find their event again
    assert {(a.job.name, str(a.error)) for a in failed} == {
        ("shop.note.again", "never"), ("shop.tally.again", "never"),
    }  # fmt: skip


async def test_the_inbox_is_swept_and_still_nothing_is_taken_twice(
    database: Database, tmp_path: Path
) -> None:
    bus = MemoryBus()
    platform = await Shop(database, tmp_path, bus).open()
    await platform.pay("a", "b")
    await platform.runtime.run_due()
    assert await database.read(INBOX_SIZE, ()) == [4]
    await platform.pay("c")
    await platform.runtime.run_due()  # which finds the cursors past what it saw published before
    assert await database.read(INBOX_SIZE, ()) == [2]
    await platform.runtime.run_due()
    assert await database.read(INBOX_SIZE, ()) == [0]
    await bus.publish([event for held in bus.events.values() for event in held])
    await platform.runtime.run_due()
    assert sorted(await platform.places("one")) == ["a", "b", "c"]
    assert await database.read(INBOX_SIZE, ()) == [0]


async def test_what_a_frozen_owner_did_is_not_committed(database: Database, tmp_path: Path) -> None:
    """It took a batch, was frozen, and another process claimed the cursor and went on."""
    platform = await Shop(database, tmp_path, None).open()
    await platform.pay("a")
    if database.dialect == "postgres":
        await platform.runtime.sequencer.sequence()
    frozen, other = Cursors(database, "frozen"), Cursors(database, "other")
    held = await frozen.claim("shop.note", "log", 0)
    assert isinstance(held, ClaimedCursor)
    left_s = await other.claim("shop.note", "log", 0)
    assert isinstance(left_s, float)
    assert 0 < left_s <= LEASE_S
    await database.commit([END_LEASES()])  # as if the database's clock had moved on
    taken = await other.claim("shop.note", "log", 0)
    assert isinstance(taken, ClaimedCursor)
    assert taken.claim == held.claim + 1
    late = LINES.insert(Line("line_late", "a", "late"))
    with pytest.raises(CursorMoved):
        await database.commit([held.move(1), late])
    assert await platform.places("late") == []
    await database.commit([taken.move(1), LINES.insert(Line("line_1", "a", "taken"))])
    # Back at the same position by a restore, say: the old claim does not count either.
    with pytest.raises(CursorMoved):
        await database.commit([moved_to(held, 1).move(2)])
    await frozen.renew()
    await other.release()
    again = await frozen.claim("shop.note", "log", 0)
    assert isinstance(again, ClaimedCursor)
    assert (again.position, again.claim) == (1, held.claim + 2)


def moved_to(cursor: ClaimedCursor, position: int) -> ClaimedCursor:
    moved = copy.copy(cursor)
    moved.position = position
    return moved


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize("bus", [None, MemoryBus], ids=["log", "repeating"])
async def test_an_event_that_ends_its_process_is_set_aside_after_three(
    database: Database, tmp_path: Path, bus: type[MemoryBus] | None, batch: int | None
) -> None:
    """Nobody raises where a process is gone: what was tried is counted before it is."""
    trap, sprung = Service("trap", doc="Deadly."), asyncio.Event()
    taken: list[str] = []

    async def take(subjects: list[str]) -> None:
        if "deadly" in subjects:
            sprung.set()
            await asyncio.Event().wait()  # until the process is gone
        taken.extend(subjects)

    if batch is None:

        @trap.on("shop.order.paid", from_start=True)
        async def spring(call: Call, paid: Paid) -> None:
            await take([paid.id])

    else:

        @trap.on("shop.order.paid", from_start=True, batch=batch)
        async def spring_all(call: Call, events: list[Envelope]) -> None:
            await take([event.subject for event in events])

    memory = bus() if bus else None
    orders = ["before", "deadly", "behind", "last"]
    for started in range(4):
        platform = await Shop(database, tmp_path, memory, started + 1, trap).open()
        told: list[tuple[str, str]] = []
        platform.runtime.consumer_runner.on_aside(
            lambda consumer, event, error, told=told: told.append((event.subject, str(error)))
        )
        if started == 0:
            for order in orders:
                await platform.pay(order)
        running = asyncio.create_task(platform.runtime.run_due())
        ended = asyncio.create_task(sprung.wait())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
        if started < 3:
            assert not running.done()
            sprung.clear()
        for task in (running, ended):  # it leaves its cursor as a process that is killed does
            task.cancel()
        await asyncio.gather(running, ended, return_exceptions=True)
        assert bool(told) == (started == 3)
    assert told == [("deadly", "3 processes ended while it had this event, perhaps because of it")]
    assert sorted(set(taken)) == ["before", "behind", "last"]
    assert taken.count("behind") == taken.count("last") == 1


async def test_who_takes_over_from_the_dead_passes_by_what_it_does_not_take(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one is for what may have killed a process, and each costs commits."""
    steps = Service("steps", doc="Events that the shop's consumers do not take.")

    @steps.event("steps.step.taken", subject="id")
    class StepTaken(msgspec.Struct, frozen=True):
        id: str

    platform = await Shop(database, tmp_path, None, 1, steps).open()
    await platform.pay("first")
    for number in range(20):
        call = platform.runtime.dispatcher.call(SYSTEM, request_id="req_1")
        call.emit(StepTaken(str(number)))
        await platform.runtime.dispatcher.commit(call)
    await platform.pay("second")
    await database.commit([LEAVE_CURSORS()])
    moved: list[int] = []
    move = Cursors.move

    async def count(cursors: Cursors, cursor: ClaimedCursor, to: int) -> None:
        moved.append(to)
        await move(cursors, cursor, to)

    monkeypatch.setattr(Cursors, "move", count)
    await platform.runtime.run_due()
    assert sorted(await platform.places("one")) == ["first", "second"]
    assert len(moved) <= len(platform.runtime.registry.consumers)  # to the end, each once


async def test_a_process_takes_over_where_another_stopped(
    database: Database, tmp_path: Path
) -> None:
    first = await Shop(database, tmp_path, None).open()
    second = await Shop(database, tmp_path, None, seed=2).open()
    await first.runtime.sequencer.start()
    await first.runtime.consumer_runner.start()
    await first.pay("a")
    await until(first, ["a"])
    await first.runtime.consumer_runner.stop()
    await second.runtime.consumer_runner.start()
    await first.pay("b")
    await until(first, ["a", "b"])
    await second.runtime.consumer_runner.stop()
    assert sorted(await first.places("one")) == ["a", "b"]
    await first.runtime.sequencer.stop()


async def until(platform: Shop, expected: list[str]) -> None:
    with platform.runtime.board.listen("local:consumed", "events", "sequenced") as signal:
        async with asyncio.timeout(DEADLINE_S):
            while sorted(await platform.places("one")) != expected:
                await signal.wait()
                signal.clear()


@pytest.mark.parametrize(
    ("batch", "said"), [(None, "a list of events"), (0, "from 1 to 256"), (257, "from 1 to 256")]
)
def test_a_batch_and_a_list_go_together(batch: int | None, said: str) -> None:
    async def handle(call: Call, events: list[Envelope]) -> None: ...

    with pytest.raises(Misdeclared, match=said):
        Service("x", doc="x").on("a.b.c", batch=batch)(handle)


def test_one_event_is_no_batch() -> None:
    async def handle(call: Call, event: Envelope) -> None: ...

    with pytest.raises(Misdeclared, match="takes one event"):
        Service("x", doc="x").on("a.b.c", batch=5)(handle)

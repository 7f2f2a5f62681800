"""Measures: counted with the call that holds, one row per bucket and key, a second at risk."""

import asyncio

import msgspec
import pytest

from mainspring import App
from mainspring.kernel.call import SYSTEM, Call, Transaction
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import Conflict, Unavailable
from mainspring.kernel.measure import VALUE_MAX, Measure
from mainspring.kernel.measured import Measured, Measures
from mainspring.kernel.operation import Input
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query
from mainspring.runtime.metrics import measures as module
from mainspring.runtime.runtime import Runtime
from mainspring.testing import Platform
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import key, run

HOUR_MS = 3_600_000
shop = Service("shop", doc="For these tests.")
views = shop.measure("views", doc="How often a page was seen, by page.")
short = shop.measure("short", doc="Kept for a day, by minute.", bucket_s=60, keep_days=1)


class MeasureRow(msgspec.Struct, frozen=True):
    """A count as it is stored."""

    key: str
    bucket_ms: int
    value: int


ROWS = Query(
    "test.measures",
    "SELECT key, bucket_ms, value FROM measures ORDER BY name, key, bucket_ms",
    MeasureRow,
)


class Order(Input, frozen=True):
    """How a call is to end."""

    fails: bool = False
    kept: bool = False


@shop.operation("GET /v1/shop/{page}", scope=None)
async def see(call: Call, page: str) -> str:
    call.measure(views, key=page)
    return page


@shop.operation("POST /v1/shop/{page}", scope=None)
async def buy(call: Call, page: str, order: Order) -> str:
    call.measure(views, 2, key=page)
    call.measure(views, 3, key=page)
    call.write(links.HITS.insert(links.Hit(call.new_id("hit"), page)))
    if order.kept:
        raise links.Locked("kept")
    if order.fails:
        raise Conflict("no")
    return page


@shop.transaction("POST /v1/shop/{page}:inside", scope=None)
async def inside(call: Transaction, page: str) -> None:
    call.measure(views, key=page)


@pytest.fixture
def services() -> list[Service]:
    return [links.links, shop]


async def rows(runtime: Runtime) -> list[tuple[str, int, int]]:
    return [(row.key, row.bucket_ms, row.value) for row in await runtime.database.read(ROWS, ())]


async def counted(runtime: Runtime) -> dict[str, int]:
    await runtime.measures.flush()
    return {page: value for page, _, value in await rows(runtime)}


async def test_what_holds_is_counted_and_what_fails_is_not(runtime: Runtime) -> None:
    await run(runtime, see, page="read")
    await run(runtime, buy, page="written", order=Order())
    await run(runtime, inside, page="inside")
    with pytest.raises(Conflict):
        await run(runtime, buy, page="failed", order=Order(fails=True))
    with pytest.raises(links.Locked):
        await run(runtime, buy, page="kept", order=Order(kept=True))
    assert await counted(runtime) == {"read": 1, "written": 5, "inside": 1, "kept": 5}


async def test_a_repeated_call_is_counted_once(runtime: Runtime) -> None:
    for _ in range(2):
        await run(runtime, buy, key("k"), page="once", order=Order())
    assert await counted(runtime) == {"once": 5}


async def test_there_is_one_row_for_a_key_and_a_bucket(runtime: Runtime, clock: FakeClock) -> None:
    clock.move((HOUR_MS - clock.now_ms() % HOUR_MS) / 1000)
    began_ms = clock.now_ms()
    for _ in range(3):
        await run(runtime, see, page="a")
        await runtime.measures.flush()
        clock.move(60)
    clock.move(3600)
    await run(runtime, see, page="a")
    await runtime.measures.flush()
    assert await rows(runtime) == [("a", began_ms, 3), ("a", began_ms + HOUR_MS, 1)]
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    read = call.use(Measures)
    assert await read.total(call, views, "a") == 4
    assert await read.total(call, views, "b") == 0
    assert await read.total(call, views, "a", from_ms=began_ms + 1) == 1
    assert await read.series(call, views, "a", from_ms=began_ms, to_ms=began_ms + HOUR_MS) == [
        Measured(began_ms, 3)
    ]


async def test_it_is_written_within_a_second_and_so_outlives_a_kill(runtime: Runtime) -> None:
    """Nothing is stopped or flushed here: a reader sees what a killed process had counted."""
    real = SystemClock()
    await runtime.measures.start()
    with runtime.board.listen("local:measured") as written:
        written.clear()
        began_s = real.monotonic_s()
        await run(runtime, see, page="a")
        async with asyncio.timeout(DEADLINE_S):
            await written.wait()
        assert real.monotonic_s() - began_s >= module.FLUSH_S * 0.9  # gathered, not each alone
    assert module.FLUSH_S <= 0.5  # the other half of the second is for the commit
    assert [(page, value) for page, _, value in await rows(runtime)] == [("a", 1)]
    await runtime.measures.stop()


async def test_a_drain_leaves_nothing_in_memory(runtime: Runtime) -> None:
    await runtime.start()
    await run(runtime, see, page="a")
    await runtime.stop(1.0)
    assert len(runtime.measures) == 0
    assert [(page, value) for page, _, value in await rows(runtime)] == [("a", 1)]


async def test_what_an_outage_refused_is_kept_and_written_later(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("not now")

    await run(runtime, see, page="a")
    with monkeypatch.context() as patch:
        patch.setattr(runtime.database, "commit", away)
        with pytest.raises(Unavailable):
            await runtime.measures.flush()
    await run(runtime, see, page="a")
    assert await counted(runtime) == {"a": 2}


async def test_memory_is_bounded_and_what_is_dropped_is_told(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNTS_MAX", 2)
    for page in "abcab":
        await run(runtime, see, page=page)
    assert len(runtime.measures) == 2
    assert await counted(runtime) == {"a": 2, "b": 2}
    assert runtime.measures.dropped == 1


async def test_processes_that_count_the_same_keys_at_once_do_not_deadlock(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 50)
    others = [
        module.MeasureBuffer(runtime.database, runtime.board, runtime.metrics.telemetry)
        for _ in range(6)
    ]
    pages = [f"page {n}" for n in range(200)]
    for at, buffer in enumerate(others):
        for page in pages if at % 2 else reversed(pages):
            buffer.add("main", 0, {(views, page): 1})
    await asyncio.gather(*[buffer.flush() for buffer in others])
    assert {value for _, _, value in await rows(runtime)} == {6}
    assert len(await rows(runtime)) == len(pages)


async def test_the_sweep_forgets_what_is_older_than_it_is_kept(
    runtime: Runtime, clock: FakeClock
) -> None:
    runtime.measures.add("main", clock.now_ms(), {(short, "old"): 1, (views, "old"): 1})
    await runtime.measures.flush()
    clock.move(25 * 3600)
    runtime.measures.add("main", clock.now_ms(), {(short, "new"): 1})
    await runtime.measures.flush()
    assert await runtime.scheduler.sweep() == 1
    assert [page for page, _, _ in await rows(runtime)] == ["new", "old"]


async def test_what_no_measure_counts_is_refused(runtime: Runtime) -> None:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    for value, page in ((0, "a"), (-1, "a"), (VALUE_MAX + 1, "a"), (1, "x" * 201), (1, "\0")):
        with pytest.raises(ValueError, match=r"shop\.views"):
            call.measure(views, value, key=page)
    assert call.measures == {}
    stream = runtime.dispatcher.call(SYSTEM, request_id="req_1", reads=True)
    with pytest.raises(TypeError, match="only reads"):
        stream.measure(views)
    for other in (Measure("shop.sales"), Measure("shop.views", bucket_s=60)):
        with pytest.raises(Misdeclared, match=r"no service of this app declares the measure 'shop"):
            call.measure(other)
        with pytest.raises(Misdeclared, match=r"no service of this app declares the measure 'shop"):
            await call.use(Measures).total(call, other, "a")  # type: ignore[type-abstract]
        with pytest.raises(Misdeclared, match=r"no service of this app declares the measure 'shop"):
            await call.use(Measures).series(call, other, from_ms=0, to_ms=1)  # type: ignore[type-abstract]
    with pytest.raises(Misdeclared, match=r"shop\.views is declared twice"):
        shop.measure("views", doc="Again.")


async def test_an_event_that_no_service_declares_is_refused_as_well(runtime: Runtime) -> None:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    with pytest.raises(Misdeclared, match="Order is the data of no event of this app"):
        call.emit(Order())
    with pytest.raises(Misdeclared, match="Order is the data of no event of this app"):
        call.emit_json(Order, msgspec.Raw(b"{}"), subject="x")


async def test_draining_writes_measures_down(platform_server: str | None) -> None:
    async with Platform(App("shop", services=[shop]), database=platform_server) as platform:
        await platform.call(see, "home")
        assert await platform.rows(ROWS) == []
        await platform.drain()
        assert [(row.key, row.value) for row in await platform.rows(ROWS)] == [("home", 1)]
        await platform.call(see, "home")
        await platform.pass_time(seconds=1)
        assert [(row.key, row.value) for row in await platform.rows(ROWS)] == [("home", 2)]

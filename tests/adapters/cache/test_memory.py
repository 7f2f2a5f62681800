"""The cache in the process: how much it holds, and that nobody waits for it."""

from mainspring.adapters.cache.memory import ENTRY_BYTES, MemoryCache
from mainspring.testing.clock import FakeClock


def test_it_holds_its_bytes_and_what_was_used_longest_ago_goes() -> None:
    cache = MemoryCache(FakeClock(), bytes_max=3 * (ENTRY_BYTES + 100))
    for key in "abc":
        cache.put(key, bytes(100), kept_s=60)
    assert cache.get("a") == bytes(100)
    cache.put("d", bytes(100), kept_s=60)
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_many_small_values_count_for_what_they_take() -> None:
    cache = MemoryCache(FakeClock(), bytes_max=10 * ENTRY_BYTES)
    for number in range(1_000):
        cache.put(str(number), b"", kept_s=60)
    assert sum(cache.get(str(number)) is not None for number in range(1_000)) == 10

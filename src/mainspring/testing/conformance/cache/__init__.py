"""What every ``Cache`` must do. Run each of ``CHECKS`` on an empty one, with a way to pass time.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_cache(check, clock):
    await check(open("memory:", Sources(clock, entropy)), clock.move)
"""

from collections.abc import Awaitable, Callable

from mainspring.ports.cache import KEY_CHARS_MAX, VALUE_BYTES_MAX, Cache

PassTime = Callable[[float], Awaitable[None] | None]  # by so many seconds


async def _pass(move: PassTime, seconds: float) -> None:
    passing = move(seconds)
    if passing is not None:
        await passing


async def _get(cache: Cache, key: str) -> bytes | None:
    found = cache.get(key)
    return found if found is None or isinstance(found, bytes) else await found


async def check_what_was_put_comes_back(cache: Cache, move: PassTime) -> None:
    """Whatever its bytes are; none at all are a value too. Keys are apart, the longest is taken."""
    values = {"a": b"\0\xff", "A": b"", "a/b c\u00e9": b"x", "k" * KEY_CHARS_MAX: b"y"}
    for key, value in values.items():
        cache.put(key, value, kept_s=60)
    for key, value in values.items():
        assert await _get(cache, key) == value, key
    assert await _get(cache, "b") is None


async def check_the_newest_value_is_the_one(cache: Cache, move: PassTime) -> None:
    """Its own time counts, shorter or longer than that of the one before."""
    cache.put("a", b"1", kept_s=60)
    cache.put("a", b"2", kept_s=1)
    assert await _get(cache, "a") == b"2"
    cache.put("b", b"1", kept_s=1)
    cache.put("b", b"2", kept_s=60)
    await _pass(move, 1.5)
    assert await _get(cache, "a") is None
    assert await _get(cache, "b") == b"2"


async def check_a_value_goes_when_its_time_is_over(cache: Cache, move: PassTime) -> None:
    """Not sooner, for want of nothing, and never later; no time is no time."""
    cache.put("a", b"x", kept_s=2)
    await _pass(move, 1)
    assert await _get(cache, "a") == b"x"
    await _pass(move, 1.1)
    assert await _get(cache, "a") is None
    cache.put("b", b"x", kept_s=0)
    cache.put("c", b"x", kept_s=-1)
    assert (await _get(cache, "b"), await _get(cache, "c")) == (None, None)


async def check_a_value_that_is_too_large_is_not_kept(cache: Cache, move: PassTime) -> None:
    """Nor what it was put in the place of; the largest that may be is."""
    cache.put("a", b"before", kept_s=60)
    cache.put("a", bytes(VALUE_BYTES_MAX + 1), kept_s=60)
    assert await _get(cache, "a") is None
    cache.put("a", bytes(VALUE_BYTES_MAX), kept_s=60)
    assert await _get(cache, "a") == bytes(VALUE_BYTES_MAX)


async def check_there_is_always_room_for_one_more(cache: Cache, move: PassTime) -> None:
    """However many there were: the newest is there, and each is either whole or gone."""
    for number in range(300):
        value = b"%d " % number * 60_000
        assert await _get(cache, f"key {number}") is None
        cache.put(f"key {number}", value, kept_s=60)
        assert await _get(cache, f"key {number}") == value
    for number in range(300):
        assert await _get(cache, f"key {number}") in (None, b"%d " % number * 60_000)


CHECKS: tuple[Callable[[Cache, PassTime], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)

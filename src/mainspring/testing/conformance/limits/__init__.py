"""What every ``RateLimits`` must do. Run each of ``CHECKS`` with a way to pass time.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_limits(check, clock):
    await check(open("memory:", Sources(clock, entropy)), clock.move)
"""

from collections.abc import Awaitable, Callable

from mainspring.kernel.policy import Rate
from mainspring.ports.limits import LimitVerdict, RateLimit, RateLimits

PassTime = Callable[[float], Awaitable[None] | None]  # by so many seconds
TEN = Rate(10, 1_000.0)  # slower than a store on a busy machine


async def _pass(move: PassTime, seconds: float) -> None:
    passing = move(seconds)
    if passing is not None:
        await passing


async def _take(limit: RateLimit, key: str) -> LimitVerdict:
    found = limit.take(key)
    return found if isinstance(found, LimitVerdict) else await found


async def check_a_burst_passes_then_one_per_interval(limits: RateLimits, move: PassTime) -> None:
    """As many as the rate counts at once, then as many as the time that passes pays for."""
    limit = limits.limit("burst", TEN)
    counted = [(await _take(limit, "k")).counted for _ in range(12)]
    assert counted == [True] * 10 + [False] * 2, counted
    await _pass(move, 101)
    counted = [(await _take(limit, "k")).counted for _ in range(2)]
    assert counted == [True, False], counted


async def check_a_refused_call_is_not_counted(limits: RateLimits, move: PassTime) -> None:
    """Whoever keeps asking is let in no later than who waits."""
    limit = limits.limit("refused", Rate(1, 10.0))
    await _take(limit, "k")
    for _ in range(5):
        assert not (await _take(limit, "k")).counted
    await _pass(move, 10.01)
    assert (await _take(limit, "k")).counted


async def check_a_verdict_tells_what_is_left_and_when(limits: RateLimits, move: PassTime) -> None:
    """``left`` counts down to nought, and ``wait_s`` of a refusal is enough."""
    limit = limits.limit("told", Rate(3, 30.0))
    left = [(await _take(limit, "k")).left for _ in range(3)]
    assert left == [2, 1, 0], left
    refused = await _take(limit, "k")
    assert not refused.counted
    assert 0 < refused.wait_s <= 10, refused
    await _pass(move, refused.wait_s + 0.01)
    assert (await _take(limit, "k")).counted


async def check_keys_and_names_are_apart(limits: RateLimits, move: PassTime) -> None:
    """One caller uses up nobody else's share, nor its own of another limit."""
    one, other = limits.limit("one", Rate(1, 60.0)), limits.limit("other", Rate(1, 60.0))
    assert (await _take(one, "k")).counted
    assert (await _take(one, "l")).counted
    assert (await _take(other, "k")).counted
    again = limits.limit("one", Rate(1, 60.0))
    assert not (await _take(again, "k")).counted, "the same name is the same limit"


async def check_what_is_given_back_was_never_counted(limits: RateLimits, move: PassTime) -> None:
    """However often."""
    limit = limits.limit("given", Rate(2, 60.0))
    for _ in range(5):
        assert (await _take(limit, "k")).counted
        limit.give_back("k")
    counted = [(await _take(limit, "k")).counted for _ in range(3)]
    assert counted == [True, True, False], counted


CHECKS: tuple[Callable[[RateLimits, PassTime], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)

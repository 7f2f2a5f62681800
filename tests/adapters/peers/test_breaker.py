"""When an owner is left alone, who tries it again, and how much is made once more."""

from mainspring.adapters.peers.breaker import (
    BURST,
    FAILURES_MAX,
    FIRST_PAUSE_S,
    PAUSE_S_MAX,
    SHARE,
    Breaker,
    RetryBudget,
)


def yes() -> bool:
    return True


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.lets(now_s, yes)
        breaker.failed(now_s, tried=breaker.begin())
    assert not breaker.lets(now_s, yes)
    return breaker


def test_an_answer_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(FAILURES_MAX - 1):
            breaker.failed(0.0, tried=breaker.begin())
        breaker.answered()
    assert breaker.lets(0.0, yes)
    assert not breaker.open


def test_one_tries_at_a_time_and_only_over_a_connection() -> None:
    breaker = opened()
    assert not breaker.lets(FIRST_PAUSE_S, lambda: False)
    assert breaker.lets(FIRST_PAUSE_S, yes)
    assert breaker.begin()
    assert not breaker.lets(FIRST_PAUSE_S, yes)
    breaker.gave_up(tried=True)
    assert breaker.lets(FIRST_PAUSE_S, yes)
    assert breaker.begin()
    breaker.answered()
    assert breaker.lets(FIRST_PAUSE_S, yes)
    assert not breaker.open


def test_pauses_grow_with_those_who_try_and_not_with_those_who_came_before() -> None:
    breaker, now_s, pause_s = opened(), 0.0, FIRST_PAUSE_S
    for _ in range(100):  # begun while it was closed
        breaker.failed(now_s, tried=False)
    while pause_s <= PAUSE_S_MAX:
        assert not breaker.lets(now_s + pause_s * 0.9, yes)
        now_s += pause_s
        assert breaker.lets(now_s, yes)
        breaker.failed(now_s, tried=breaker.begin())
        pause_s *= 2
    assert breaker.lets(now_s + PAUSE_S_MAX, yes)


def test_a_share_of_the_calls_may_be_made_once_more() -> None:
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(100)) == BURST
    for _ in range(100):
        budget.called()
    assert 100 * SHARE - 1 <= sum(budget.take() for _ in range(100)) <= 100 * SHARE
    for _ in range(10_000):
        budget.called()
    assert sum(budget.take() for _ in range(100)) == BURST

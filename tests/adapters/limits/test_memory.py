"""GCRA: the rate holds, and nobody resets anybody."""

import random

from mainspring.adapters.limits.memory import GcraLimiter
from mainspring.kernel.clock import SystemClock
from mainspring.kernel.policy import Rate


def passes(meter: GcraLimiter, key: str, now_s: float) -> bool:
    return meter.take_at(key, now_s).counted


def test_a_burst_passes_then_one_per_interval() -> None:
    meter = GcraLimiter(Rate.parse("10/s"), SystemClock(), keys_max=1_024)
    assert [passes(meter, "k", 100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not passes(meter, "k", 100.05)
    assert passes(meter, "k", 100.1)
    assert not passes(meter, "k", 100.1)
    assert passes(meter, "other", 100.1)


def test_over_any_time_no_more_passes_than_the_rate_and_one_burst(seed: int) -> None:
    chance = random.Random(seed)
    meter = GcraLimiter(Rate(7, 2.0), SystemClock(), keys_max=1_024)
    now_s, times = 1_000.0, []
    for _ in range(5_000):
        now_s += chance.expovariate(12)
        if passes(meter, "k", now_s):
            times.append(now_s)
    for i, first in enumerate(times):
        for j in range(i, min(i + 60, len(times))):
            assert j - i + 1 <= 7 + (times[j] - first) * 3.5 + 1e-6


def test_a_call_given_back_was_never_counted() -> None:
    meter = GcraLimiter(Rate.parse("2/s"), SystemClock(), keys_max=1_024)
    for _ in range(20):
        meter.take_at("k", 5.0)
        meter.give_back("k")
    meter.take_at("k", 5.0)
    meter.take_at("k", 5.0)
    assert not passes(meter, "k", 5.0)


def test_flooding_the_table_resets_nobody_and_stays_bounded() -> None:
    meter = GcraLimiter(Rate.parse("5/m"), SystemClock(), keys_max=1_024)
    now_s = 10.0
    while passes(meter, "abuser", now_s):
        pass
    for i in range(20_000):
        now_s += 0.0001
        passes(meter, f"flood {i}", now_s)
        assert i % 500 or not passes(meter, "abuser", now_s)
    assert not passes(meter, "abuser", now_s)
    assert len(meter) < 3 * 1_024
    # A new key under flood shares a bucket, so the flood as a whole is held to a bound.
    shared = sum(passes(meter, f"late {i}", now_s) for i in range(10_000))
    assert shared <= 1_024 * 5
    # And all is well again a window later.
    now_s += 61
    assert [passes(meter, "abuser", now_s) for _ in range(6)] == [True] * 5 + [False]
    assert passes(meter, "somebody", now_s + 61)


def test_state_survives_the_change_of_generations() -> None:
    meter = GcraLimiter(Rate.parse("2/h"), SystemClock(), keys_max=64)
    meter.take_at("k", 0.0)
    meter.take_at("k", 0.0)
    for i in range(40):  # fills the young generation: it becomes the old one
        passes(meter, f"x{i}", 1.0)
    assert not passes(meter, "k", 2.0)
    assert not passes(meter, "k", 1799.0)
    assert passes(meter, "k", 1801.0)

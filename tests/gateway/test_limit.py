"""GCRA: the rate holds, headers tell it, and nobody resets anybody."""

import random

import pytest

from mainspring.gateway.identify import ANONYMOUS_IDENTITY, CachedIdentity
from mainspring.gateway.limit import GcraLimiter, Limits, Refused
from mainspring.gateway.settings import LimitSettings
from mainspring.kernel.call import Caller
from mainspring.kernel.policy import Rate, RateClass


def passes(meter: GcraLimiter, key: str, now_s: float) -> bool:
    try:
        meter.take(key, now_s)
    except Refused:
        return False
    return True


def test_a_burst_passes_then_one_per_interval() -> None:
    meter = GcraLimiter("m", Rate.parse("10/s"), keys_max=1_024)
    assert [passes(meter, "k", 100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not passes(meter, "k", 100.05)
    assert passes(meter, "k", 100.1)
    assert not passes(meter, "k", 100.1)
    assert passes(meter, "other", 100.1)


def test_headers_name_the_policy_and_count_down() -> None:
    meter = GcraLimiter("login", Rate.parse("3/m"), keys_max=1_024)
    (policy, left) = meter.take("k", 0.0)
    assert policy == (b"ratelimit-policy", b'"login";q=3;w=60')
    assert left == (b"ratelimit", b'"login";r=2;t=20')
    meter.take("k", 0.0)
    assert meter.take("k", 0.0)[1] == (b"ratelimit", b'"login";r=0;t=60')
    with pytest.raises(Refused) as caught:
        meter.take("k", 0.5)
    assert caught.value.policy == "login"
    assert caught.value.retry_after_s == pytest.approx(19.5)
    assert caught.value.rate_limit_headers[1] == (b"ratelimit", b'"login";r=0;t=20')


def test_over_any_time_no_more_passes_than_the_rate_and_one_burst(seed: int) -> None:
    chance = random.Random(seed)
    meter = GcraLimiter("m", Rate(7, 2.0), keys_max=1_024)
    now_s, times = 1_000.0, []
    for _ in range(5_000):
        now_s += chance.expovariate(12)
        if passes(meter, "k", now_s):
            times.append(now_s)
    for i, first in enumerate(times):
        for j in range(i, min(i + 60, len(times))):
            assert j - i + 1 <= 7 + (times[j] - first) * 3.5 + 1e-6


def test_a_call_given_back_was_never_counted() -> None:
    meter = GcraLimiter("m", Rate.parse("2/s"), keys_max=1_024)
    for _ in range(20):
        meter.take("k", 5.0)
        meter.give_back("k")
    meter.take("k", 5.0)
    meter.take("k", 5.0)
    assert not passes(meter, "k", 5.0)


def test_flooding_the_table_resets_nobody_and_stays_bounded() -> None:
    meter = GcraLimiter("m", Rate.parse("5/m"), keys_max=1_024)
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
    meter = GcraLimiter("m", Rate.parse("2/h"), keys_max=64)
    meter.take("k", 0.0)
    meter.take("k", 0.0)
    for i in range(40):  # fills the young generation: it becomes the old one
        passes(meter, f"x{i}", 1.0)
    assert not passes(meter, "k", 2.0)
    assert not passes(meter, "k", 1799.0)
    assert passes(meter, "k", 1801.0)


def test_who_counts_against_what() -> None:
    limits = Limits(LimitSettings(default="5/s", anonymous="2/s", login="1/m"))
    caller = CachedIdentity(Caller("key", "key_1"), 1 << 60, ())
    assert limits.take(RateClass.UNLIMITED, ANONYMOUS_IDENTITY, "192.0.2.1", 1.0) == ()
    assert b'"default"' in limits.take(RateClass.DEFAULT, caller, "192.0.2.1", 1.0)[0][1]
    assert (
        b'"anonymous"' in limits.take(RateClass.DEFAULT, ANONYMOUS_IDENTITY, "192.0.2.1", 1.0)[0][1]
    )
    assert b'"login"' in limits.take(RateClass.LOGIN, caller, "2001:db8::/64", 1.0)[0][1]
    with pytest.raises(Refused):
        limits.take(RateClass.LOGIN, ANONYMOUS_IDENTITY, "2001:db8::/64", 1.0)
    other = CachedIdentity(Caller("key", "key_1", tenant="other"), 1 << 60, ())
    assert caller.limit_key != other.limit_key


@pytest.mark.parametrize("rate", ["", "5", "0/s", "5/d", "-1/s", "5/ss", "1e3/s"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        LimitSettings(anonymous=rate)

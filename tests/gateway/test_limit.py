"""Limits: who counts against what, what the caller is told, and that counting here never waits."""

from collections.abc import Awaitable

import pytest

from mainspring.adapters.limits import memory
from mainspring.gateway.identify import ANONYMOUS_IDENTITY, CachedIdentity
from mainspring.gateway.limit import Limits, LimitSettings, Policy, Refused, awaited
from mainspring.kernel.caller import Caller
from mainspring.kernel.policy import Rate, RateClass
from mainspring.ports.limits import LimitVerdict
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy

CALLER = CachedIdentity(Caller("key", "key_1"), 1 << 60, ())


def in_process(clock: FakeClock) -> memory.MemoryLimits:
    return memory.open("memory:", Sources(clock, SeededEntropy(1)))


def test_counting_in_the_process_never_suspends() -> None:
    limits = Limits(LimitSettings(default="2/s"), in_process(FakeClock()))
    for _ in range(2):
        told = limits.take(RateClass.DEFAULT, CALLER, "")
        assert isinstance(told, bytes)
        assert b'"default"' in told
    with pytest.raises(Refused):
        limits.take(RateClass.DEFAULT, CALLER, "")


async def test_an_adapter_that_has_to_ask_is_awaited() -> None:
    class Elsewhere:
        asked = 0

        def limit(self, name: str, rate: Rate) -> "Elsewhere":
            return self

        def take(self, key: str) -> Awaitable[LimitVerdict]:
            return self._ask()

        async def _ask(self) -> LimitVerdict:
            self.asked += 1
            return LimitVerdict(self.asked == 1, 0, 3.0)

        def give_back(self, key: str) -> None:
            self.asked -= 1

    policy = Policy("default", "1/m", Elsewhere())
    assert (await awaited(policy.take("k"))).endswith(b'ratelimit: "default";r=0;t=3\r\n')
    with pytest.raises(Refused):
        await awaited(policy.take("k"))


async def test_headers_name_the_policy_and_count_down() -> None:
    clock = FakeClock()
    policy = Policy("login", "3/m", in_process(clock))
    named = b'ratelimit-policy: "login";q=3;w=60\r\n'
    assert policy.take("k") == named + b'ratelimit: "login";r=2;t=20\r\n'
    policy.take("k")
    assert policy.take("k") == named + b'ratelimit: "login";r=0;t=60\r\n'
    clock.move(0.5)
    with pytest.raises(Refused) as caught:
        policy.take("k")
    assert caught.value.policy == "login"
    assert caught.value.retry_after_s == pytest.approx(19.5)
    assert caught.value.limit_lines == named + b'ratelimit: "login";r=0;t=20\r\n'


async def test_who_counts_against_what() -> None:
    settings = LimitSettings(default="5/s", anonymous="2/s", login="1/m")
    limits = Limits(settings, in_process(FakeClock()))
    address = "2001:db8::/64"
    assert limits.take(RateClass.UNLIMITED, ANONYMOUS_IDENTITY, address) == b""
    for rate, known, name in (
        (RateClass.DEFAULT, CALLER, b'"default"'),
        (RateClass.DEFAULT, ANONYMOUS_IDENTITY, b'"anonymous"'),
        (RateClass.LOGIN, CALLER, b'"login"'),
    ):
        assert name in await awaited(limits.take(rate, known, address))
    with pytest.raises(Refused):
        limits.take(RateClass.LOGIN, ANONYMOUS_IDENTITY, address)
    other = CachedIdentity(Caller("key", "key_1", tenant="other"), 1 << 60, ())
    assert CALLER.limit_key != other.limit_key


@pytest.mark.parametrize("rate", ["", "5", "0/s", "5/d", "-1/s", "5/ss", "1e3/s"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        LimitSettings(anonymous=rate)

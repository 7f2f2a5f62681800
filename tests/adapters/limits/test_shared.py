"""Counting together: the processes of a crew hold one rate, and a flood resets nobody."""

import os

from mainspring.adapters.limits import memory
from mainspring.adapters.limits.shared import SharedLimiter, SharedLimits
from mainspring.kernel.policy import Rate
from mainspring.kernel.process_role import Seat
from mainspring.ports.opening import Sources
from mainspring.testing.clock import FakeClock, SeededEntropy

PROCESSES = 3
CALLS = 2_000


def crew(size: int, keys: int = 65_536) -> list[SharedLimits]:
    own = memory.share(f"memory:{keys}", size, Sources(FakeClock(), SeededEntropy(1)))
    return [own(Seat(number, size, first=number == 0)) for number in range(size)]


def test_what_one_counts_the_others_count_too() -> None:
    first, second = crew(2)
    for name in ("default", "login"):
        meters = [each.limit(name, Rate.parse("10/m")) for each in (first, second)]
        counted = [meters[n % 2].take("ann").counted for n in range(12)]
        assert counted == [True] * 10 + [False] * 2
        assert meters[0].take("bob").left == 9
        meters[1].give_back("bob")
        assert meters[0].take("bob").left == 9


def test_processes_that_count_at_once_pass_the_rate_by_what_is_said_at_most() -> None:
    """And not by their number: a rate of each would let through three times as many."""
    own = memory.share("memory:", PROCESSES)
    read, written = os.pipe()
    for number in range(PROCESSES):
        if os.fork() == 0:
            meter = own(Seat(number, PROCESSES, first=number == 0)).limit(
                "default", Rate.parse("1000/h")
            )
            counted = sum(meter.take("ann").counted for _ in range(CALLS))
            os.write(written, b"%d " % counted)
            os._exit(0)
    for _ in range(PROCESSES):
        os.wait()
    told = [int(text) for text in os.read(read, 1_024).split()]
    os.close(read)
    os.close(written)
    assert len(told) == PROCESSES
    assert 1_000 <= sum(told) < 2_000


def test_flooding_the_table_resets_nobody() -> None:
    (limits,) = crew(1, keys=1_024)
    meter = limits.limit("anonymous", Rate.parse("5/m"))
    assert isinstance(meter, SharedLimiter)
    now_s = 10.0
    while meter.take_at("abuser", now_s).counted:
        pass
    for i in range(20_000):
        now_s += 0.0001
        meter.take_at(f"flood {i}", now_s)
        assert i % 500 or not meter.take_at("abuser", now_s).counted
    assert len(meter) == 2_048
    # A new key under flood shares what its bucket has for a crowd: the flood is held to a bound.
    late = sum(meter.take_at(f"late {i}", now_s).counted for i in range(10_000))
    assert late <= 256 * 5
    now_s += 61
    assert [meter.take_at("abuser", now_s).counted for _ in range(6)] == [True] * 5 + [False]

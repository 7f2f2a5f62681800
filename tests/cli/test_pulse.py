"""Signs of life of the processes of a crew: who is taken for frozen, and who is not."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mainspring.cli import pulse as pulses
from mainspring.cli.pulse import BLOCKED_LOOKS, FROZEN_LOOKS, Pulse, Pulses, Silence

NUMBER = 1


@pytest.fixture
def pulse() -> Pulse:
    return Pulses(3).of(NUMBER)


@contextlib.contextmanager
def traced(pid: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a debugger hold a process."""
    with monkeypatch.context() as patched:
        patched.setattr(pulses, "is_traced", lambda asked: asked == pid)
        yield


def test_who_beats_is_never_taken_for_frozen_and_who_does_not_is_once(pulse: Pulse) -> None:
    silence = Silence(pulse, os.getpid())
    for _ in range(3 * BLOCKED_LOOKS):
        pulse.beat()
        assert silence.look() is None
    assert [silence.look() for _ in range(FROZEN_LOOKS - 1)] == [None] * (FROZEN_LOOKS - 1)
    assert silence.look() == "nothing in it ran for 10 s"
    assert silence.look() is None  # it may take a while to end


def test_after_a_sleep_of_all_nobody_is_frozen(pulse: Pulse) -> None:
    """The parent did not look either: its looks count, and not what a clock says of them."""
    silence = Silence(pulse, os.getpid())
    for _ in range(10):
        for _ in range(FROZEN_LOOKS - 1):
            assert silence.look() is None
        pulse.beat()


def test_the_other_processes_beat_for_themselves_alone() -> None:
    crew = Pulses(3)
    silence = Silence(crew.of(NUMBER), os.getpid())
    for _ in range(FROZEN_LOOKS - 1):
        crew.of(0).beat()
        crew.of(2).beat()
        assert silence.look() is None
    assert silence.look() is not None


def test_who_is_held_by_a_debugger_has_all_the_time(
    pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence = Silence(pulse, os.getpid())
    with traced(os.getpid(), monkeypatch):
        for _ in range(3 * FROZEN_LOOKS):
            assert silence.look() is None
    assert [silence.look() for _ in range(FROZEN_LOOKS)][-1] is not None


def test_a_debugger_is_told_by_the_system() -> None:
    assert not pulses.is_traced(os.getpid())
    assert not pulses.is_traced(2**22 + 1)


async def test_code_that_blocks_the_loop_has_a_long_time(pulse: Pulse) -> None:
    silence = Silence(pulse, os.getpid())
    pulse.follow_loop()

    def beat_while_the_loop_is_blocked() -> list[str | None]:
        found = []
        for _ in range(BLOCKED_LOOKS):
            pulse.beat()
            found.append(silence.look())
        return found

    blocked = threading.Thread(target=lambda: looks.extend(beat_while_the_loop_is_blocked()))
    looks: list[str | None] = []
    blocked.start()
    blocked.join()  # on the loop, which so stands still
    assert looks[:-1] == [None] * (BLOCKED_LOOKS - 1)
    assert looks[-1] == "its event loop stood still for 300 s"

    before = pulse.beats()
    await asyncio.to_thread(pulse.beat)
    await asyncio.sleep(0)
    assert pulse.beats()[1] > before[1]


def test_a_beat_is_seen_by_the_parent_and_a_successor_goes_on(pulse: Pulse) -> None:
    for _ in range(2):
        silence = Silence(pulse, os.getpid())
        pid = os.fork()
        if pid == 0:
            pulse.beat()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert [silence.look() for _ in range(FROZEN_LOOKS)] == [None] * FROZEN_LOOKS
        assert silence.look() is not None

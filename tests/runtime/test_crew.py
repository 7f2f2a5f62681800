"""What the processes of a crew know of each other, and for how long it is believed."""

import os

import pytest

from mainspring.kernel.process_role import Seat
from mainspring.runtime.crew import OLD_S, TOLD_BYTES_MAX, CrewBoard, alone, share

QUEUES = {"bulk", "default"}
NOW_MS = 1_800_000_000_000


def in_a_process(own: CrewBoard, jobs: int) -> None:
    pid = os.fork()
    if pid == 0:
        for _ in range(jobs):
            own.done("bulk", NOW_MS)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_each_has_done_is_told_by_all() -> None:
    board = share(3, QUEUES)
    members = [board(Seat(number, 3)) for number in range(3)]
    for number, member in enumerate(members):
        in_a_process(member, number + 1)
    successor = board(Seat(0, 3))
    in_a_process(successor, 4)
    for member in (*members, successor):
        assert member.done_last_minute("bulk", NOW_MS + 59_000) == 10
        assert member.done_last_minute("default", NOW_MS) == 0
        assert member.done_last_minute("gone", NOW_MS) == 0
        assert member.done_last_minute("bulk", NOW_MS + 60_000) == 0


def test_what_fails_in_one_is_told_by_the_others_while_it_lives() -> None:
    board = share(2, QUEUES)
    one, other = (board(Seat(number, 2)) for number in range(2))
    assert (other.failing_elsewhere(0.0), other.alive(0.0)) == ([], 1)
    one.tell(["jobs: stuck"], 10.0)
    assert other.failing_elsewhere(10.0) == ["process 0: jobs: stuck"]
    assert one.failing_elsewhere(10.0) == []
    assert other.alive(10.0 + OLD_S) == 2
    one.tell([], 11.0)
    assert other.failing_elsewhere(11.0) == []
    one.tell(["jobs: stuck", "mails: stuck"], 12.0)
    assert len(other.failing_elsewhere(12.0)) == 2
    assert other.failing_elsewhere(12.1 + OLD_S) == []
    assert other.alive(12.1 + OLD_S) == 1


def test_what_is_told_is_cut_to_the_room_there_is() -> None:
    board = share(2, QUEUES)
    one, other = (board(Seat(number, 2)) for number in range(2))
    one.tell([f"{n}: {'é' * 100}" for n in range(100)], 0.0)
    told = other.failing_elsewhere(0.0)
    assert 10 < len(told) < 100
    assert len("".join(told).encode()) < 2 * TOLD_BYTES_MAX


@pytest.mark.parametrize("jobs", [0, 3])
def test_who_is_alone_tells_of_itself(jobs: int) -> None:
    board = alone(QUEUES)
    for _ in range(jobs):
        board.done("bulk", NOW_MS)
    assert board.done_last_minute("bulk", NOW_MS) == jobs
    assert (board.alive(0.0), board.failing_elsewhere(0.0)) == (1, [])

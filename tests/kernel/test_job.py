"""Jobs: enqueued with their own arguments, apart from how they are run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mainspring.kernel.call import SYSTEM, Call, Context
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.policy import PerKey, RatePerKey
from mainspring.kernel.service import Service
from mainspring.testing.clock import FakeClock, SeededEntropy

things = Service("things", doc="Things.")


@things.job(queue="bulk")
async def move(call: Call, queue: str, unique_key: int = 3) -> None:
    """Its arguments are named as options of a run are."""


def call() -> Call:
    context = Context(None, IdMaker(FakeClock(), SeededEntropy(1)), {}, {})  # type: ignore[arg-type]
    return Call(context, SYSTEM, now_ms=7, request_id="req_1")


def test_arguments_may_be_named_as_options_are() -> None:
    staged = call()
    staged.enqueue(move, queue="a door", unique_key=4)
    staged.enqueue(move.configure(queue="critical", run_at_ms=9, unique_key="k"), "a wall")
    first, second = staged.jobs
    assert (first.queue, first.run_at_ms, first.unique_key) == ("bulk", 7, None)
    assert first.args == '{"queue":"a door","unique_key":4}'
    assert (second.queue, second.run_at_ms, second.unique_key) == ("critical", 9, "k")
    assert second.args == '{"queue":"a wall","unique_key":3}'


def test_what_does_not_fit_is_refused_when_it_is_enqueued() -> None:
    with pytest.raises(TypeError):
        call().enqueue(move)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="priority is 0 to 9"):
        move.configure(priority=10)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"concurrency": PerKey("house", 2)}, "concurrency is per 'house'.*name one of door"),
        ({"rate": RatePerKey("house", "2/s")}, "rate is per 'house'.*name one of door, wall"),
        ({"rate": RatePerKey("door", "2/week")}, "its rate: '2/week' is not a rate"),
        ({"rate": RatePerKey("door", "2/s", burst=0)}, "a burst is one start or more, not 0"),
        ({"rate": RatePerKey("door", "2/s"), "coalesces": True}, "leave out coalesces= or rate="),
        (
            {"rate": RatePerKey("door", "2/s"), "concurrency": PerKey("wall", 2)},
            "concurrency per 'wall' and rate per 'door': both limits of a job are per one argument",
        ),
    ],
)
def test_limits_that_do_not_fit_the_job_are_refused(limits: dict[str, Any], why: str) -> None:
    with pytest.raises(Misdeclared, match=why):

        @Service("houses", doc="Houses.").job(**limits)
        async def paint(call: Call, door: str, wall: str) -> None: ...


def test_a_type_checker_sees_a_wrong_argument(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "from mainspring import Call, Service\n"
        "things = Service('things', doc='Things.')\n"
        "@things.job()\n"
        "async def move(call: Call, thing_id: str) -> None: ...\n"
        "async def right(call: Call) -> None:\n"
        "    call.enqueue(move, thing_id='x')\n"
        "    call.enqueue(move.configure(priority=1), thing_id='x')\n"
        "async def wrong(call: Call) -> None:\n"
        "    call.enqueue(move, thing_id=1)\n"
        "    call.enqueue(move, thing='x')\n"
        "    call.enqueue(move.configure(priority=1))\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(app)]
    said = subprocess.run(mypy, capture_output=True, text=True, check=False).stdout
    wrong = {int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line}
    assert wrong == {9, 10, 11}, said

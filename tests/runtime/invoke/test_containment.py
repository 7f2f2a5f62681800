"""Nothing that user code does reaches beyond itself: each kind of code, each way to fail."""

import asyncio
import io
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from structlog.dev import ConsoleRenderer

from mainspring.cli.logs import set_up
from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.job import Job, Snooze
from mainspring.kernel.operation import Operation
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.service import Service
from mainspring.runtime import supervisor
from mainspring.runtime.events import consumer_runner
from mainspring.runtime.invoke import containment
from mainspring.runtime.invoke.containment import (
    Escaped,
    Watchdog,
    attempt,
    contained_items,
    described,
)
from mainspring.runtime.jobs import workers
from mainspring.runtime.runtime import Runtime
from mainspring.runtime.supervisor import Supervisor
from mainspring.settings import LogSettings
from tests.cli.test_logs import entries
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import count, new_link, run
from tests.runtime.jobs.test_workers import enqueue, jobs_in, until

ONCE = RetryPolicy(max_attempts=1)


class Mute(Exception):
    """An error whose own text fails."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def deep() -> None:
    deep()


def raises(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


HOSTILE: dict[str, Callable[[], None]] = {
    "exit": lambda: sys.exit(3),
    "interrupt": raises(KeyboardInterrupt()),
    "generator exit": raises(GeneratorExit()),
    "cancelled": raises(asyncio.CancelledError()),
    "stop": raises(StopAsyncIteration()),
    "recursion": deep,
    "memory": raises(MemoryError()),
    "group": raises(ExceptionGroup("several", [ValueError("a"), TypeError("b")])),
    "base group": raises(BaseExceptionGroup("several", [SystemExit(1)])),
    "mute": raises(Mute()),
    "surrogate": raises(ValueError("half \ud800 a letter")),
    "nul": raises(ValueError("\0")),
    "megabytes": raises(ValueError("x" * 5_000_000)),
    "argument": raises(ValueError(Mute())),
}


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The log as a platform sets it up."""
    for module in (
        containment,
        consumer_runner,
        supervisor,
        workers,
    ):  # which keep their first logger
        monkeypatch.setattr(module, "log", structlog.get_logger())
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    set_up(LogSettings(), stream)
    yield stream
    root.handlers[:], root.level = before


HOWS = pytest.mark.parametrize("how", HOSTILE)


async def sound(runtime: Runtime) -> None:
    """The platform still answers, and its jobs and consumers move."""
    before = await count(runtime, links.HIT_COUNT)
    await new_link(runtime, f"after {before}")
    await enqueue(runtime, links.rescan, link_id="after")

    async def moved() -> bool:
        return await count(runtime, links.HIT_COUNT) == before + 2

    await until(runtime, moved)


@pytest.fixture
async def hostile(runtime: Runtime) -> AsyncIterator[Runtime]:
    async def misbehave(call: Call, how: str) -> None:
        HOSTILE[how]()
        await asyncio.sleep(0)

    job = Job("links.misbehave", misbehave, queue="bulk", retry=ONCE, timeout_s=5)
    job.attach(misbehave)
    runtime.jobs[job.name] = job
    await runtime.start()
    yield runtime
    await runtime.stop(1.0)


@HOWS
async def test_a_job_fails_alone_and_is_written_down(
    hostile: Runtime, how: str, lines: io.StringIO
) -> None:
    await enqueue(hostile, hostile.jobs["links.misbehave"], how=how)

    async def buried() -> bool:
        return bool(await jobs_in(hostile, "dead"))

    await until(hostile, buried)
    (dead,) = await jobs_in(hostile, "dead")
    assert dead.error
    assert len(dead.error) <= 2_000
    told = [entry for entry in entries(lines) if entry["message"] == "job_failed"]
    assert [(e["job"], e["name"], e["attempt"]) for e in told] == [(dead.id, dead.name, 1)]
    await sound(hostile)


async def test_a_job_that_cancels_its_task_fails_alone(hostile: Runtime) -> None:
    HOSTILE["itself"] = cancels_itself
    await enqueue(hostile, hostile.jobs["links.misbehave"], how="itself")

    async def buried() -> bool:
        return bool(await jobs_in(hostile, "dead"))

    await until(hostile, buried)
    del HOSTILE["itself"]
    assert (await jobs_in(hostile, "dead"))[0].error == "Escaped: it cancelled its own task"
    await sound(hostile)


rogue = Service("rogue", doc="Misbehaves as the name of a link says.")


@rogue.on("links.link.created", retry=ONCE)
async def misbehave(call: Call, event: links.LinkCreated) -> None:
    if event.slug in HOSTILE:
        HOSTILE[event.slug]()


@HOWS
@pytest.mark.parametrize("services", [[links.links, rogue]], ids=["rogue"])
async def test_a_consumer_fails_alone_and_its_event_is_set_aside(
    runtime: Runtime, how: str
) -> None:
    await runtime.start()
    await new_link(runtime, how)

    async def aside() -> bool:
        counted = await count(runtime, links.HIT_COUNT) == 1  # by the consumer that is sound
        return counted and bool(await jobs_in(runtime, "scheduled"))

    await until(runtime, aside)
    assert [job.name for job in await jobs_in(runtime, "scheduled")] == ["rogue.misbehave.again"]
    await sound(runtime)
    await runtime.stop(1.0)


@HOWS
@pytest.mark.parametrize("in_transaction", [False, True], ids=["unary", "transaction"])
async def test_an_operation_fails_alone_and_commits_nothing(
    runtime: Runtime, how: str, in_transaction: bool
) -> None:
    async def misbehave(call: Call, id: str) -> None:
        call.write(links.HITS.insert(links.Hit(call.new_id("hit"), id)))
        HOSTILE[how]()

    operation = Operation(
        "links.bad", "POST /v1/links/{id}:bad", misbehave, scope=None, in_transaction=in_transaction
    )
    operation.attach(misbehave)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever it is, it is no BaseException
        await run(runtime, operation, id="x")
    assert await count(runtime, links.HIT_COUNT) == 0
    await new_link(runtime, "after")


@HOWS
async def test_a_stream_fails_with_an_exception(how: str) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        HOSTILE[how]()

    stream = contained_items(items())
    assert await anext(stream) == 1
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever it is, it is no BaseException
        await anext(stream)


@HOWS
async def test_a_listener_cannot_turn_a_commit_into_a_failure(runtime: Runtime, how: str) -> None:
    heard: list[str] = []
    runtime.dispatcher.on_commit(lambda *_: HOSTILE[how]())
    runtime.dispatcher.on_commit(lambda call, events: heard.append(events[0].type.name))
    await new_link(runtime)
    assert heard == ["links.link.created"]


@HOWS
async def test_a_loop_that_fails_runs_again(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.runtime.supervisor.RESTART_FIRST_S", 0.0)
    runs, again = [], asyncio.Event()

    async def loop() -> None:
        runs.append(how)
        if len(runs) == 1:
            HOSTILE[how]()
        again.set()

    loops = Supervisor()
    loops.start("loop", loop)
    async with asyncio.timeout(DEADLINE_S):
        await again.wait()
    await loops.stop()
    assert runs == [how, how]


async def test_a_job_that_does_not_stop_at_its_limit_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(containment, "CANCEL_GRACE_S", 0.01)
    ended = asyncio.Event()

    async def stubborn() -> None:
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError, match="did not stop when it was told to"):
        await attempt(stubborn(), 0.01, "job stubborn")
    ended.set()


async def test_arguments_that_a_handler_changed_are_read_anew(runtime: Runtime) -> None:
    seen: list[list[str]] = []
    link = await new_link(runtime)

    async def grow(call: Call, names: list[str]) -> None:
        seen.append(list(names))
        names.append("mine")
        row = await call.one(links.BY_ID, id=link.id)
        if len(seen) == 1:
            await run(runtime, links.hit, id=link.id)
        call.write(links.LINKS.update(row, hits=row.hits + 1))

    job = Job("links.grow", grow, queue="bulk", retry=ONCE, timeout_s=5)
    job.attach(grow)
    runtime.jobs[job.name] = job
    await enqueue(runtime, job, names=["theirs"])
    await runtime.prepare()
    await runtime.run_due()
    assert seen == [["theirs"], ["theirs"]]


@pytest.mark.parametrize("delay_s", [float("nan"), float("inf"), -1.0, 1e300, "soon", None])
async def test_a_snooze_for_no_time_there_is_is_still_written_down(
    runtime: Runtime, delay_s: Any
) -> None:
    class Odd(Snooze):
        def __init__(self) -> None:
            Exception.__init__(self, "odd")
            self.delay_s = delay_s

    async def sleepy(call: Call) -> None:
        raise Odd

    job = Job("links.sleepy", sleepy, queue="bulk", retry=links.QUICK, timeout_s=5)
    job.attach(sleepy)
    runtime.jobs[job.name] = job
    await enqueue(runtime, job)
    await runtime.prepare()
    done = await runtime.run_due()
    assert [attempt.outcome for attempt in done.attempts] == ["snoozed"]


@pytest.mark.parametrize("progress", [object(), "half", float("nan"), 7, -1, b"\xff"])
async def test_odd_progress_of_one_job_costs_no_other_its_lease(
    runtime: Runtime, progress: object
) -> None:
    for _ in range(2):
        await enqueue(runtime, links.rescan, link_id="x")
    jobs = await runtime.workers.claim("bulk", 2)
    running = [(job, runtime.dispatcher.call(SYSTEM, request_id=job.id)) for job in jobs]
    running[0][1].progress = progress  # type: ignore[assignment]
    running[1][1].progress = 0.5
    await runtime.database.commit(runtime.workers.renewal(running))
    assert {job.progress for job in await jobs_in(runtime, "running")} == {None, 0.5}


async def test_what_holds_the_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    released = threading.Event()

    class Log:
        def error(self, event: str, **entry: Any) -> None:
            told.append({"event": event, **entry})
            released.set()

        def warning(self, event: str) -> None: ...

    async def spin() -> None:
        assert released.wait(10)  # blocks the loop until the line is there

    monkeypatch.setattr(containment, "log", Log())
    watchdog = Watchdog(blocked_s=0.05)
    watchdog.start()
    try:
        await attempt(spin(), 10, "job links.spin job_1 attempt 1")
    finally:
        watchdog.stop()
    assert told[0]["event"] == "loop_blocked"
    assert told[0]["task"] == "job links.spin job_1 attempt 1"
    assert any("spin" in frame for frame in told[0]["frames"])
    assert "loop_blocked" in ConsoleRenderer(colors=False)(None, "error", told[0])  # a terminal's


async def test_it_tells_how_late_the_loop_came_to_what_was_due() -> None:
    loop = asyncio.get_running_loop()
    late_s: list[float] = []
    told = asyncio.Event()

    def note(seconds: float) -> None:
        late_s.append(seconds)
        told.set()

    watchdog = Watchdog(late=note)
    watchdog.start()
    try:
        ends_s = loop.time() + containment.BEAT_S + 0.05
        while loop.time() < ends_s:
            pass  # what was due after BEAT_S is late by then
        async with asyncio.timeout(DEADLINE_S):
            await told.wait()
    finally:
        watchdog.stop()
    assert late_s[0] >= 0.04


def test_an_error_is_described_whatever_it_does() -> None:
    assert described(ValueError("x")) == "ValueError: x"
    assert described(Mute()) == "Mute (its text cannot be shown: SystemExit)"


async def test_a_real_cancellation_passes() -> None:
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(containment.contained(wait()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_escapes_is_told_as_a_defect() -> None:
    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(Escaped, match="it raised SystemExit: 3"):
        await containment.contained(leave())

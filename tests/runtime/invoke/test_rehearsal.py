"""A dry run: judged to the end by the handler and the database, and taken back on either engine."""

import asyncio

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.errors import ConcurrentUpdate
from mainspring.kernel.invocation import Outcome
from mainspring.kernel.operation import Operation
from mainspring.runtime.invoke.deadline import TimeLimit
from mainspring.runtime.runtime import Runtime
from tests.deadline import DEADLINE_S
from tests.runtime import links
from tests.runtime.invoke.test_dispatcher import EVENT_COUNT, JOB_COUNT, count, new_link, run


async def rehearse(runtime: Runtime, operation: Operation, **args: object) -> Outcome:
    call = runtime.dispatcher.call(SYSTEM, request_id="req_1")
    limit = TimeLimit(DEADLINE_S)
    return await limit.run(runtime.dispatcher.rehearse(operation, call, args, limit))


def declared(name: str, handler: object) -> Operation:
    operation = Operation(f"links.{name}", f"POST /v1/links:{name}", handler, scope=None)  # type: ignore[arg-type]
    operation.attach(handler)  # type: ignore[arg-type]
    return operation


async def test_nothing_stays_and_nobody_hears(runtime: Runtime) -> None:
    heard: list[object] = []
    runtime.dispatcher.on_commit(lambda _, events: heard.extend(events))

    async def everything(call: Call) -> None:
        call.write(links.LINKS.insert(links.Link(call.new_id("link"), "a", 0)))
        call.emit(links.LinkCreated("link_a", "a", 0))
        call.enqueue(links.rescan, link_id="link_a")
        call.enqueue(links.rescan, link_id="link_b")

    tried = await rehearse(runtime, declared("everything", everything))
    assert tried.staged is not None
    assert (tried.staged.rows, tried.staged.events, tried.staged.jobs) == (
        1, {"links.link.created": 1}, {"links.rescan": 2},
    )  # fmt: skip
    assert heard == []
    assert [await count(runtime, query) for query in (EVENT_COUNT, JOB_COUNT)] == [0, 0]
    outcome = await rehearse(runtime, links.create, new=links.NewLink(slug="a"))
    assert (outcome.status, outcome.etag) == (201, '"1"')
    await new_link(runtime)  # the slug is free


async def test_the_database_has_its_say(runtime: Runtime) -> None:
    link = await new_link(runtime)
    with pytest.raises(links.SlugTaken):
        await rehearse(runtime, links.create, new=links.NewLink(slug="a"))
    # Calls of others that commit at the same time are not touched.
    await asyncio.gather(
        *[run(runtime, links.hit, id=link.id) for _ in range(20)],
        *[rehearse(runtime, links.hit, id=link.id) for _ in range(20)],
        *[rehearse(runtime, links.number, id=link.id) for _ in range(20)],
    )
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 20
    assert await count(runtime, EVENT_COUNT) == 1


async def test_a_guard_that_fails_runs_it_again(runtime: Runtime) -> None:
    link = await new_link(runtime)
    overtaken = 0

    async def race(call: Call) -> int:
        nonlocal overtaken
        row = await call.one(links.BY_ID, id=link.id)
        if overtaken < most:
            overtaken += 1
            await run(runtime, links.hit, id=link.id)
        call.write(links.LINKS.update(row, hits=row.hits + 1))
        return row.hits + 1

    most = 1
    tried = await rehearse(runtime, declared("race", race))
    assert msgspec.json.decode(tried.body) == 2
    overtaken, most = 0, 1_000
    with pytest.raises(ConcurrentUpdate):
        await rehearse(runtime, declared("lose", race))


async def test_what_a_failure_keeps_it_keeps(runtime: Runtime) -> None:
    link = await new_link(runtime)
    with pytest.raises(links.Locked):
        await rehearse(runtime, links.lock, id=link.id)
    assert (await runtime.database.read(links.BY_ID, (link.id,)))[0].hits == 1

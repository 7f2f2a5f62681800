"""Raw operations and streams take the path of all others, whoever forwards them."""

import asyncio
from typing import Any

import msgspec
import pytest

from mainspring.kernel.authority import authorise
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import DeadlineExceeded, Forbidden, Invalid, KeyReused
from mainspring.kernel.invocation import Invocation
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import READER, Site
from tests.interfaces.notes import NewNote, NoteQuery

WRITER = Caller("key", "key_writer", scopes=frozenset({"notes:read", "notes:write"}))


async def new_note(site: Site) -> str:
    _, note = await site.ask("POST", "/v1/notes", {"title": "a"})
    return str(note["id"])


def call_of(operation: str, caller: Caller = WRITER, **parts: Any) -> Invocation:
    arguments = {name: parts.pop(name) for name in ("new", "query", "id") if name in parts}
    return Invocation(operation, arguments, caller, "req_1", **parts)


async def test_a_raw_operation_that_lost_a_race_runs_again(site: Site) -> None:
    path = f"/v1/notes/{await new_note(site)}"
    stamping = asyncio.create_task(site.ask("POST", f"{path}:stamp", {"title": "seen"}))
    async with asyncio.timeout(DEADLINE_S):
        await site.gates.entered.wait()
        await site.ask("PATCH", path, {"title": "b"})
        site.gates.opened.set()
        answer, body = await stamping
    assert (answer.status, body) == (201, b"version 3")
    assert (await site.ask("GET", path))[1]["title"] == "b seen"


async def test_a_raw_operation_that_writes_takes_a_key(site: Site) -> None:
    path = f"/v1/notes/{await new_note(site)}"
    site.gates.opened.set()
    first, body = await site.ask("POST", f"{path}:stamp", {"title": "x"}, Idempotency_Key="k")
    again, same = await site.ask("POST", f"{path}:stamp", {"title": "x"}, Idempotency_Key="k")
    assert (first.status, again.status, body, same) == (201, 200, b"version 2", b"version 2")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for name in ("Content-Type", "X-Stamp"):
        assert again.headers[name] == first.headers[name]
    other, problem = await site.ask("POST", f"{path}:stamp", {"title": "y"}, Idempotency_Key="k")
    assert (other.status, problem["code"]) == (422, "idempotency_key_reused")
    assert (await site.ask("GET", path))[1]["title"] == "a x"


async def test_a_streamed_answer_is_not_kept_and_its_call_not_repeated(site: Site) -> None:
    first, body = await site.ask("POST", "/v1/printouts", {"title": "p"}, Idempotency_Key="k")
    again, problem = await site.ask("POST", "/v1/printouts", {"title": "p"}, Idempotency_Key="k")
    assert (first.status, body) == (200, b"p")
    assert (again.status, problem["code"]) == (410, "idempotency_answer_gone")
    assert await site.count() == 1


async def test_a_stream_that_stages_something_fails_at_once(site: Site) -> None:
    answer, problem = await site.ask("GET", "/v1/scribbles")
    assert (answer.status, problem["code"]) == (500, "internal")
    assert await site.count() == 0


async def test_a_retry_through_another_interface_is_the_same_call(site: Site) -> None:
    _, note = await site.ask("POST", "/v1/notes", {"title": "once"}, Idempotency_Key="one")
    same = call_of("notes.create", new=NewNote(title="once"), idempotency_key="one")
    outcome = await site.invoker.invoke(same)
    assert outcome.replayed
    assert msgspec.json.decode(outcome.body) == note
    with pytest.raises(KeyReused):
        await site.invoker.invoke(
            call_of("notes.create", new={"title": "two"}, idempotency_key="one")
        )
    assert await site.count() == 1


async def test_the_owner_asks_for_the_scope_whatever_an_interface_asked(site: Site) -> None:
    reader = Caller("key", "key_reader", scopes=frozenset({"notes:read"}))
    with pytest.raises(Forbidden):
        await site.invoker.invoke(call_of("notes.create", reader, new={"title": "x"}))
    with pytest.raises(Forbidden):
        await site.invoker.open(call_of("notes.print_out", reader, new={"title": "x"}))
    authorise("notes:read", reader)
    answer, _ = await site.ask("PUT", "/v1/files/a", b"x", **READER)
    assert answer.status == 403
    assert await site.count() == 0


async def test_arguments_are_checked_whatever_they_come_as(site: Site) -> None:
    for wrong in ({"new": {"title": ""}}, {"new": {"titel": "x"}}, {"query": {"limit": 5}}):
        with pytest.raises(Invalid):
            await site.invoker.invoke(call_of("notes.create", **wrong))
    for query in ({"limit": "1"}, {"limit": 1}, NoteQuery(limit=1)):
        outcome = await site.invoker.invoke(call_of("notes.list_all", query=query))
        assert msgspec.json.decode(outcome.body)["items"] == []


async def test_a_call_whose_time_is_up_is_not_begun(site: Site) -> None:
    late = call_of("notes.create", new={"title": "late"}, deadline_s=0.0)
    with pytest.raises(DeadlineExceeded):
        await site.invoker.invoke(late)
    assert await site.count() == 0

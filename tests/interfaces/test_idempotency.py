"""Idempotency keys over HTTP: the table of the contract, row by row, and at once."""

import asyncio
from typing import Any

import msgspec

from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import READER, Site, Start
from tests.interfaces.notes import notes

NOTE = {"title": "once"}


async def make(site: Site, key: str, body: Any = None, path: str = "/v1/notes") -> tuple[Any, Any]:
    return await site.ask("POST", path, NOTE if body is None else body, Idempotency_Key=key)


async def test_a_repeated_call_has_one_effect_and_the_first_answer(site: Site) -> None:
    first, note = await make(site, "one")
    again, same = await make(site, '"one"')
    assert (first.status, again.status) == (201, 200)
    assert same == note
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert await site.count() == 1


async def test_other_statuses_are_replayed_unchanged(site: Site) -> None:
    _, note = await make(site, "one")
    path = f"/v1/notes/{note['id']}"
    gone = [await site.ask("DELETE", path, Idempotency_Key="bye") for _ in range(2)]
    assert [answer.status for answer, _ in gone] == [204, 204]
    assert gone[1][0].headers["Idempotency-Replayed"] == "true"


async def test_a_key_with_another_request_is_refused(site: Site) -> None:
    await make(site, "one")
    answer, problem = await make(site, "one", {"title": "other"})
    assert (answer.status, problem["code"]) == (422, "idempotency_key_reused")
    assert await site.count() == 1


async def test_the_same_arguments_are_the_same_request_however_they_are_written(
    site: Site,
) -> None:
    _, note = await make(site, "one")
    for body in (b'{"title": "once"}', b'{"tags":[],"title":"\\u006fnce"}'):
        answer, same = await site.ask("POST", "/v1/notes?", body, Idempotency_Key="one")
        assert (answer.status, same) == (200, note)
    assert await site.count() == 1


async def test_invalid_input_is_not_stored(site: Site) -> None:
    answer, _ = await make(site, "one", {"title": ""})
    assert answer.status == 422
    answer, _ = await make(site, "one")
    assert answer.status == 201


async def test_authorisation_comes_before_replay(site: Site) -> None:
    await make(site, "one")
    answer, _ = await site.ask("POST", "/v1/notes", NOTE, Idempotency_Key="one", **READER)
    assert answer.status == 403
    answer, _ = await site.ask(
        "POST", "/v1/notes", NOTE, Idempotency_Key="one", Authorization="Bearer none"
    )
    assert answer.status == 401


async def test_while_the_first_call_runs_the_second_is_told_to_wait(site: Site) -> None:
    first = asyncio.create_task(make(site, "one", path="/v1/gated"))
    async with asyncio.timeout(DEADLINE_S):
        await site.gates.entered.wait()
    answer, problem = await make(site, "one", path="/v1/gated")
    assert (answer.status, problem["code"]) == (409, "idempotency_in_flight")
    assert answer.headers["Retry-After"] == "1"
    site.gates.opened.set()
    assert (await first)[0].status == 201
    again, _ = await make(site, "one", path="/v1/gated")
    assert again.status == 200
    assert await site.count() == 1


async def test_two_hundred_calls_at_once_have_one_effect(site: Site) -> None:
    answers = await asyncio.gather(*(make(site, "one") for _ in range(200)))
    statuses = [answer.status for answer, _ in answers]
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    bodies = {msgspec.json.encode(body) for answer, body in answers if answer.status < 300}
    assert len(bodies) == 1
    assert await site.count() == 1


async def test_a_key_may_be_required(start: Start) -> None:
    site = await start(server={"idempotency_required": True})
    answer, problem = await site.ask("POST", "/v1/notes", NOTE)
    assert (answer.status, problem["code"]) == (400, "idempotency_key_required")
    assert (await make(site, "one"))[0].status == 201
    assert (await site.ask("GET", "/v1/notes"))[0].status == 200


async def test_a_key_that_is_none_is_malformed(site: Site) -> None:
    for key in ("x" * 256, '""', "é"):
        answer, problem = await make(site, key)
        assert (answer.status, problem["code"]) == (400, "malformed")
    assert await site.count() == 0


async def test_anonymous_callers_do_not_share_keys(site: Site) -> None:
    async def say(body: bytes) -> bytes:
        answer = await site.http.post(
            "/v1/anything", data=body,
            headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status == 200
        return await answer.read()

    assert [await say(b"1"), await say(b"2"), await say(b"1")] == [b"1", b"2", b"1"]


async def test_a_secret_is_replayed_and_never_kept_by_caches(site: Site) -> None:
    first, secret = await make(site, "one", path="/v1/secrets")
    again, same = await make(site, "one", path="/v1/secrets")
    assert (again.status, same) == (200, secret)
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-store"
    assert notes.operations["notes.make_secret"].secret


async def test_an_upload_is_replayed_by_its_digest(site: Site) -> None:
    async def put(body: bytes, media_type: str = "text/plain") -> tuple[Any, Any]:
        return await site.ask("PUT", "/v1/files/a", body, Content_Type=media_type,
                              Idempotency_Key="up")  # fmt: skip

    first, stored = await put(b"bytes")
    again, same = await put(b"bytes")
    other, _ = await put(b"others")
    renamed, _ = await put(b"bytes", "text/html")
    assert (first.status, again.status, other.status) == (201, 200, 422)
    assert renamed.status == 422
    assert same == stored
    assert len(site.stored()) == 1

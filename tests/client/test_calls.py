"""The clients against a real server: what they return, raise, and send again."""

import asyncio
import io
from typing import Any

import pytest

from mainspring.client import (
    AsyncClient,
    Client,
    Invalid,
    NotFound,
    NotSent,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from mainspring.services.users.api.structs import NewUser, User
from mainspring.testing import Platform
from tests.client.between import Between, Fault, answered
from tests.client.conftest import Either

BOOKS = {"name": "books", "fields": [{"name": "title", "type": "text", "required": True}]}


@pytest.fixture
async def _books(client: Either) -> None:
    await client(lambda c: c.records.create_collection(BOOKS))


@pytest.mark.usefixtures("_books")
async def test_records_are_made_read_changed_listed_and_deleted(client: Either) -> None:
    made = await client(lambda c: c.records.create("books", {"title": "Emma"}))
    assert (made["title"], made.etag) == ("Emma", '"1"')
    read = await client(lambda c: c.records.get("books", made["id"]))
    assert (read, read.etag) == (made, made.etag)
    changed = await client(
        lambda c: c.records.update("books", made["id"], {"title": "Persuasion"}, if_match=read.etag)
    )
    assert changed["title"] == "Persuasion"
    with pytest.raises(PreconditionFailed):
        await client(lambda c: c.records.delete("books", made["id"], if_match=read.etag))
    for number in range(4):
        await client(lambda c, n=number: c.records.create("books", {"title": f"book {n}"}))
    listed = await client.many(lambda c: c.records.list("books", sort="title", limit=2))
    assert [each["title"] for each in listed] == [
        "Persuasion", "book 0", "book 1", "book 2", "book 3",
    ]  # fmt: skip
    assert await client(lambda c: c.records.delete("books", made["id"])) is None
    with pytest.raises(NotFound) as refused:
        await client(lambda c: c.records.get("books", made["id"]))
    assert refused.value.request_id.startswith("req_")


async def test_structs_and_dicts_are_sent_and_structs_come_back(client: Either) -> None:
    new = NewUser(email="ada@example.com", password="correct horse battery")
    user = await client(lambda c: c.users.create(new))
    assert isinstance(user, User)
    other = {"email": "bob@example.com", "password": "correct horse battery"}
    await client(lambda c: c.users.create(other))
    found = await client.many(lambda c: c.users.list(email="ada@example.com"))
    assert [each.id for each in found] == [user.id]
    first = await client(lambda c: c.users.list().first())
    assert isinstance(first, User)
    with pytest.raises(Invalid) as refused:
        await client(lambda c: c.users.create({"email": "nobody"}))
    assert {each.pointer for each in refused.value.errors} == {"/password"}
    assert "/password" in str(refused.value)


async def test_a_value_in_a_path_is_one_segment(client: Either, path: Between) -> None:
    with pytest.raises(NotFound):
        await client(lambda c: c.users.get("../api_keys?x=1"))
    assert path.seen == ["GET /v1/users/..%2Fapi_keys%3Fx%3D1"]
    with pytest.raises(NotSent, match="id is empty"):
        await client(lambda c: c.users.get(""))


@pytest.mark.parametrize("after_bytes", [0, 40])
@pytest.mark.usefixtures("_books")
async def test_a_write_whose_answer_was_lost_has_one_effect(
    client: Either, path: Between, after_bytes: int
) -> None:
    path.faults.append(Fault("unanswered", after_bytes=after_bytes))
    path.faults.append(Fault("unsent"))
    made = await client(lambda c: c.records.create("books", {"title": "Emma"}))
    found = await client.many(lambda c: c.records.list("books"))
    assert [each["id"] for each in found] == [made["id"]]


async def test_what_may_fare_better_is_sent_again_and_no_more(
    client: Either, path: Between
) -> None:
    path.faults += [answered("503 Away"), answered("429 Slow", Retry_After="0")]
    await client(lambda c: c.users.list().first())
    assert len(path.seen) == 3
    path.faults += [answered("503 Away", Retry_After="0")] * 3
    with pytest.raises(Unavailable):
        await client(lambda c: c.users.list().first())
    assert len(path.seen) == 6
    path.faults.append(answered("429 Slow", Retry_After="3600"))  # too long to wait for here
    with pytest.raises(RateLimited) as refused:
        await client(lambda c: c.users.list().first())
    assert refused.value.headers["retry-after"] == "3600"
    assert len(path.seen) == 7
    path.faults.append(answered("500 Broken"))
    with pytest.raises(Exception, match="500"):
        await client(lambda c: c.users.list().first())
    assert len(path.seen) == 8


async def test_what_was_never_answered_can_be_asked_with_its_key(
    client: Either, path: Between
) -> None:
    path.faults += [Fault("unsent")] * 3
    new = {"email": "ada@example.com", "password": "correct horse battery"}
    with pytest.raises(Unreachable) as lost:
        await client(lambda c: c.users.create(new))
    keys = {_header(head, b"Idempotency-Key") for head in path.heads}
    assert keys == {lost.value.idempotency_key}
    user = await client(lambda c: c.users.create(new, idempotency_key=lost.value.idempotency_key))
    assert user.email == "ada@example.com"


async def test_a_session_is_renewed_once_for_all_who_need_it(
    platform: Platform, path: Between
) -> None:
    await platform.as_user("ada@example.com")
    async with AsyncClient(path.url, tries=1) as client:  # to renew is no try of the call
        with pytest.raises(Unauthenticated):
            await client.login("ada@example.com", "wrong password, this")
        user = await client.login("ada@example.com", "correct horse battery staple")
        platform.clock.move(16 * 60)  # access tokens hold for 15 minutes
        answers = await asyncio.gather(*[client.users.get_me() for _ in range(5)])
    assert {each.id for each in answers} == {user["id"]}
    assert path.seen.count("POST /v1/sessions/refresh") == 1


async def test_files_go_up_and_come_down_over_broken_connections(
    client: Either, path: Between
) -> None:
    kept = {"name": "scans", "fields": [{"name": "page", "type": "file"}]}
    await client(lambda c: c.records.create_collection(kept))
    made = await client(lambda c: c.records.create("scans", {}))
    content = bytes(range(256)) * 2_000
    path.faults.append(Fault("unanswered"))
    changed = await client(
        lambda c: c.records.upload_file("scans", made["id"], "page", io.BytesIO(content))
    )
    assert changed["page"]["size_bytes"] == len(content)
    path.faults.append(Fault("unanswered", after_bytes=100_000))
    pieces = await client.many(lambda c: c.records.get_file("scans", made["id"], "page"))
    assert b"".join(pieces) == content
    assert _header(path.heads[-1], b"Range").startswith("bytes=")


def test_what_is_not_said_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSPRING_URL", raising=False)
    assert repr(Client()) == "Client('http://127.0.0.1:8080')"
    monkeypatch.setenv("MAINSPRING_URL", "https://api.example/shop/")
    assert repr(Client()) == "Client('https://api.example/shop')"
    assert repr(Client("http://x")) == "Client('http://x')"


def test_neither_the_key_nor_a_password_is_shown() -> None:
    made: list[Any] = [Client("http://x", api_key="msk_secret"), AsyncClient("http://x")]
    assert [repr(each) for each in made] == ["Client('http://x')", "AsyncClient('http://x')"]
    for wrong in ("x.example", "ftp://x", "http://user:secret@x"):
        with pytest.raises(NotSent) as refused:
            Client(wrong)
        assert "secret" not in str(refused.value)


def _header(head: bytes, name: bytes) -> str:
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(name.lower() + b":")]
    return lines[0].partition(b":")[2].strip().decode() if lines else ""

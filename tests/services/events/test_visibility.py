"""What each scope and rule lets a caller read of the log, asked again while it lasts. Over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from mainspring import app, settings
from mainspring.services.audit.verify import verify
from tests.deadline import DEADLINE_S
from tests.services.webhooks.receiver import Receiver

PASSWORD = "a long enough password"


class Client:
    """Calls a platform as its administrator, or as whoever has a key or token."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self.session = session
        self.url = url
        self.key = key

    async def ask(self, method: str, path: str, body: object = None, *, as_: str = "") -> Any:
        status, answer = await self.status(method, path, body, as_=as_)
        assert status < 300, answer
        return answer

    async def status(
        self, method: str, path: str, body: object = None, *, as_: str = ""
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {as_ or self.key}"}
        async with self.session.request(
            method, self.url + path, json=body, headers=headers
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def make_key(self, *scopes: str) -> tuple[str, str]:
        made = await self.ask("POST", "/v1/api_keys", {"name": "k", "scopes": [*scopes]})
        return made["id"], made["key"]

    async def events(self, kinds: str, as_: str) -> list[Any]:
        found: list[Any] = (await self.ask("GET", f"/v1/events?type={kinds}", as_=as_))["items"]
        return found

    async def hook(self, receiver: Receiver, as_: str = "", **fields: object) -> str:
        new = {"url": receiver.url(), "types": ["*"], **fields}
        made: str = (await self.ask("POST", "/v1/webhooks", new, as_=as_))["id"]
        return made

    async def first(self, receiver: Receiver, hook: str) -> Any:
        """Have a test sent, and return what is the first to arrive."""
        await self.ask("POST", f"/v1/webhooks/{hook}:test")
        return (await receiver.next()).event

    async def note(self, **values: object) -> str:
        made: str = (await self.ask("POST", "/v1/collections/notes/records", values))["id"]
        return made


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    environ = {
        "MAINSPRING_PLATFORM__DATA_DIR": str(tmp_path / "data"),
        "MAINSPRING_DATABASE__URL": database_url,
        "MAINSPRING_SERVER__PORT": "0",
        "MAINSPRING_HTTP_CLIENT__ALLOW_PRIVATE_ADDRESSES": "true",
    }
    platform = await app.build(settings.load(app.sections(None), environ=environ))
    await platform.start()
    key = (tmp_path / "data/admin.key").read_text().strip()
    async with aiohttp.ClientSession() as session:
        found = Client(session, platform.url, key)
        await found.ask(
            "POST",
            "/v1/collections",
            {
                "name": "notes",
                "fields": [{"name": "text", "type": "text"}, {"name": "open", "type": "boolean"}],
                "rules": {"view": "record.open == true"},
            },
        )
        yield found
    await platform.drain(5.0)


@pytest.fixture
async def receivers() -> AsyncIterator[list[Receiver]]:
    found = [Receiver() for _ in range(3)]
    for receiver in found:
        await receiver.start()
    yield found
    for receiver in found:
        await receiver.stop()


async def placed(client: Client, event_subject: str) -> None:
    """Wait until an event about this has its place in the log."""
    async with asyncio.timeout(DEADLINE_S):
        while event_subject not in {e["subject"] for e in await client.events("*", client.key)}:
            pass


async def test_the_feed_shows_what_scopes_and_rules_let_a_caller_read(client: Client) -> None:
    secret, shown = await client.note(text="secret", open=False), await client.note(open=True)
    await client.ask("DELETE", f"/v1/collections/notes/records/{shown}")
    await placed(client, shown)
    _, feed_only = await client.make_key("events:read")
    _, reader = await client.make_key("events:read", "records:read")
    of_rule = await client.events("*", feed_only)
    assert [(e["type"], e["subject"]) for e in of_rule] == [
        ("records.record.created", shown), ("records.record.deleted", shown),
    ]  # fmt: skip
    assert {e["subject"] for e in await client.events("records.*", reader)} == {secret, shown}
    assert {e["type"] for e in await client.events("*", reader)} == {
        "records.record.created", "records.record.deleted",
    }  # fmt: skip
    # A filter finds nothing out that the page does not show.
    assert await client.events("*&filter=data.text%20==%20'secret'", feed_only) == []


async def test_old_values_are_shown_to_those_who_could_view_them(
    client: Client, receivers: list[Receiver]
) -> None:
    """At the feed, in a stream, through webhooks and filters, and whole or not at all in audit."""
    of_rule, of_scope, filtered = receivers
    _, plain = await client.make_key("events:read", "webhooks:write", "audit:read")
    _, reader = await client.make_key("events:read", "webhooks:write", "records:read")
    kinds = {"types": ["records.record.updated", "records.record.deleted"]}
    was_secret = "has(data.before) && data.before.text == 'secret'"
    hook = await client.hook(of_rule, plain, **kinds)
    await client.hook(of_scope, reader, **kinds)
    quiet = await client.hook(filtered, plain, **kinds, filter=was_secret)
    note = await client.note(text="secret", open=False)
    path = f"/v1/collections/notes/records/{note}"
    headers = {"Authorization": f"Bearer {plain}"}
    url = f"{client.url}/v1/events/stream?type=records.record.*"
    async with client.session.get(url, headers=headers) as response:
        stream = Stream(response)
        assert "position" in await stream.next()
        for change in ({"text": "told", "open": True}, {"text": "plain"}, {"text": "secret"}):
            await client.ask("PATCH", path, change)
        await client.ask("PATCH", path, {"text": "hidden", "open": False})
        await client.ask("PATCH", path, {"text": "new", "open": True})
        await client.ask("DELETE", path)
        streamed = [await stream.next() for _ in range(5)]
    updated = [None, {"text": "told"}, {"text": "plain"}, None]
    delivered = [(await of_rule.next()).event for _ in range(5)]
    fed = await client.events("records.record.*", plain)
    for told in (streamed, sorted(delivered, key=lambda e: e["seq"]), fed):
        before = [event["data"].get("before") for event in told]
        for old in before:
            (old or {}).pop("updated_at", None)
        assert before[:4] == updated
        assert (before[4]["id"], before[4]["text"], before[4]["open"]) == (note, "new", True)
    (first, *_) = [(await of_scope.next()).event for _ in range(6)]
    assert first["data"]["before"]["text"] in ("secret", "told", "plain", "hidden", "new")
    old = [
        e["data"]["before"]["text"] for e in await client.events("records.record.updated", reader)
    ]
    assert old == ["secret", "told", "plain", "secret", "hidden"]
    for question in (was_secret, f"!({was_secret})"):
        asked = await client.events(f"records.record.updated&filter={quote(question)}", plain)
        assert len(asked) == (0 if question is was_secret else 4)
    assert (await client.first(filtered, quiet))["type"] == "webhooks.endpoint.tested"
    assert (
        len(await client.events(f"records.record.updated&filter={quote(was_secret)}", reader)) == 2
    )
    page = await client.ask("GET", "/v1/audit/entries?type=records.record.updated", as_=plain)
    assert [entry["withheld"] for entry in page["items"]] == [True, False, False, True, True]
    assert hook != quiet


async def test_events_of_a_collection_that_is_gone_are_not_shown_by_its_successor(
    client: Client,
) -> None:
    await client.note(text="secret", open=False)
    await client.ask("DELETE", "/v1/collections/notes")
    again = {
        "name": "notes",
        "fields": [{"name": "text", "type": "text"}],
        "rules": {"view": "true"},
    }
    for _ in range(200):  # until its records are gone
        status, answer = await client.status("POST", "/v1/collections", again)
        if status == 201:
            break
    assert status == 201, answer
    made = await client.note(text="for all")
    await placed(client, made)
    _, feed_only = await client.make_key("events:read")
    assert {e["subject"] for e in await client.events("*", feed_only)} == {made}


async def test_the_audit_trail_withholds_what_the_caller_may_not_read(client: Client) -> None:
    secret = await client.note(text="secret", open=False)
    await placed(client, secret)
    _, auditor = await client.make_key("audit:read")
    page = await client.ask("GET", "/v1/audit/entries?type=records.record.*", as_=auditor)
    (entry,) = page["items"]
    assert (entry["type"], entry["withheld"], entry["event"]) == (
        "records.record.created", True, None,
    )  # fmt: skip
    proof = await client.ask("GET", f"/v1/audit/proofs/{entry['id']}", as_=auditor)
    assert proof["leaf"] == entry["leaf"]
    headers = {"Authorization": f"Bearer {auditor}"}
    async with client.session.get(f"{client.url}/v1/audit/export", headers=headers) as response:
        exported = await response.read()
    assert b"secret" not in exported
    report = verify(exported.splitlines(keepends=True))
    assert ([p.kind for p in report.problems], report.withheld) == (["withheld"], report.events)
    _, reader = await client.make_key("audit:read", "records:read")
    page = await client.ask("GET", "/v1/audit/entries?type=records.record.*", as_=reader)
    assert page["items"][0]["event"]["data"]["text"] == "secret"


async def test_a_webhook_is_sent_what_its_maker_may_read(
    client: Client, receivers: list[Receiver]
) -> None:
    plain, reading, admins = receivers
    writer_id, writer = await client.make_key("webhooks:write")
    _, reader = await client.make_key("webhooks:write", "records:read")
    plain_hook = await client.hook(plain, writer)
    reading_hook = await client.hook(reading, reader)
    await client.hook(admins)
    secret, shown = await client.note(text="secret", open=False), await client.note(open=True)
    seen = {(await reading.next()).event["subject"] for _ in range(2)}
    assert seen == {secret, shown}
    assert (await plain.next()).event["subject"] == shown
    # Nor does a replay send more, nor pointing at oneself what acts for somebody else.
    since = {"since": "2020-01-01T00:00:00Z"}
    await client.ask("POST", f"/v1/webhooks/{plain_hook}:replay", since, as_=writer)
    assert (await plain.next()).event["subject"] == shown
    taken = {"url": plain.url("/taken")}
    changed = await client.ask("PATCH", f"/v1/webhooks/{reading_hook}", taken, as_=writer)
    assert changed is None  # who may only write reads nothing
    assert (await client.ask("GET", f"/v1/webhooks/{reading_hook}"))["acts_for"] == writer_id
    await client.ask("POST", f"/v1/webhooks/{reading_hook}:replay", since, as_=writer)
    got = await plain.next()
    assert (got.path, got.event["subject"]) == ("/taken", shown)
    more = await client.note(text="secret", open=False)
    async with asyncio.timeout(DEADLINE_S):
        while (await admins.next()).event["subject"] != more:
            pass
    assert (await client.first(plain, plain_hook))["type"] == "webhooks.endpoint.tested"
    path = f"/v1/webhooks/{plain_hook}/deliveries"
    sent = (await client.ask("GET", path))["items"]
    # The test's own delivery is recorded a moment after it arrived.
    assert {d["type"] for d in sent} - {"webhooks.endpoint.tested"} == {"records.record.created"}


@pytest.mark.parametrize("waiting", [False, True], ids=["before", "retried"])
async def test_a_webhook_ends_with_the_key_that_made_it(
    client: Client, receivers: list[Receiver], waiting: bool
) -> None:
    mine, admins, _ = receivers
    key_id, key = await client.make_key("webhooks:write", "records:read")
    hook = await client.hook(mine, key, types=["records.*"])
    await client.hook(admins, types=["webhooks.endpoint.disabled", "records.*"])
    if waiting:
        mine.answer(500)
        waits = await client.note(text="first")
        assert (await mine.next()).event["subject"] == waits
        assert (await admins.next()).event["subject"] == waits
    count = mine.count
    await client.ask("DELETE", f"/v1/api_keys/{key_id}")
    after = await client.note(text="after")
    happened = [(await admins.next()).event for _ in range(2)]
    assert {e["subject"] for e in happened} == {after, hook}
    (ended,) = [e for e in happened if e["type"] == "webhooks.endpoint.disabled"]
    assert ended["data"]["reason"] == "actor_gone"
    shown = await client.ask("GET", f"/v1/webhooks/{hook}")
    assert (shown["enabled"], shown["disabled_reason"], shown["acts_for"]) == (
        False, "actor_gone", key_id,
    )  # fmt: skip
    # Whoever enables it is whom it acts for.
    enabled = await client.ask("PATCH", f"/v1/webhooks/{hook}", {"enabled": True})
    assert (enabled["disabled_reason"], enabled["acts_for"] != key_id) == (None, True)
    assert mine.count == count


class Stream:
    """An open stream of server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content

    async def next(self) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            while line := await self._content.readline():
                if line.startswith(b"data: "):
                    return json.loads(line[6:])
        return None


async def somebody(client: Client, *scopes: str) -> tuple[str, str]:
    """Sign somebody up with a role of these scopes; return their id and access token."""
    await client.ask("POST", "/v1/roles", {"name": "reading", "scopes": [*scopes]})
    new = {"email": "ada@example.com", "password": PASSWORD, "display_name": "Ada"}
    user = await client.ask("POST", "/v1/users", new)
    await client.ask("PATCH", f"/v1/users/{user['id']}", {"roles": ["reading"]})
    log_in = {"email": "ada@example.com", "password": PASSWORD}
    session = await client.ask("POST", "/v1/sessions", log_in)
    return user["id"], session["access_token"]


async def test_an_open_stream_shows_what_the_role_gives_now(client: Client) -> None:
    scopes = ["events:read", "users:read", "records:read", "events:personal"]
    user_id, token = await somebody(client, *scopes)
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{client.url}/v1/events/stream?type=users.user.updated,records.record.created"
    async with client.session.get(url, headers=headers) as response:
        stream = Stream(response)
        assert "position" in await stream.next()
        rename = {"display_name": "Ada L."}
        await client.ask("PATCH", f"/v1/users/{user_id}", rename)
        assert (await stream.next())["data"]["display_name"] == "Ada L."
        await client.ask("PATCH", "/v1/roles/reading", {"scopes": scopes[:2]})
        await client.note(text="secret", open=False)
        await client.ask("PATCH", f"/v1/users/{user_id}", {"display_name": "Ada M."})
        item = await stream.next()
        assert (item["type"], item["data"]["display_name"]) == ("users.user.updated", None)
        assert "display_name" in item["sealedfields"]
        await client.ask("PATCH", "/v1/roles/reading", {"scopes": ["users:read"]})
        await client.ask("PATCH", f"/v1/users/{user_id}", {"display_name": "Ada N."})
        assert await stream.next() is None


async def test_people_read_what_happened_to_themselves(client: Client) -> None:
    user_id, token = await somebody(client, "events:read")
    await placed(client, await client.note(open=False))  # and so all that came before it
    mine = await client.events("*", token)
    assert {"users.user.created", "users.user.updated", "users.session.created"} <= {
        e["type"] for e in mine
    }
    assert all(
        user_id in (e["subject"], e["data"].get("user_id"), e["data"].get("owner_id")) for e in mine
    )

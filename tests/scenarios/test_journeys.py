"""What somebody does with a platform from beginning to end: over HTTP, on both engines."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from mainspring.ports.mail import MailMessage
from mainspring.services.audit.verify import verify
from mainspring.testing import Client, Platform, Sent
from tests.testing.workshop import Switches, app

HOOK = "https://hook.example/in"
PASSWORD = "a violet in the snow"
TOKEN = re.compile(r"^[A-Za-z0-9_-]{43}$", re.MULTILINE)
DIARY = {
    "name": "diary",
    "fields": [
        {"name": "owner", "type": "text", "max": 40},
        {"name": "text", "type": "text", "max": 200},
        {"name": "public", "type": "boolean"},
    ],
    "rules": {
        "list": "record.public || record.owner == caller.id",
        "view": "record.public || record.owner == caller.id",
        "create": "record.owner == caller.id",
        "update": "record.owner == caller.id",
        "delete": "record.owner == caller.id",
    },
}


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.more)], ids=["alone", "three"])
async def platform(
    platform_server: str | None, request: pytest.FixtureRequest
) -> AsyncIterator[Platform]:
    """One process, or three that take the calls and the work in turns."""
    async with Platform(
        app, database=platform_server, sockets=True, processes=request.param,
        ports={Switches: Switches()},  # for all of them
    ) as platform:  # fmt: skip
        yield platform


async def sign_up(platform: Platform, email: str) -> Client:
    """Sign up, prove the address with the token that was mailed, and log in."""
    account = {"email": email, "password": PASSWORD}
    (await platform.anonymous.post("/v1/users", account)).expect(201)
    await platform.drain()
    token = token_in((await platform.mails(to=email))[-1])
    (await platform.anonymous.post("/v1/users:verify_email", {"token": token})).expect(204)
    return await log_in(platform, email, PASSWORD)


async def log_in(platform: Platform, email: str, password: str) -> Client:
    account = {"email": email, "password": password}
    tokens = (await platform.anonymous.post("/v1/sessions", account)).expect(201)
    assert tokens["user"]["email_verified"]
    return platform.as_bearer(tokens["access_token"])


def token_in(mail: MailMessage) -> str:
    found = TOKEN.search(mail.text)
    assert found is not None, mail.text
    return found[0]


def signed(sent: Sent, secret: str) -> bool:
    """Judge a delivery with the library that receivers use, at the time of the test's clock."""
    at = datetime.fromtimestamp(int(sent.headers["webhook-timestamp"]), UTC)
    wanted = Verifier(secret).sign(sent.headers["webhook-id"], at, sent.body.decode())
    return wanted in sent.headers["webhook-signature"].split(" ")


async def leaf_of(platform: Platform, event_id: str) -> Any:
    proof = (await platform.admin.get(f"/v1/audit/proofs/{event_id}")).expect(200)
    return proof["leaf"], proof["index"]


async def test_from_sign_up_to_erasure(platform: Platform) -> None:
    (await platform.admin.post("/v1/collections", DIARY)).expect(201)
    wanted = {"url": HOOK, "types": ["records.*", "users.user.erased"]}
    hook = (await platform.admin.post("/v1/webhooks", wanted)).expect(201)
    await platform.drain()

    ann = await sign_up(platform, "ann@example.com")
    bert = await sign_up(platform, "bert@example.com")
    me = (await ann.get("/v1/users/me")).expect(200)

    page = "/v1/collections/diary/records"
    entry = {"owner": me["id"], "text": "It snowed.", "public": False}
    mine = (await ann.post(page, entry, idempotency_key="entry 1")).expect(201)
    assert (await ann.post(page, entry, idempotency_key="entry 1")).expect(200) == mine
    assert (await bert.post(page, entry)).status == 403  # nobody writes in another's diary
    assert (await bert.get(f"{page}/{mine['id']}")).status == 404
    assert (await bert.get(page)).expect(200)["items"] == []
    assert [r["id"] for r in (await ann.get(page)).expect(200)["items"]] == [mine["id"]]

    read = await ann.get(f"{page}/{mine['id']}")
    shown = await ann.patch(f"{page}/{mine['id']}", {"public": True}, if_match=read.etag)
    assert shown.expect(200)["public"]
    late = await ann.patch(f"{page}/{mine['id']}", {"text": "lost"}, if_match=read.etag)
    assert late.status == 412
    assert (await bert.get(f"{page}/{mine['id']}")).expect(200)["text"] == "It snowed."

    platform.outgoing.clear()
    await platform.drain()
    told = [sent.json for sent in platform.outgoing]
    assert [event["type"] for event in told] == ["records.record.created", "records.record.updated"]
    assert all(signed(sent, hook["secret"]) for sent in platform.outgoing)
    assert not any(signed(sent, _other_secret()) for sent in platform.outgoing)

    (created,) = await platform.events("users.user.created", subject=me["id"])
    assert b"ann@example.com" in bytes(created.data)
    before = await leaf_of(platform, created.id)
    (await ann.delete("/v1/users/me?erase=true")).expect(204)
    assert (await ann.get("/v1/users/me")).status == 401
    await platform.drain()
    (forgotten,) = await platform.events("users.user.created", subject=me["id"])
    assert b"ann@example.com" not in bytes(forgotten.data)
    assert await leaf_of(platform, created.id) == before  # and the log still verifies
    assert await platform.mails(to="ann@example.com") == []
    assert platform.outgoing[-1].json["type"] == "users.user.erased"
    login = {"email": "ann@example.com", "password": PASSWORD}
    assert (await platform.anonymous.post("/v1/sessions", login)).status == 401


async def test_a_job_gets_through_a_failure_that_lasts(platform: Platform) -> None:
    operator = await platform.as_key("jobs:*")
    switches = platform.use(Switches)
    switches.failures = 4
    new = {"name": "workshop.sharpen", "args": {"tool_id": "tool_1"}, "unique_key": "tool_1"}
    job = (await operator.post("/v1/jobs", new)).expect(201)
    assert (await operator.post("/v1/jobs", {**new, "args": {}})).status == 422

    await platform.drain(failing=["workshop.sharpen"])
    waiting = (await operator.get(f"/v1/jobs/{job['id']}")).expect(200)
    assert (waiting["state"], waiting["attempts"]) == ("scheduled", 1)
    await platform.pass_time(hours=1, failing=["workshop.sharpen"])
    dead = (await operator.get("/v1/queues/default/dead")).expect(200)["items"]
    assert [(d["id"], d["attempts"], d["error"]) for d in dead] == [
        (job["id"], 3, "RuntimeError: the stone is dry")
    ]

    redriven = await operator.post("/v1/queues/default/dead:redrive", {})
    assert redriven.expect(200) == {"redriven": 1}
    await platform.pass_time(hours=1, failing=["workshop.sharpen"])  # the fourth failure
    done = (await operator.get(f"/v1/jobs/{job['id']}")).expect(200)
    assert (done["state"], done["error"]) == ("done", None)
    assert [event.type for event in await platform.events("jobs.*")] == ["jobs.queue.redriven"]


async def test_a_forgotten_password_is_replaced_and_ends_every_session(platform: Platform) -> None:
    ann = await sign_up(platform, "ann@example.com")
    elsewhere = await log_in(platform, "ann@example.com", PASSWORD)
    for email in ("ann@example.com", "nobody@example.com"):  # the answer does not tell
        asked = await platform.anonymous.post("/v1/users:request_password_reset", {"email": email})
        assert asked.expect(202) is None
    await platform.drain()
    assert await platform.mails(to="nobody@example.com") == []
    token = token_in((await platform.mails(to="ann@example.com"))[-1])
    reset = {"token": token, "password": "another flower, in spring"}
    (await platform.anonymous.post("/v1/users:reset_password", reset)).expect(204)
    assert (await platform.anonymous.post("/v1/users:reset_password", reset)).status == 422
    for client in (ann, elsewhere):
        assert (await client.get("/v1/users/me")).status == 401
    old = {"email": "ann@example.com", "password": PASSWORD}
    assert (await platform.anonymous.post("/v1/sessions", old)).status == 401
    fresh = await log_in(platform, "ann@example.com", reset["password"])
    assert (await fresh.get("/v1/users/me")).expect(200)["email"] == "ann@example.com"

    second = await platform.anonymous.post(
        "/v1/users:request_password_reset", {"email": "ann@example.com"}
    )
    second.expect(202)
    await platform.drain()
    mails = await platform.mails(to="ann@example.com")
    stale = token_in([mail for mail in mails if TOKEN.search(mail.text)][-1])  # others are notices
    await platform.pass_time(hours=2)
    late = {"token": stale, "password": "too late in the year"}
    assert (await platform.anonymous.post("/v1/users:reset_password", late)).status == 422


async def test_an_auditor_keeps_the_log_and_verifies_it_offline(platform: Platform) -> None:
    ann = await sign_up(platform, "ann@example.com")
    auditor = platform.admin
    key = (await auditor.get("/v1/audit/checkpoint")).expect(200)["key"]
    kept = (await auditor.get("/v1/audit/export")).body.splitlines(keepends=True)
    report = verify(kept, key)
    assert (report.ok, report.trusted, report.problems) == (True, True, [])
    assert report.events >= 4  # a key, and somebody who signed up, proved an address and logged in

    (await ann.delete("/v1/users/me?erase=true")).expect(204)
    await platform.drain()
    await platform.pass_time(minutes=1)
    later = (await auditor.get("/v1/audit/export")).body.splitlines(keepends=True)
    assert verify(later, key, older=kept).ok
    assert b"ann@example.com" not in b"".join(kept + later)

    at = next(i for i, line in enumerate(later) if b'"users.user.created"' in line)
    forged = [*later]
    forged[at] = later[at].replace(b'"users.user.created"', b'"users.user.deleted"')
    assert [problem.kind for problem in verify(forged, key).problems] == ["changed"]
    assert not verify([*later[:at], *later[at + 1 :]], key).ok


def _other_secret() -> str:
    return "whsec_" + base64.b64encode(bytes(24)).decode()

"""What callers see is the same, whatever processes and servers a platform is made of."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import aiohttp
import msgspec
import pytest

from mainspring.adapters.mail.sandbox import SandboxMail
from mainspring.services.audit.verify import verify
from tests.cli.site import Site, started
from tests.deadline import DEADLINE_S
from tests.scenarios.split import Split
from tests.services.webhooks.receiver import Receiver

PASSWORD = "a violet in the snow"
MINE = "record.owner == caller.id"
DIARY = {
    "name": "diary",
    "fields": [
        {"name": "owner", "type": "relation", "collection": "users", "stamp": "caller.user"},
        {"name": "text", "type": "text", "max": 200},
        {"name": "public", "type": "boolean", "default": False},
        {"name": "scan", "type": "file"},
    ],
    "rules": {
        "list": f"record.public || {MINE}",
        "view": f"record.public || {MINE}",
        "create": "true",
        "update": MINE,
        "delete": MINE,
    },
}
PAGES = "/v1/collections/diary/records"
SIGNED_UP = "/v1/events?type=users.user.created"
SCAN = b"%PDF-1.4\n" + bytes(range(256)) * 2_000
RECEIVES_HERE = {"http_client__allow_private_addresses": "true"}


class Ground(NamedTuple):
    """Where a platform is started, and what gives it real servers: a fixture's value by name."""

    folder: Path
    log: IO[bytes]
    server: Callable[[str], Any]

    @property
    def data(self) -> Path:
        """The platform's directory."""
        return self.folder / "data"

    def up(self, **settings: str) -> AbstractAsyncContextManager[Site]:
        """Run ``mainspring up``."""
        settings = {"platform__data_dir": str(self.data), **RECEIVES_HERE, **settings}
        return started(self.folder, self.log, "up", **settings)


def one_process_on_sqlite(ground: Ground) -> AbstractAsyncContextManager[Site]:
    return ground.up()


def three_processes_on_sqlite(ground: Ground) -> AbstractAsyncContextManager[Site]:
    return ground.up(platform__workers="3")


def one_process_on_postgresql(ground: Ground) -> AbstractAsyncContextManager[Site]:
    return ground.up(database__url=ground.server("postgres_url"))


@asynccontextmanager
async def one_serves_and_one_works(ground: Ground) -> AsyncIterator[Site]:
    url = ground.server("postgres_url")
    async with (
        ground.up(database__url=url, platform__role="serve") as serving,
        ground.up(database__url=url, platform__role="work") as working,
    ):
        yield serving
        assert await working.end() == 0


@asynccontextmanager
async def services_apart(ground: Ground) -> AsyncIterator[Site]:
    valkey, s3 = ground.server("shared_valkey"), ground.server("s3_server")
    engines = {
        "cache__url": valkey.url(),
        "limits__url": valkey.url(1),
        "bus__url": ground.server("kafka_server").url(ground.folder.name.replace("_", "-")),
        "blobs__url": f"s3://{s3.bucket}/apart",
        "blobs__endpoint": s3.endpoint,
        "blobs__access_key_id": s3.ACCESS_KEY,
        "blobs__secret_access_key": s3.SECRET_KEY,
    }
    url = ground.server("postgres_url")
    split = Split(ground.folder, ground.log, url, **engines, **RECEIVES_HERE)
    split.secure()
    async with AsyncExitStack() as parts:
        owners = [await parts.enter_async_context(start()) for start in (split.users, split.rest)]
        behind = [await parts.enter_async_context(start()) for start in (split.worker, split.relay)]
        gateway = await parts.enter_async_context(split.gateway())
        gateway.http.headers["Authorization"] = f"Bearer {split.key}"
        await gateway.until_ready(200)
        yield gateway
        assert [await part.end() for part in (*behind, *owners)] == [0] * 4


KAFKA_S = 4 * DEADLINE_S


@pytest.mark.parametrize(
    "start",
    [
        one_process_on_sqlite,
        three_processes_on_sqlite,
        pytest.param(one_process_on_postgresql, marks=pytest.mark.more),
        one_serves_and_one_works,
        pytest.param(
            services_apart,
            marks=[
                pytest.mark.more, pytest.mark.xdist_group("kafka"), pytest.mark.timeout(KAFKA_S)
            ],
        ),
    ],
    ids=lambda start: start.__name__,
)  # fmt: skip
async def test_a_day_with(
    start: Callable[[Ground], AbstractAsyncContextManager[Site]],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    receiver = Receiver()
    await receiver.start()
    try:
        with (tmp_path / "log").open("wb") as log:
            ground = Ground(tmp_path, log, request.getfixturevalue)
            async with start(ground) as site:
                await people_and_what_they_wrote(site, ground, receiver)
                assert await site.end() == 0
    finally:
        await receiver.stop()


class Person:
    """Somebody who calls, with a credential of their own or with none."""

    def __init__(self, site: Site, token: str | None = None) -> None:
        self._site = site
        self._own = {"Authorization": f"Bearer {token}"} if token else {}

    def request(
        self, method: str, path: str, **what: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send what aiohttp sends, as this person."""
        headers = {**self._own, **what.pop("headers", {})}
        return self._site.http.request(method, self._site.url + path, headers=headers, **what)

    async def fetch(self, path: str) -> bytes:
        """Return the bytes of an answer."""
        async with self.request("GET", path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def ask(
        self, method: str, path: str, body: object = None, *, status: int, **headers: str
    ) -> Any:
        """Return the body of an answer that has this status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.request(method, path, json=body, headers=named) as answer:
            said = msgspec.json.decode(await answer.read() or b"null")
            assert answer.status == status, said
            return said


async def sign_up(site: Site, ground: Ground, email: str) -> Person:
    """Sign up, prove the address with the token that was mailed, and log in."""
    nobody = Person(site)
    account = {"email": email, "password": PASSWORD}
    await nobody.ask("POST", "/v1/users", account, status=201)
    token = re.search(r"^[A-Za-z0-9_-]{43}$", await mailed(ground, email), re.MULTILINE)
    assert token is not None
    await nobody.ask("POST", "/v1/users:verify_email", {"token": token[0]}, status=204)
    tokens = await nobody.ask("POST", "/v1/sessions", account, status=201)
    assert tokens["user"]["email_verified"]
    return Person(site, tokens["access_token"])


async def mailed(ground: Ground, email: str) -> str:
    """Wait until somebody was sent something, and return it."""
    sandbox = SandboxMail(ground.data / "mail")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for mail in await sandbox.sent():
                if mail.to == email:
                    return mail.text


async def people_and_what_they_wrote(site: Site, ground: Ground, receiver: Receiver) -> None:
    # Whoever calls says who it is.
    admin = Person(site, site.http.headers.pop("Authorization").removeprefix("Bearer "))
    await admin.ask("POST", "/v1/collections", DIARY, status=201)
    wanted = {"url": receiver.url(), "types": ["records.*", "users.user.erased"]}
    hook = await admin.ask("POST", "/v1/webhooks", wanted, status=201)

    ann = await sign_up(site, ground, "ann@example.com")
    bert = await sign_up(site, ground, "bert@example.com")
    page = await _a_page_of(ann, bert)
    told = [await receiver.next() for _ in range(2)]
    for delivery in told:
        delivery.verify(hook["secret"])
    # Each is delivered by itself: which comes first is not promised.
    assert {delivery.event["type"] for delivery in told} == {
        "records.record.created", "records.record.updated"
    }  # fmt: skip
    await _a_file_for(ann, page)
    await _the_log_of(admin, ann)
    # The file, and what pointed at her, in the order they come to be delivered.
    while (kind := (await receiver.next()).event["type"]) != "users.user.erased":
        assert kind == "records.record.updated"
    # The mail went with the person, as did what the log said of her.
    sandbox = SandboxMail(ground.data / "mail")
    async with asyncio.timeout(DEADLINE_S):
        while "ann@example.com" in {mail.to for mail in await sandbox.sent()}:
            pass
    login = {"email": "ann@example.com", "password": PASSWORD}
    await Person(site).ask("POST", "/v1/sessions", login, status=401)
    assert (await bert.ask("GET", PAGES, status=200))["items"][0]["text"] == "It snowed."


async def _a_page_of(ann: Person, bert: Person) -> str:
    """Write a page under rules, once for its key, and change it; return its path."""
    entry = {"text": "It snowed."}
    mine = await ann.ask("POST", PAGES, entry, status=201, Idempotency_Key="page 1")
    again = await ann.ask("POST", PAGES, entry, status=200, Idempotency_Key="page 1")
    assert again == mine
    page = f"{PAGES}/{mine['id']}"
    await bert.ask("GET", page, status=404)
    assert (await bert.ask("GET", PAGES, status=200))["items"] == []
    await bert.ask("PATCH", page, {"public": True}, status=404)
    await ann.ask("PATCH", page, {"text": 1}, status=422)
    await ann.ask("PATCH", page, {"public": True}, status=412, If_Match='"old"')
    await ann.ask("PATCH", page, {"public": True}, status=200)
    assert (await bert.ask("GET", page, status=200))["text"] == "It snowed."
    return page


async def _a_file_for(ann: Person, page: str) -> None:
    """Send a file for a page while somebody follows, and fetch it."""
    async with ann.request("GET", f"{PAGES}:stream") as stream:
        assert stream.status == 200, await stream.text()
        form = aiohttp.FormData({"record": "{}"})
        form.add_field("scan", SCAN, filename="scan.pdf", content_type="application/pdf")
        async with ann.request("PATCH", page, data=form) as answer:
            assert answer.status == 200, await answer.text()
        async with asyncio.timeout(DEADLINE_S):
            while page.rpartition("/")[2].encode() not in (line := await stream.content.readline()):
                assert line, "the stream ended"
    assert await ann.fetch(f"{page}/files/scan") == SCAN


async def _the_log_of(admin: Person, ann: Person) -> None:
    """Keep the log, have somebody erased from it, and verify what was kept and what is there."""
    key = (await admin.ask("GET", "/v1/audit/checkpoint", status=200))["key"]
    kept = await admin.fetch("/v1/audit/export")
    report = verify(kept.splitlines(keepends=True), key)
    assert (report.ok, report.problems) == (True, [])
    assert b"ann@example.com" in await admin.fetch(SIGNED_UP)
    await ann.ask("DELETE", "/v1/users/me?erase=true", status=204)
    await ann.ask("GET", "/v1/users/me", status=401)
    async with asyncio.timeout(DEADLINE_S):
        while b"ann@example.com" in await admin.fetch(SIGNED_UP):
            pass
    later = await admin.fetch("/v1/audit/export")
    older = kept.splitlines(keepends=True)
    assert verify(later.splitlines(keepends=True), key, older=older).ok

"""The platform's own work has queues of its own: whatever an app's jobs do, it does not wait."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import App, Call, Invalid, Service
from mainspring.app import services_of
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.job import PLATFORM_QUEUES, QUEUES
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

BACKLOG = 3_000
NOTES: dict[str, Any] = {
    "name": "notes",
    "fields": [{"name": "title", "type": "text", "max": 100}],
}
shop = Service("shop", doc="Its jobs hang until the test lets them go.")


class Door:
    """What they wait at."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.all_wait = asyncio.Event()

    async def wait(self) -> None:
        self.waiting += 1
        if self.waiting == len(QUEUES):
            self.all_wait.set()
        await self.open.wait()


@shop.job(public=True)
async def hang(call: Call) -> None:
    await call.use(Door).wait()


@shop.job(queue="bulk")
async def count(call: Call) -> None: ...


@shop.operation("POST /v1/shop:fill", scope=None)
async def fill(call: Call) -> None:
    for queue in QUEUES:
        for _ in range(3):
            call.enqueue(hang.configure(queue=queue, priority=9))
    for _ in range(BACKLOG):
        call.enqueue(count)


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    """One whose app has filled every queue that is open to it, ``bulk`` with 3,000 jobs."""
    door = Door()
    async with Platform(
        App("shop", services=[shop]),
        database=platform_server,
        settings={f"queues.{queue}": 1 for queue in QUEUES},
        ports={Door: door},
        running=True,
    ) as platform:
        await platform.as_user("ann@example.org")
        made = await platform.admin.post("/v1/collections", NOTES)
        made.expect(201)
        note = await platform.admin.post("/v1/collections/notes/records", {"title": "first"})
        note.expect(201)
        await platform.call(fill)
        async with asyncio.timeout(DEADLINE_S):
            await door.all_wait.wait()
        yield platform
        door.open.set()


async def test_a_schema_change_waits_for_no_job_of_the_app(platform: Platform) -> None:
    fields = [*NOTES["fields"], {"name": "stars", "type": "number", "default": 1}]
    change = {"fields": fields, "indexes": [["title"]]}
    (await platform.admin.request("PATCH", "/v1/collections/notes", change)).expect(200)

    async def ready() -> bool:
        shown = (await platform.admin.get("/v1/collections/notes")).expect(200)
        return bool(shown["ready"])

    await platform.until(ready)
    assert len(await platform.jobs(count, state="ready")) == BACKLOG


async def test_a_reset_mail_waits_for_no_job_of_the_app(platform: Platform) -> None:
    sent = len(await platform.mails("ann@example.org"))
    asked = {"email": "ann@example.org"}
    await platform.call("users.request_password_reset", asked)

    async def mailed() -> bool:
        return len(await platform.mails("ann@example.org")) > sent

    await platform.until(mailed)
    assert len(await platform.jobs(count, state="ready")) == BACKLOG


async def test_a_job_of_the_app_cannot_enter(platform: Platform) -> None:
    for queue in PLATFORM_QUEUES:
        own = Service("own", doc="Wants to.")

        @own.job(queue=queue)
        async def push_in(call: Call) -> None: ...

        said = rf"goes to the queue {queue!r}, which the platform keeps for itself: there are bulk"
        with pytest.raises(Misdeclared, match=said):
            services_of(App("own", services=[own]))
        with pytest.raises(Misdeclared, match=said):
            await platform.enqueue(hang.configure(queue=queue))
        with pytest.raises(Invalid, match="the platform keeps"):
            await platform.call("jobs.create_job", {"name": "shop.hang", "queue": queue})
        with pytest.raises(Misdeclared, match="cannot name a queue"):
            own.queue(queue, concurrency=1)

"""The members of a crew, each at an address of its own, so that a test chooses whom it asks.

They are whole platforms over what the processes of ``mainspring up --workers`` share; only that
they have one event loop between them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from mainspring.app import Instance, build, sections, share
from mainspring.kernel.process_role import Seat
from mainspring.kernel.user_app import App
from mainspring.settings import Flag, load
from tests.deadline import DEADLINE_S

Said = tuple[int, Any]


class Member(NamedTuple):
    """One of them, asked as the administrator unless it is as somebody else, or nobody ("")."""

    instance: Instance
    http: aiohttp.ClientSession
    admin: str

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str = "", as_: str | None = None
    ) -> Said:
        """Return the status and the answer."""
        headers = {"Idempotency-Key": key} if key else {}
        if credential := self.admin if as_ is None else as_:
            headers["Authorization"] = f"Bearer {credential}"
        async with self.http.request(method, path, json=body, headers=headers) as answer:
            return answer.status, msgspec.json.decode(await answer.read() or b"null")

    async def made(self, path: str, body: object) -> Any:
        """Ask for something to be made, and return it."""
        status, said = await self.ask("POST", path, body)
        assert status == 201, said
        return said


@asynccontextmanager
async def crew(
    folder: Path, database_url: str, size: int = 2, app: App | None = None, **settings: object
) -> AsyncIterator[list[Member]]:
    """Start so many over one database."""
    given = {
        "platform.data_dir": str(folder / "data"), "database.url": database_url, "server.port": 0,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }  # fmt: skip
    loaded = load(sections(app), flags=[Flag(path, path, value) for path, value in given.items()])
    own = share(loaded, size, app)
    async with AsyncExitStack() as stack:
        members: list[Member] = []
        for number in range(size):
            instance = await build(loaded, app, ports=own(Seat(number, size, first=number == 0)))
            await instance.start()
            stack.push_async_callback(instance.drain, 1.0)
            admin = (folder / "data" / "admin.key").read_text().strip()
            http = aiohttp.ClientSession(instance.url, timeout=aiohttp.ClientTimeout(DEADLINE_S))
            members.append(Member(instance, await stack.enter_async_context(http), admin))
        async with asyncio.timeout(DEADLINE_S):
            yield members

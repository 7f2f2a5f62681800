"""The bookshop of ``examples/``: every part of an app at work, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainspring.app import Platform, build, sections
from mainspring.cli.user_app import load_app
from mainspring.kernel.call import SYSTEM
from mainspring.runtime.scheduler import next_ms
from mainspring.settings import Flag, load

APP = Path(__file__).parents[2] / "examples" / "bookshop" / "app.py"
DEADLINE_S = 20.0


class Shop:
    """A running bookshop and a client with the admin key."""

    def __init__(self, platform: Platform, session: aiohttp.ClientSession) -> None:
        self.platform = platform
        self._session = session

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        url = self.platform.url + path
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            if answer.content_type.endswith("json"):
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    async def until(self, path: str, **expected: Any) -> Any:
        """Read until the fields are as expected, after each job or event that was taken."""
        async with asyncio.timeout(DEADLINE_S):
            board = self.platform.runtime.board
            with board.listen("local:finished", "local:consumed") as signal:
                while True:
                    signal.clear()
                    _, found = await self.call("GET", path)
                    if all(found[name] == value for name, value in expected.items()):
                        return found
                    await signal.wait()


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    app = load_app(str(APP))
    flags = [
        Flag("--data-dir", "platform.data_dir", str(tmp_path / "data")),
        Flag("--database", "database.url", database_url),
        Flag("--port", "server.port", 0),
    ]
    platform = await build(load(sections(app), flags=flags), app)
    await platform.start()
    key = (tmp_path / "data" / "admin.key").read_text().strip()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield Shop(platform, session)
    await platform.drain(5)


async def test_an_order_takes_stock_is_packed_and_counted(shop: Shop) -> None:
    status, book = await shop.call("POST", "/v1/books", {"title": "Emma", "price_cents": 900,
                                                         "stock": 3})  # fmt: skip
    assert status == 201
    status, order = await shop.call("POST", "/v1/book_orders", {"book_id": book["id"], "copies": 2})
    assert (status, order["total_cents"], order["state"]) == (201, 1800, "placed")
    await shop.until(f"/v1/book_orders/{order['id']}", state="packed")
    sales = await shop.until(f"/v1/books/{book['id']}/sales", copies=2)
    assert sales["revenue_cents"] == 1800
    _, left = await shop.call("GET", f"/v1/books/{book['id']}")
    assert left["stock"] == 1
    _, page = await shop.call("GET", "/v1/events?type=bookshop.*")
    assert [event["data"]["id"] for event in page["items"]] == [order["id"]]


async def test_the_last_copy_is_sold_once(shop: Shop) -> None:
    _, book = await shop.call("POST", "/v1/books", {"title": "Emma", "price_cents": 900,
                                                    "stock": 5})  # fmt: skip
    wanted = {"book_id": book["id"], "copies": 2}
    answers = await asyncio.gather(
        *(shop.call("POST", "/v1/book_orders", wanted) for _ in range(6))
    )
    assert sorted(status for status, _ in answers) == [201, 201, 409, 409, 409, 409]
    assert {body["code"] for status, body in answers if status == 409} == {"sold_out"}
    _, left = await shop.call("GET", f"/v1/books/{book['id']}")
    assert left["stock"] == 1


async def test_an_app_has_idempotency_and_validation_like_a_built_in_service(shop: Shop) -> None:
    new = {"title": "Persuasion", "price_cents": 700}
    key = {"Idempotency-Key": "once"}
    first, again = [await shop.call("POST", "/v1/books", new, **key) for _ in range(2)]
    assert (first[0], again[0]) == (201, 200)
    assert first[1] == again[1]
    status, problem = await shop.call("POST", "/v1/books", new)
    assert (status, problem["code"]) == (409, "title_taken")
    status, problem = await shop.call("POST", "/v1/books", {"title": "", "price_cents": -1})
    assert status == 422
    assert problem["errors"]
    status, _ = await shop.call("GET", "/v1/books/book_00000000000000000000000000")
    assert status == 404


async def test_the_schedule_restocks_what_is_scarce(shop: Shop) -> None:
    _, scarce = await shop.call("POST", "/v1/books", {"title": "Emma", "price_cents": 900,
                                                      "stock": 1})  # fmt: skip
    _, plenty = await shop.call("POST", "/v1/books", {"title": "Sanditon", "price_cents": 900,
                                                      "stock": 9})  # fmt: skip
    _, schedules = await shop.call("GET", "/v1/schedules")
    names = [s["job"] for s in schedules["items"]]
    assert "bookshop.reorder" in names
    monday = next_ms("0 6 * * 1", 0)
    assert monday == (4 * 24 + 6) * 3_600_000  # 5 January 1970 was a Monday
    call = shop.platform.runtime.dispatcher.call(SYSTEM, request_id="monday")
    call.enqueue(shop.platform.runtime.jobs["bookshop.reorder"])
    await shop.platform.runtime.dispatcher.commit(call)
    await shop.until(f"/v1/books/{scarce['id']}", stock=11)
    _, left = await shop.call("GET", f"/v1/books/{plenty['id']}")
    assert left["stock"] == 9


async def test_the_window_is_open(shop: Shop) -> None:
    assert await shop.call("GET", "/window/today") == (200, "Come in, we are open.\n")

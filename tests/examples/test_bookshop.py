"""The bookshop of ``examples/``: every part of an app at work, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mainspring.cli.user_app import load_app
from mainspring.testing import Platform

APP = Path(__file__).parents[2] / "examples" / "bookshop" / "app.py"


@pytest.fixture
async def shop(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(load_app(str(APP)), database=platform_server) as platform:
        yield platform


async def add(shop: Platform, title: str, stock: int) -> Any:
    book = {"title": title, "price_cents": 900, "stock": stock}
    return (await shop.admin.post("/v1/books", book)).expect(201)


async def read(shop: Platform, path: str) -> Any:
    return (await shop.admin.get(path)).expect(200)


async def test_an_order_takes_stock_is_sent_and_counted(shop: Platform) -> None:
    book = await add(shop, "Emma", stock=3)
    buyer = await shop.as_key("bookshop:order")
    order = await buyer.post("/v1/book_orders", {"book_id": book["id"], "copies": 2})
    placed = order.expect(201)
    assert (placed["total_cents"], placed["state"]) == (1800, "placed")
    await shop.drain()
    assert (await read(shop, f"/v1/book_orders/{placed['id']}"))["state"] == "sent"
    sales = await read(shop, f"/v1/books/{book['id']}/sales")
    assert (sales["copies"], sales["revenue_cents"]) == (2, 1800)
    assert (await read(shop, f"/v1/books/{book['id']}"))["stock"] == 1
    assert [event.subject for event in await shop.events("bookshop.*")] == [placed["id"]]


async def test_an_order_that_nobody_sends_is_cancelled_and_its_copies_are_back(
    shop: Platform,
) -> None:
    book = await add(shop, "Emma", stock=70)
    placed = (
        await shop.admin.post("/v1/book_orders", {"book_id": book["id"], "copies": 60})
    ).expect(201)
    await shop.drain(failing=["runtime.request"])
    assert (await read(shop, f"/v1/book_orders/{placed['id']}"))["state"] == "cancelled"
    assert (await read(shop, f"/v1/books/{book['id']}"))["stock"] == 70
    (refused,) = await shop.jobs("runtime.request", state="dead")
    assert refused.error == "JobFailed: delivery.send_parcels: too_heavy: Too heavy for a van"


async def test_a_quote_asks_the_delivery_service_as_whoever_calls(shop: Platform) -> None:
    book = await add(shop, "Emma", stock=3)
    path = f"/v1/books/{book['id']}/quote?copies=5"
    assert await read(shop, path) == {"books_cents": 4500, "delivery_cents": 900}
    reader = await shop.as_key("bookshop:read")
    refused = (await reader.get(path)).expect(403)
    assert refused["code"] == "ask_denied"
    assert refused["detail"] == "delivery.get_delivery_cost: this needs the scope delivery:read"


async def test_the_last_copy_is_sold_once(shop: Platform) -> None:
    book = await add(shop, "Emma", stock=5)
    wanted = {"book_id": book["id"], "copies": 2}
    answers = await asyncio.gather(*(shop.admin.post("/v1/book_orders", wanted) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert {a.json["code"] for a in answers if a.status == 409} == {"sold_out"}
    assert (await read(shop, f"/v1/books/{book['id']}"))["stock"] == 1


async def test_an_app_has_idempotency_and_validation_like_a_built_in_service(
    shop: Platform,
) -> None:
    new = {"title": "Persuasion", "price_cents": 700}
    first = await shop.admin.post("/v1/books", new, idempotency_key="once")
    again = await shop.admin.post("/v1/books", new, idempotency_key="once")
    assert first.expect(201) == again.expect(200)
    assert (await shop.admin.post("/v1/books", new)).expect(409)["code"] == "title_taken"
    wrong = await shop.admin.post("/v1/books", {"title": "", "price_cents": -1})
    assert {e["pointer"] for e in wrong.expect(422)["errors"]} == {"/title", "/price_cents"}
    assert (await shop.admin.get("/v1/books/book_00000000000000000000000000")).status == 404


async def test_the_schedule_restocks_what_is_scarce_on_mondays_at_six(shop: Platform) -> None:
    scarce, plenty = await add(shop, "Emma", stock=1), await add(shop, "Sanditon", stock=9)
    schedules = await read(shop, "/v1/schedules")
    assert "bookshop.reorder" in [schedule["job"] for schedule in schedules["items"]]
    assert shop.now == "2027-01-15T08:00:00.000Z"  # a Friday
    await shop.pass_time(days=2, hours=21, minutes=59)
    assert (await read(shop, f"/v1/books/{scarce['id']}"))["stock"] == 1
    await shop.pass_time(minutes=1)
    assert (await read(shop, f"/v1/books/{scarce['id']}"))["stock"] == 11
    assert (await read(shop, f"/v1/books/{plenty['id']}"))["stock"] == 9


async def test_the_window_is_open(shop: Platform) -> None:
    window = await shop.anonymous.get("/window/today")
    assert (window.status, window.text) == (200, "Come in, we are open.\n")

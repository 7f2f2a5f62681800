"""A small service whose events the tests send: orders, one of them with a personal field."""

from typing import Annotated

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.event import Personal
from mainspring.kernel.operation import Input
from mainspring.kernel.service import Service

shop = Service("shop", doc="Orders, for tests.")


class NewOrder(Input):
    total: int = 0
    note: str = ""
    email: str | None = None


@shop.event("shop.order.paid")
class OrderPaid(msgspec.Struct, frozen=True):
    id: str
    total: int
    note: str = ""


@shop.event("shop.buyer.named", person="id")
class BuyerNamed(msgspec.Struct, frozen=True):
    id: str
    email: Annotated[str, Personal]


@shop.operation("POST /v1/orders", scope="shop:write", status=201)
async def pay(call: Call, new: NewOrder) -> str:
    if new.email is not None:
        return call.emit(BuyerNamed(call.new_id("user"), new.email))
    return call.emit(OrderPaid(call.new_id("order"), new.total, new.note))


@shop.job(queue="notifications")
async def send_letter(call: Call) -> None:
    """Stands for a mail."""


@shop.operation("POST /v1/letters", scope="shop:write", status=202)
async def write_letter(call: Call) -> str:
    return call.enqueue(send_letter)

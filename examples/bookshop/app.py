"""A small bookshop on Mainspring: run it with ``mainspring up examples/bookshop/app.py``.

It shows each thing an app can have: operations, an invariant the database keeps (no copy is sold
twice), an event, a consumer, a job, a schedule, settings, a second service that the first one asks
and has do something, and a web app of another make mounted beside them.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mainspring import (
    App,
    Call,
    Conflict,
    Input,
    NotFound,
    Page,
    PageQuery,
    Query,
    RequestOutcome,
    Response,
    Service,
    Statement,
    Table,
)


class ShopSettings(msgspec.Struct, frozen=True):
    """``[bookshop]`` in mainspring.toml; ``MAINSPRING_BOOKSHOP__REORDER_AT`` in the environment."""

    reorder_at: int = 2  # copies left at which the weekly job orders more
    reorder_copies: int = 10


shop = Service(
    "bookshop",
    doc="Books, their stock and who ordered them.",
    migrations=Path(__file__).parent / "migrations",
    settings=ShopSettings,
)
delivery = Service("delivery", doc="What it costs to send books, and sending them.")
app = App("bookshop", services=[shop, delivery])


# What is stored


class Book(msgspec.Struct, frozen=True):
    id: str
    title: str
    price_cents: int
    stock: int
    version: int = 1


class Order(msgspec.Struct, frozen=True):
    id: str
    book_id: str
    copies: int
    total_cents: int
    state: str
    version: int = 1


class Sales(msgspec.Struct, frozen=True):
    book_id: str
    copies: int
    revenue_cents: int


BOOKS = Table("bookshop_books", Book, key=("id",))
ORDERS = Table("bookshop_orders", Order, key=("id",))
SALES = Table("bookshop_sales", Sales, key=("book_id",))
BOOK = Query("bookshop.book", f"SELECT {BOOKS.columns} FROM bookshop_books WHERE id = :id", BOOKS)
BOOKS_AFTER = Query(
    "bookshop.books_after",
    f"SELECT {BOOKS.columns} FROM bookshop_books WHERE id > :after ORDER BY id LIMIT :limit",
    BOOKS,
)
SCARCE = Query(
    "bookshop.scarce",
    f"SELECT {BOOKS.columns} FROM bookshop_books WHERE stock <= :stock",
    BOOKS,
    scans=True,
)
ORDER = Query(
    "bookshop.order", f"SELECT {ORDERS.columns} FROM bookshop_orders WHERE id = :id", ORDERS
)
SALES_OF = Query(
    "bookshop.sales_of", f"SELECT {SALES.columns} FROM bookshop_sales WHERE book_id = :id", SALES
)
# The stock is tested where it is changed: two orders at once cannot both take the last copy.
TAKE_COPIES = Statement(
    "bookshop.take_copies",
    "UPDATE bookshop_books SET stock = stock - :copies, version = version + 1 "
    "WHERE id = :id AND stock >= :copies",
)
PUT_BACK = Statement(
    "bookshop.put_back",
    "UPDATE bookshop_books SET stock = stock + :copies, version = version + 1 WHERE id = :id",
)
COUNT_SALE = Statement(
    "bookshop.count_sale",
    "INSERT INTO bookshop_sales (book_id, copies, revenue_cents) VALUES (:id, :copies, :cents) "
    "ON CONFLICT (book_id) DO UPDATE SET copies = bookshop_sales.copies + :copies, "
    "revenue_cents = bookshop_sales.revenue_cents + :cents",
)


# What may go wrong, and what happens


class TitleTaken(Conflict):
    """There is a book of this title."""

    code, title = "title_taken", "A book of this title is there already"


class SoldOut(Conflict):
    """Fewer copies are left than were asked for."""

    code, title = "sold_out", "Not enough copies left"


class TooHeavy(Conflict):
    """No van takes that many."""

    code, title = "too_heavy", "Too heavy for a van"


@shop.event("bookshop.order.placed")
class OrderPlaced(msgspec.Struct, frozen=True):
    id: str
    book_id: str
    copies: int
    total_cents: int


# What can be called


class NewBook(Input, frozen=True):
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    price_cents: Annotated[int, Meta(ge=0, le=1_000_000)]
    stock: Annotated[int, Meta(ge=0, le=10_000)] = 0


class NewOrder(Input, frozen=True):
    book_id: str
    copies: Annotated[int, Meta(ge=1, le=100)] = 1


class Copies(Input, frozen=True):
    copies: Annotated[int, Meta(ge=1, le=100)] = 1


class Parcels(Input, frozen=True):
    order_id: str
    copies: Annotated[int, Meta(ge=1)]


class Quote(msgspec.Struct, frozen=True):
    books_cents: int
    delivery_cents: int


@shop.operation("POST /v1/books", scope="bookshop:write", status=201, raises=(TitleTaken,))
async def create_book(call: Call, new: NewBook) -> Response[Book]:
    """Add a book."""
    book = Book(call.new_id("book"), new.title, new.price_cents, new.stock)
    call.write(BOOKS.insert(book, on_conflict=TitleTaken))
    return Response(book, etag=f'"{book.version}"')


@shop.operation("GET /v1/books/{id}", scope="bookshop:read", raises=(NotFound,))
async def get_book(call: Call, id: str) -> Response[Book]:
    """Show a book and how many copies are left."""
    book = await call.one(BOOK, id=id)
    return Response(book, etag=f'"{book.version}"')


@shop.operation("GET /v1/books", scope="bookshop:read")
async def list_books(call: Call, query: PageQuery) -> Page[Book]:
    """List the books, oldest first."""
    rows = await call.page(BOOKS_AFTER, after=query.cursor or "", limit=query.limit)
    return Page.of(rows, lambda book: book, lambda book: book.id)


@shop.operation(
    "POST /v1/book_orders", scope="bookshop:order", status=201, raises=(NotFound, SoldOut)
)
async def create_order(call: Call, new: NewOrder) -> Order:
    """Order copies of a book. Raises SoldOut and takes none when there are not enough."""
    book = await call.one(BOOK, id=new.book_id)
    order = Order(
        call.new_id("order"), book.id, new.copies, book.price_cents * new.copies, "placed"
    )
    call.write(
        TAKE_COPIES(id=book.id, copies=new.copies).expect(1, SoldOut),
        ORDERS.insert(order),
    )
    call.emit(OrderPlaced(order.id, order.book_id, order.copies, order.total_cents))
    call.enqueue(pack, order_id=order.id)
    return order


@shop.operation("GET /v1/book_orders/{id}", scope="bookshop:read", raises=(NotFound,))
async def get_order(call: Call, id: str) -> Order:
    """Show an order."""
    return await call.one(ORDER, id=id)


@shop.operation("GET /v1/books/{book_id}/sales", scope="bookshop:read")
async def get_sales(call: Call, book_id: str) -> Sales:
    """Tell what a book has sold."""
    return await call.find(SALES_OF, id=book_id) or Sales(book_id, 0, 0)


# A service asks another one: through its operation, as whoever calls, and never in its tables


@delivery.operation("GET /v1/delivery_cost", scope="delivery:read")
async def get_delivery_cost(call: Call, query: Copies) -> int:
    """Tell what it costs to send so many books, in cents: a parcel holds four."""
    return -(-query.copies // 4) * 450


@delivery.event("delivery.parcels.sent", subject="order_id")
class ParcelsSent(msgspec.Struct, frozen=True):
    order_id: str
    parcels: int


@delivery.operation("POST /v1/parcels", scope="delivery:write", status=201, raises=(TooHeavy,))
async def send_parcels(call: Call, new: Parcels) -> ParcelsSent:
    """Send books to whoever ordered them."""
    if new.copies > 50:
        raise TooHeavy()
    sent = ParcelsSent(new.order_id, -(-new.copies // 4))
    call.emit(sent)
    return sent


@shop.operation("GET /v1/books/{book_id}/quote", scope="bookshop:read", raises=(NotFound,))
async def get_quote(call: Call, book_id: str, query: Copies) -> Quote:
    """Tell what copies of a book cost, and what to have them sent."""
    book = await call.one(BOOK, id=book_id)
    return Quote(book.price_cents * query.copies, await call.ask(get_delivery_cost, query))


# What happens by itself


@shop.on("bookshop.order.placed")
async def count_sale(call: Call, order: OrderPlaced) -> None:
    """Count a sale, once per order however often the event comes."""
    call.write(COUNT_SALE(id=order.book_id, copies=order.copies, cents=order.total_cents))


# A change elsewhere is requested: after the commit, once, and a job hears how it ended.

shop.acts("delivery:write")


@shop.job(max_attempts=3)
async def pack(call: Call, order_id: str) -> None:
    """Pack an order and have it sent."""
    order = await call.one(ORDER, id=order_id)
    call.write(ORDERS.update(order, state="packed"))
    parcels = Parcels(order_id=order.id, copies=order.copies)
    call.as_service().request(send_parcels.then(note_sent), parcels)


@shop.job()
async def note_sent(call: Call, outcome: RequestOutcome) -> None:
    """Note that an order is sent; what nobody sends is cancelled, and its copies are put back."""
    parcels = msgspec.json.decode(outcome.arguments["new"], type=Parcels)
    order = await call.one(ORDER, id=parcels.order_id)
    if outcome.failure is None:
        call.write(ORDERS.update(order, state="sent"))
    elif order.state == "packed":
        call.write(
            ORDERS.update(order, state="cancelled"),
            PUT_BACK(id=order.book_id, copies=order.copies),
        )


@shop.job(queue="bulk")
async def reorder(call: Call) -> None:
    """Order more copies of what is about to sell out."""
    settings = call.use(ShopSettings)
    for book in await call.all(SCARCE, stock=settings.reorder_at):
        call.write(BOOKS.update(book, stock=book.stock + settings.reorder_copies))


shop.every("0 6 * * 1", reorder)  # Mondays at six, UTC


# An app of another make, behind the same gateway: any ASGI application does.


async def window(scope: Any, receive: Any, send: Any) -> None:
    """Show a greeting; in real life a FastAPI or Starlette app stands here."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Come in, we are open.\n"})


app.mount("/window", window)

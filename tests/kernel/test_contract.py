"""A contract apart from its handler: what it takes, and what is refused when they do not meet."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring import Call, Input, Response, Service, StreamItem, handles
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.operation import Kind
from mainspring.kernel.registry import Registry


class Book(msgspec.Struct, frozen=True):
    id: str


class Which(Input, frozen=True):
    limit: int = 10


def contracts() -> Service:
    books = Service("books", doc="Books.")

    @books.contract.operation("GET /v1/books/{book_id}", scope="books:read")
    async def get(call: Call, book_id: str) -> Response[Book]:
        """Show a book."""

    @books.contract.job(queue="bulk")
    async def dust(call: Call, shelf: str, queue: str = "x") -> None:
        """Dust a shelf."""

    return books


async def test_the_contract_has_the_words_and_the_handler_does_the_work() -> None:
    books = contracts()
    get, dust = books.operations["books.get"], books.jobs["books.dust"]

    @handles(get)
    async def show(call: Call, book_id: str) -> Response[Book]:
        return Response(Book(book_id))

    @handles(dust)
    async def clean(call: Call, shelf: str, queue: str = "x") -> None:
        shelves.append(shelf)

    shelves: list[str] = []
    Registry([books])
    call: Any = None
    assert (get.doc, get.path_params, get.response) == ("Show a book.", {"book_id": str}, Book)
    assert (await get(call, book_id="b")).body == Book("b")
    assert (await show(call, "b")).body == Book("b")  # the function stays what it is
    await dust(call, shelf="top")
    assert shelves == ["top"]
    assert dust.named(("top",), {"queue": "y"}) == {"shelf": "top", "queue": "y"}


async def test_one_decorator_does_both() -> None:
    books = Service("books", doc="Books.")

    @books.operation("GET /v1/books/{book_id}", scope=None)
    async def get(call: Call, book_id: str) -> Book:
        """Show a book."""
        return Book(book_id)

    Registry([books])
    call: Any = None
    assert await get(call, "b") == Book("b")


async def test_a_stream_is_a_plain_function_until_it_is_handled() -> None:
    books = Service("books", doc="Books.")

    @books.contract.stream("GET /v1/books/stream", scope=None)
    def follow(call: Call, query: Which) -> AsyncIterator[StreamItem]:
        """Follow the books."""

    @handles(follow)
    async def _follow(call: Call, query: Which) -> AsyncIterator[StreamItem]:
        yield StreamItem(b"{}")

    assert follow.kind is Kind.STREAM
    assert [item.data async for item in follow.handler(None, query=Which())] == [b"{}"]


def test_a_contract_without_a_handler_does_not_start() -> None:
    with pytest.raises(Misdeclared, match=r"test_contract.py:\d+: books.get is declared and has no "
                                          r"handler: write @handles\(get\)"):  # fmt: skip
        Registry([contracts()])


def test_a_module_that_attaches_the_handlers_is_imported_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shelves_api.py").write_text(
        "from mainspring import Call, Service\n"
        "service = Service('shelves', doc='Shelves.', handlers=('shelves_jobs',))\n"
        "@service.contract.job()\n"
        "async def dust(call: Call) -> None:\n"
        "    '''Dust.'''\n"
    )
    (tmp_path / "shelves_jobs.py").write_text(
        "from mainspring import Call, handles\n"
        "import shelves_api\n"
        "@handles(shelves_api.dust)\n"
        "async def dust(call: Call) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import shelves_api  # type: ignore[import-not-found]

    assert "shelves_jobs" not in sys.modules
    Registry([shelves_api.service])
    assert "shelves_jobs" in sys.modules


def test_two_handlers_are_refused_with_both_places() -> None:
    books = contracts()

    def attach() -> None:
        @handles(books.operations["books.get"])
        async def show(call: Call, book_id: str) -> Response[Book]:
            return Response(Book(book_id))

    attach()
    with pytest.raises(Misdeclared, match=r"test_contract.py:\d+: books.get has a handler already, "
                                          r"at test_contract.py:\d+: remove one"):  # fmt: skip
        attach()


def test_a_post_can_read() -> None:
    asked = Service("asked", doc="Takes questions in a body.")

    @asked.operation("POST /v1/asked", scope=None, reads=True)
    async def ask(call: Call, which: Which) -> Book:
        """Answer a question."""
        return Book("1")

    assert (ask.writes, ask.takes_body, ask.body_param) == (False, True, "which")
    with pytest.raises(Misdeclared, match=r"asked\.change: reads=True is for a question"):

        @asked.operation("PATCH /v1/asked", scope=None, reads=True)
        async def change(call: Call) -> None:
            """Change nothing."""

    with pytest.raises(Misdeclared, match=r"asked\.make: may_lag=True is for a unary operation"):

        @asked.operation("POST /v1/made", scope=None, may_lag=True)
        async def make(call: Call) -> None:
            """Go by what is old."""


def test_a_handler_that_takes_something_else_is_refused() -> None:
    get = contracts().operations["books.get"]
    told = r"parameters \(call, book_id\) at test_contract.py:\d+, and handled with \(call, id\)"
    with pytest.raises(Misdeclared, match=told):

        @handles(get)
        async def show(call: Call, id: str) -> Response[Book]:
            return Response(Book(id))

    with pytest.raises(Misdeclared, match="cannot be awaited"):

        @handles(get)
        def shown(call: Call, book_id: str) -> Response[Book]:
            return Response(Book(book_id))


CONTRACTS = """\
from collections.abc import AsyncIterator
import msgspec
from mainspring import Call, Page, RequestOutcome, Response, Service, StreamItem, handles
class Book(msgspec.Struct, frozen=True):
    id: str
books = Service("books", doc="Books.")
@books.contract.operation("GET /v1/books/{book_id}", scope=None)
async def get(call: Call, book_id: str) -> Response[Book]:
    '''Show a book.'''
@books.contract.stream("GET /v1/books/stream", scope=None)
def follow(call: Call) -> AsyncIterator[StreamItem]:
    '''Follow.'''
@books.contract.operation("POST /v1/books/{book_id}/lend", scope=None)
async def lend(call: Call, book_id: str) -> Response[Book]:
    '''Lend a book.'''
@books.contract.job()
async def lent(call: Call, outcome: RequestOutcome) -> None:
    '''Tell how lending went.'''
@books.contract.job()
async def dust(call: Call, shelf: str, queue: str = "x") -> None:
    '''Dust.'''
"""
RIGHT = """\
@handles(get)
async def right(call: Call, book_id: str) -> Response[Book]:
    call.enqueue(dust, shelf="top", queue="y")
    call.request(lend, book_id=book_id)
    call.as_service().request(lend.then(lent), book_id)
    return Response(Book(book_id))
@handles(follow)
async def right2(call: Call) -> AsyncIterator[StreamItem]:
    yield StreamItem(b"")
@handles(dust)
async def right3(call: Call, shelf: str, queue: str = "x") -> None: ...
async def right4(call: Call) -> Book:
    return (await get(call, book_id="b")).body
async def right5(call: Call) -> Book:
    return await call.as_service().ask(get, "a") or await call.ask(get, book_id="b")
"""
WRONG = [
    "@handles(get)\nasync def wrong(call: Call, book_id: int) -> Response[Book]: ...\n",
    "@handles(get)\nasync def wrong(call: Call, id: str) -> Response[Book]: ...\n",
    "@handles(get)\nasync def wrong(call: Call, book_id: str) -> Response[int]: ...\n",
    "@handles(get)\nasync def wrong(call: Call, book_id: str) -> Page[Book]: ...\n",
    "@handles(get)\ndef wrong(call: Call, book_id: str) -> Response[Book]: ...\n",
    "@handles(follow)\nasync def wrong(call: Call) -> None: ...\n",
    "@handles(dust)\nasync def wrong(call: Call, shelf: int, queue: str = '') -> None: ...\n",
    "async def wrong(call: Call) -> None:\n    await get(call, id='b')\n",
    "async def wrong(call: Call) -> None:\n    await call.ask(get, book_id=1)\n",
    "async def wrong(call: Call) -> None:\n    await call.ask(get, id='b')\n",
    "async def wrong(call: Call) -> None:\n    await call.ask(get)\n",
    "async def wrong(call: Call) -> None:\n    await call.ask(dust, shelf='top')\n",
    "async def wrong(call: Call) -> int:\n    return await call.ask(get, book_id='b')\n",
    "async def wrong(call: Call) -> None:\n    call.enqueue(dust, shelf=1)\n",
    "async def wrong(call: Call) -> None:\n    call.enqueue(get, book_id='b')\n",
    "async def wrong(call: Call) -> None:\n    call.request(lend, id='b')\n",
    "async def wrong(call: Call) -> None:\n    call.request(lend.then(lent), book_id=1)\n",
    "async def wrong(call: Call) -> None:\n    call.request(lend.then(dust), book_id='b')\n",
    "async def wrong(call: Call) -> None:\n    call.request(dust, shelf='top')\n",
]


def test_a_type_checker_holds_a_handler_to_its_contract(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    head = CONTRACTS + RIGHT
    named = [text.replace("wrong", f"wrong{n}") for n, text in enumerate(WRONG)]
    app.write_text(head + "".join(named))
    begins, at = [], head.count("\n") + 1
    for text in WRONG:
        begins.append(at)
        at += text.count("\n")
    said = checked(app)
    lines = {int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line}
    found = [max(b for b in [0, *begins] if b <= line) for line in lines]
    assert sorted(set(found)) == begins, said


def checked(app: Path) -> str:
    """What a strict type checker says of an app; a contract has no body."""
    options = ["--strict", "--disable-error-code=empty-body"]
    mypy = [sys.executable, "-m", "mypy", *options, "--cache-dir", str(app.parent), str(app)]
    return subprocess.run(mypy, capture_output=True, text=True, check=False).stdout

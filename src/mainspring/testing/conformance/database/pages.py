"""Pages: reads that end where the text gets too long, and tell whether there is more."""

from collections.abc import Sequence

from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.table import Query, Rows, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.testing.conformance.database.fixtures import (
    ENDLESS,
    THINGS,
    Opener,
    Thing,
    fails,
    made,
)

_LISTED = f"SELECT {THINGS.columns} FROM things WHERE name > :after ORDER BY name DESC LIMIT :limit"
LISTED = Query("things.listed", _LISTED, THINGS)
SCANNED = Query("things.scanned", _LISTED, THINGS, scans=True)
LENGTHS = Query("things.lengths", "SELECT size, name FROM things ORDER BY size", tuple,
                long=(False, True))  # fmt: skip


async def _ids(database: Database, limit: int, bytes_max: int) -> tuple[str, bool]:
    """Read a page both ways; return the ids on it and whether there is more."""
    values = ("", limit)
    pages = [await database.page(query, values, bytes_max) for query in (LISTED, SCANNED)]
    inside: list[Rows[Thing]] = []

    async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
        inside[:] = [await transaction.page(LISTED, values, bytes_max)]
        return (), NO_WAKES

    await database.transact(body)
    assert pages[0] == pages[1] == inside[0]
    return "".join(thing.id for thing in pages[0].items), pages[0].more


def _things(*names: str | None) -> list[Thing]:
    return [Thing("abcdefgh"[at], name, size=at) for at, name in enumerate(names)]


async def check_a_page_holds_what_fits(fresh: Opener) -> None:
    """Rows come in order while their text is within the bound, ids and names counted."""
    database = await made(fresh, *_things("4" * 9, "3" * 9, "2" * 9, "1" * 9))
    assert await _ids(database, 10, 1_000) == ("abcd", False)
    assert await _ids(database, 10, 40) == ("abcd", False)
    assert await _ids(database, 10, 39) == ("abc", True)
    assert await _ids(database, 10, 20) == ("ab", True)
    assert await _ids(database, 2, 1_000) == ("ab", False)  # its own LIMIT is the query's matter
    assert await _ids(database, 3, 20) == ("ab", True)


async def check_one_row_comes_however_long(fresh: Opener) -> None:
    """The first row is on the page whatever its length; what more there is is told rightly."""
    database = await made(fresh, *_things("3" * 500, "2" * 5, "1" * 500))
    assert await _ids(database, 10, 10) == ("a", True)
    assert await _ids(database, 1, 10) == ("a", False)
    await database.commit([THINGS.delete_unguarded(thing) for thing in _things("", "")])
    assert await _ids(database, 10, 10) == ("c", False)
    await database.commit([THINGS.delete_unguarded(thing) for thing in _things("", "", "")])
    assert await _ids(database, 10, 10) == ("", False)


async def check_a_page_counts_bytes(fresh: Opener) -> None:
    """Text counts as UTF-8, bytes as they are, numbers and nulls not at all."""
    database = await made(
        fresh,
        Thing("a", "\u00e4" * 10, size=2**60, ratio=0.1, flag=True),
        Thing("b", "\u00e4" * 9, body=b"\0" * 10),
        Thing("c", "1"),
    )
    assert await _ids(database, 10, 21) == ("a", True)
    assert await _ids(database, 10, 49) == ("a", True)
    assert await _ids(database, 10, 50) == ("ab", True)
    assert await _ids(database, 10, 52) == ("abc", False)


async def check_a_page_of_tuples(fresh: Opener) -> None:
    """A query of tuples says itself which columns are long."""
    database = await made(fresh, *_things("1" * 9, "2" * 9, "3" * 9))
    page = await database.page(LENGTHS, (), 20)
    assert (page.items, page.more) == ([(0, "1" * 9), (1, "2" * 9)], True)


async def check_a_page_leaves_no_read_open(fresh: Opener) -> None:
    """What was written after a page that ended early is seen by the next."""
    database = await made(fresh, *_things("2" * 50, "1" * 50))
    assert await _ids(database, 10, 10) == ("a", True)
    await database.commit([THINGS.insert(Thing("z", "9"))])
    assert await _ids(database, 10, 10) == ("z", True)
    await database.scrub()


async def check_a_page_over_its_budget_is_refused(fresh: Opener) -> None:
    """A page that scans is under the budget of scans."""
    database = await made(fresh)
    await fails(NeedsIndex, database.page(ENDLESS, (), 1_000))

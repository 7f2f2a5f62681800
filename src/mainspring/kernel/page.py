"""Keyset pages: what a list operation takes and answers."""

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

import msgspec

from mainspring.kernel.errors import Invalid
from mainspring.kernel.ids import is_id
from mainspring.kernel.operation import Input
from mainspring.kernel.table import Rows

R = TypeVar("R")
T = TypeVar("T")

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 500
PAGE_BYTES_MAX = 2 << 20  # of text read for one page; a single item may be longer

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_LIMIT_MAX, description="items on a page")]
Cursor = Annotated[
    str, msgspec.Meta(min_length=1, max_length=1024, description="next_cursor of a page before")
]


class PageQuery(Input, frozen=True):
    """Which page of a list."""

    limit: Limit = PAGE_LIMIT_DEFAULT
    cursor: Cursor | None = None

    def after_id(self, prefix: str, start: str = "") -> str:
        """Return the id that the page comes after in a list by ids; ``start`` for the first page.

        Raises Invalid for a cursor that no such list has given.
        """
        if not self.cursor:
            return start
        if not is_id(self.cursor, prefix):
            raise Invalid.at("/cursor", "is not a next_cursor of this list")
        return self.cursor


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items and where the next page starts; ``next_cursor`` is null on the last page."""

    items: list[T]
    next_cursor: str | None = None

    @staticmethod
    def of(rows: Rows[R], show: Callable[[R], T], place: Callable[[R], str]) -> "Page[T]":
        """Show rows of a query; the next page starts after the ``place`` of the last of them."""
        cursor = place(rows.items[-1]) if rows.more else None
        return Page([show(row) for row in rows.items], cursor)

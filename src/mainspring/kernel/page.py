"""Keyset pages: what a list operation takes and answers."""

from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 500

Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_LIMIT_MAX, description="items on a page")]
Cursor = Annotated[str, msgspec.Meta(max_length=1024, description="next_cursor of a page before")]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items and where the next page starts; ``next_cursor`` is null on the last page."""

    items: list[T]
    next_cursor: str | None = None

"""What a call reads through."""

from typing import Any, Protocol

from mainspring.kernel.table import Query, Rows


class Reader(Protocol):
    """What a call reads through: the database, or the transaction it runs inside."""

    async def read(self, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        """Return the rows of a query."""
        ...

    async def page(self, query: Query[Any], values: tuple[Any, ...], bytes_max: int) -> Rows[Any]:
        """Return the first rows of a query, as far as their text fits."""
        ...

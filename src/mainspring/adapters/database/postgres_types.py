"""What PostgreSQL's own types are is asked once by a process, not by each connection."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import asyncpg

# From here on types are a database's own. Below, the catalogue gives each its number by hand, and
# keeps it (PostgreSQL documentation, "System Catalog Initial Data", OID Assignment).
_FIRST_UNPINNED_OID = 12_000

known: dict[frozenset[int], Any] = {}  # by the numbers asked for: as many as statements differ


class _NoStatement(NamedTuple):
    """In place of the statement that asked: there was none, so none was overwritten."""

    name: str = "remembered"


class TypedConnection(asyncpg.Connection):
    """A connection that is told of the arrays of built-in types what another one has asked.

    The driver asks the catalogue for each set of array types it has not met on *this* connection,
    with a statement that takes the server 10 to 20 ms to plan: three times for a connection of
    ours. The method is the driver's own matter; test_postgres_types.py says when it has moved.
    """

    @property
    def transport(self) -> Any:
        """What carries it: the driver has no word for the options of a socket."""
        return self._transport  # type: ignore[attr-defined]

    async def _introspect_types(
        self,
        typeoids: Iterable[int],
        timeout: float | None,  # noqa: ASYNC109 -- the driver's
    ) -> tuple[Any, Any]:
        asked = frozenset(typeoids)
        if (types := known.get(asked)) is not None:
            return types, _NoStatement()
        types, statement = await super()._introspect_types(typeoids, timeout)  # type: ignore[misc]
        if max(asked) < _FIRST_UNPINNED_OID:
            known[asked] = types
        return types, statement

"""What stores that hold a projection have in common, whatever is asked of them.

An index is a projection of what a database holds: it can be thrown away and made again. It has a
*position*, which says up to where in the log it was brought, and each document a *version*, the
position that it is of: what is older never takes the place of what is newer, and what was deleted
leaves a mark, so that nothing late brings it back.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

ChangeT = TypeVar("ChangeT", contravariant=True)


class NoIndex(Exception):
    """There is no index of this name: it was never made, or is lost. It can be made again."""


class Projected(Protocol[ChangeT]):
    """Indexes of one platform. Every method but the first four raises Unavailable."""

    async def open(self, owner: str) -> None:
        """Begin: indexes are this owner's, and apart from any other's.

        A store that is away is no reason not to begin. Raises StartError for one that refuses us.
        """
        ...

    async def close(self) -> None:
        """Let go of what ``open`` took."""
        ...

    def away(self) -> str:
        """Say why nothing could be asked or written a moment ago; empty when it could."""
        ...

    def version(self) -> str:
        """Name the store and its version; empty where that is not known."""
        ...

    async def make(self, index: str, fields: Sequence[str]) -> None:
        """Make an index, empty and at position 0; one that is there is left as it is."""
        ...

    async def drop(self, index: str) -> None:
        """Remove an index; nothing being there is fine."""
        ...

    async def indexes(self) -> list[str]:
        """Name the indexes there are."""
        ...

    async def position(self, index: str) -> int:
        """Return up to where in the log it was brought. Raises NoIndex."""
        ...

    async def apply(
        self, index: str, changes: Sequence[ChangeT], position: int | None = None
    ) -> None:
        """Write changes, each unless there is a newer version, and then the position: durably.

        The position never goes back; None leaves it. Cut short, some of the changes are written
        and the position is not: the same again does no harm. Raises NoIndex.
        """
        ...

"""The search port: texts by id in named indexes, found by their words.

An index is a projection of what a database holds: it can be thrown away and made again. It has a
*position*, which says up to where in the log it was brought, and each document a *version*, the
position that it is of: what is older never takes the place of what is newer, and what was deleted
leaves a mark, so that nothing late brings it back.

Words are made by ``kernel.search_terms`` before they come here: adapters split texts at spaces, and
change nothing, so that all of them find the same.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from mainspring.kernel.search_terms import Term

HITS_MAX = 1_000  # given for one query
QUERY_S = 2.0  # that an engine may take for one query


class NoIndex(Exception):
    """There is no index of this name: it was never made, or is lost. It can be made again."""


class TooCommon(Exception):
    """So many documents have the words that putting them in order takes too long."""


class IndexChange(msgspec.Struct, frozen=True):
    """A document as it is from a version on: its words by field, or None where it is gone."""

    id: str
    version: int
    words: Mapping[str, str] | None


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """A document that has the words, and how well it fits: more is better, 0 where none is told."""

    id: str
    score: float = 0.0


class SearchQuery(msgspec.Struct, frozen=True):
    """What is looked for: each of the terms, in one of the fields that have a weight.

    In the order of ``relevance`` the best comes first. It is computed from how often words stand in
    all documents of an index, and so tells of them. ``newest`` is the order of ids, the last one
    first, and tells of nothing else. ``after`` is the last hit of the page before.
    """

    terms: Sequence[Term]
    weights: Mapping[str, float]
    order: Literal["relevance", "newest"]
    limit: int
    after: Hit | None = None


class SearchEngine(Protocol):
    """Indexes of one platform. Every method but the first four raises Unavailable."""

    async def open(self, owner: str) -> None:
        """Begin: indexes are this owner's, and apart from any other's.

        An engine that is away is no reason not to begin. Raises StartError for one that refuses us.
        """
        ...

    async def close(self) -> None:
        """Let go of what ``open`` took."""
        ...

    def away(self) -> str:
        """Say why nothing could be asked or written a moment ago; empty when it could."""
        ...

    def version(self) -> str:
        """Name the engine and its version; empty where that is not known."""
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
        self, index: str, changes: Sequence[IndexChange], position: int | None = None
    ) -> None:
        """Write changes, each unless there is a newer version, and then the position: durably.

        The position never goes back; None leaves it. Cut short, some of the changes are written
        and the position is not: the same again does no harm. Raises NoIndex.
        """
        ...

    async def query(self, index: str, query: SearchQuery, *, position: int = 0) -> list[Hit]:
        """Return the next hits, of the index as it is at this position or later.

        Raises NoIndex, TooCommon, and Unavailable where it is not there in time.
        """
        ...

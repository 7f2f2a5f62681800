"""The search port: texts by id in named indexes, found by their words.

An index is a projection with a position and versions, as ``ports.projection`` says.

Words are made by ``kernel.search_terms`` before they come here: adapters split texts at spaces, and
change nothing, so that all of them find the same.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from mainspring.kernel.search_terms import Term
from mainspring.ports.projection import NoIndex as NoIndex
from mainspring.ports.projection import Projected

HITS_MAX = 1_000  # given for one query
QUERY_S = 2.0  # that an engine may take for one query


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


class SearchEngine(Projected[IndexChange], Protocol):
    """Indexes of texts."""

    async def query(self, index: str, query: SearchQuery, *, position: int = 0) -> list[Hit]:
        """Return the next hits, of the index as it is at this position or later.

        Raises NoIndex, TooCommon, and Unavailable where it is not there in time.
        """
        ...

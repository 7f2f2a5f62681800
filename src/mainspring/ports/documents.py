"""The documents port: records as documents in a store that is asked in MongoDB's language.

An index is a projection with a position and versions, as ``ports.projection`` says. What is asked
was read before by ``services.records.documents``: a store is given nothing that writes, runs a
program or names another collection.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mainspring.ports.projection import NoIndex as NoIndex
from mainspring.ports.projection import Projected

QUESTION_S = 2.0  # that a store may take for one question
IDS_MAX = 1_000  # given for one question


class NotWhole(Exception):
    """The index lacks a document that the store refused to keep: nothing is answered by it."""


class NotSpoken(Exception):
    """The store does not know a part of the language, and says which."""


class TooSlow(Exception):
    """The answer takes more than ``QUESTION_S``."""


class AnswerTooLarge(Exception):
    """The answer is larger than was asked for."""


class DocumentChange(msgspec.Struct, frozen=True):
    """A document as it is from a version on, or None where it is gone."""

    id: str
    version: int
    document: Mapping[str, Any] | None


class IdQuestion(msgspec.Struct, frozen=True):
    """Whose ids are asked for: a filter, an order of paths with 1 or -1, and which of them.

    Without an order they come in that of their ids, after ``after``.
    """

    filter: Mapping[str, Any]
    order: Mapping[str, int]
    skip: int
    limit: int
    after: str | None = None


class DocumentStore(Projected[DocumentChange], Protocol):
    """Indexes of documents. What is asked is of the index as it is at a position or later.

    Asking raises NoIndex, also where the position is not there, and NotWhole, NotSpoken, TooSlow
    and Unavailable.
    """

    async def ids(self, index: str, question: IdQuestion, *, position: int = 0) -> list[str]:
        """Return the ids of documents that pass a filter."""
        ...

    async def pipeline(
        self,
        index: str,
        stages: Sequence[Mapping[str, Any]],
        *,
        bytes_max: int,
        position: int = 0,
    ) -> list[dict[str, Any]]:
        """Return what the stages make of all documents. Raises AnswerTooLarge."""
        ...

"""Records asked for in MongoDB's language by a store that speaks it, where it may answer.

A find is told ids only: each record is read from the database under the caller's rule, as it is
now, so that what is deleted, hidden or changed meanwhile is not shown. By a field that the caller
may not read in every record, or that is personal, it is not asked. A pipeline tells of all records,
and so is only for who may see all of every one. Whoever just wrote waits until the store has it.

What it cannot answer is ``Elsewhere``: for the language in memory where that has it all.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec

from mainspring import Call, Failure, Invalid, Unavailable
from mainspring.cel import ast, sql
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.ports.documents import (
    IDS_MAX,
    AnswerTooLarge,
    DocumentStore,
    IdQuestion,
    NoIndex,
    NotSpoken,
    NotWhole,
    TooSlow,
)
from mainspring.services.records import api, field_rights
from mainspring.services.records import documents as language
from mainspring.services.records.api.document_copies import DocumentsNotReady
from mainspring.services.records.document_copies import COPIES
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.lists import ListCondition, visible
from mainspring.services.records.store import DATA_COLUMN, RELATED, StoredRecord
from mainspring.services.records.store.indexes import BUILDING, READY, IndexRow
from mainspring.services.records.store.search import found_query

LOOKED_AT_MAX = 10_000  # ids for one page, of whose records the caller sees few
Document = dict[str, Any]
T = TypeVar("T")


class Elsewhere(Exception):
    """The store may not or cannot answer; ``failure`` says why, nothing where it is not asked."""

    def __init__(self, failure: Failure | None = None) -> None:
        super().__init__()
        self._failure = failure

    def said(self, refused: Invalid | None) -> Failure:
        """What is told to whoever asks for what only a store has."""
        failure = self._failure or refused
        assert failure is not None
        return failure


async def find(
    call: Call,
    found: CompiledCollection,
    find: api.FindQuery,
    matches: language.Matches | None,
    budget: language.Budget,
) -> tuple[list[Any], str | None]:
    """Documents from the first that is shown on, one more than are. Raises Elsewhere."""
    if call.offered(DocumentStore) is None:
        raise Elsewhere
    try:
        asked_for = language.passed_filter(find.filter, "/filter")
        asked_for |= language.passed_sort(find.sort, "/sort")
    except Invalid as refused:
        raise Elsewhere(refused) from None
    seen = await field_rights.sight(call, found)
    if any(name in found.personal or not seen.always(name) for name in asked_for):
        raise Elsewhere
    asked = await visible(call, found, None)
    if asked.condition is ast.FALSE:
        return [], None
    store, index = await _current(call, found)
    return await _found(call, found, find, matches, budget, asked, store, index)


async def _found(
    call: Call,
    found: CompiledCollection,
    find: api.FindQuery,
    matches: language.Matches | None,
    budget: language.Budget,
    asked: ListCondition,
    store: DocumentStore,
    index: IndexRow,
) -> tuple[list[Any], str | None]:
    """Ask for ids, and read those of records that are shown, until there are enough."""
    shown: list[Document] = []
    whole = asked.condition == ast.TRUE  # then the store skips
    passing = 0 if whole else find.skip
    question = IdQuestion(
        find.filter, find.sort, find.skip if whole else 0,
        min(IDS_MAX, passing + find.limit + 1), find.cursor,
    )  # fmt: skip
    looked = 0
    while True:
        ids = await _asked(store.ids(index.id, question, position=index.applied))
        for document in await _read(call, found, asked, ids, matches, budget):
            if passing:
                passing -= 1
            else:
                shown.append(document)
        if len(shown) > find.limit or len(ids) < question.limit:
            return shown, None
        looked += len(ids)
        if looked >= LOOKED_AT_MAX:
            if not shown or find.sort:
                raise Elsewhere(_too_slow())
            return shown, shown[-1]["id"]
        skip, after = (question.skip + len(ids), None) if find.sort else (0, ids[-1])
        question = msgspec.structs.replace(question, skip=skip, after=after, limit=IDS_MAX)


async def _read(
    call: Call,
    found: CompiledCollection,
    asked: ListCondition,
    ids: list[str],
    matches: language.Matches | None,
    budget: language.Budget,
) -> list[Document]:
    """The records with these ids that the caller may see and that pass as they are now."""
    condition = sql.fragment(asked.condition, DATA_COLUMN, related=RELATED)
    statement = found_query((condition.sqlite, condition.postgres))
    rows: list[StoredRecord] = []
    left = ids
    while left:
        page = await call.page(
            statement, limit=len(left), collection=found.id,
            ids=msgspec.json.encode(left).decode(), **condition.params,
        )  # fmt: skip
        rows += page.items
        left = left[left.index(page.items[-1].id) + 1 :] if page.more else []
    records = [found.read(row.data, row.schema_version) for row in rows]
    shown = await field_rights.readable(call, found, records)
    documents = [{"_id": one["id"], **one} for one in shown]
    if matches is None:
        return documents
    return await asyncio.to_thread(lambda: [one for one in documents if matches(one, budget)])


async def aggregate(
    call: Call, found: CompiledCollection, pipeline: list[dict[str, Any]]
) -> list[Any]:
    """What a pipeline makes of all records. Raises Elsewhere."""
    if call.offered(DocumentStore) is None:
        raise Elsewhere
    try:
        language.require_passed(pipeline, "/pipeline")
    except Invalid as refused:
        raise Elsewhere(refused) from None
    seen = await field_rights.sight(call, found)
    asked = await visible(call, found, None)
    if not seen.whole or asked.condition != ast.TRUE:
        raise Elsewhere
    store, index = await _current(call, found)
    return await _asked(
        store.pipeline(index.id, pipeline, bytes_max=PAGE_BYTES_MAX, position=index.applied)
    )


async def _current(call: Call, found: CompiledCollection) -> tuple[DocumentStore, IndexRow]:
    """The store, once all is in it that was written before. Raises Elsewhere."""
    store = call.use(DocumentStore)
    rows = await call.all(COPIES.table.of, collection=found.id)
    ready = [row for row in rows if row.state == READY]
    if not ready:
        built = max([row.built for row in rows if row.state == BUILDING], default=0)
        raise Elsewhere(
            _not_ready(f"this collection is being copied to it: {built:,} records are there", 5)
        )
    if store.away():  # or back: nobody waits for what cannot come meanwhile
        await _asked(store.ids(ready[-1].id, IdQuestion({}, {}, 0, 1)))
    if not await COPIES.caught_up(call, call.use(api.RecordsSettings).documents_wait_s):
        raise Elsewhere(_not_ready("it is behind what was written before this call", 1))
    rows = await call.all(COPIES.table.of, collection=found.id)
    ready = [row for row in rows if row.state == READY]
    if not ready:
        raise Elsewhere(_not_ready("this collection is copied to it anew", 5))
    return store, ready[-1]


async def _asked(answer: Awaitable[T]) -> T:
    """Await an answer of the store. Raises Elsewhere."""
    try:
        return await answer
    except NoIndex:
        raise Elsewhere(_not_ready("its copy is lost, and is made anew", 60)) from None
    except NotWhole:
        raise Elsewhere(
            Invalid(
                "the store of documents could not keep a record of this collection, and so "
                "answers nothing: a name in its JSON begins with $ or has a dot, perhaps"
            )
        ) from None
    except NotSpoken as error:
        raise Elsewhere(Invalid(f"the store of documents does not do this: {error}")) from None
    except TooSlow:
        raise Elsewhere(_too_slow()) from None
    except AnswerTooLarge:
        raise too_large() from None
    except Unavailable as error:
        raise Elsewhere(_not_ready(error.detail, 1)) from error


def too_large() -> Invalid:
    """Say that a pipeline makes too much."""
    return Invalid.at(
        "/pipeline",
        f"it makes more than {PAGE_BYTES_MAX} bytes, or 10,000 documents: end it with a $limit or "
        "a $project",
    )


def _not_ready(why: str, retry_after_s: int) -> DocumentsNotReady:
    return DocumentsNotReady(
        f"only the store of documents answers this, and {why}", retry_after_s=retry_after_s
    )


def _too_slow() -> NeedsIndex:
    return NeedsIndex("the store of documents takes too long: ask for less of it")

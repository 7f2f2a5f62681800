"""Records asked for in MongoDB's language: read as a list is, then judged by the language itself.

The caller's rule and what the database can narrow by choose the records; fields that the caller may
not read are taken out; and only then does the language see a document. See ADR 57. Where there is
a store of documents that may answer, it does. See ADR 70.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mainspring import Call, Invalid, handles
from mainspring.cel import Type, ast, evaluate
from mainspring.cel.types import ITEMS
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.services.records import access, api, field_rights
from mainspring.services.records import documents as language
from mainspring.services.records.api.documents import DOCUMENTS_BYTES_MAX, DOCUMENTS_MAX
from mainspring.services.records.documents.narrowing import narrowing
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations import document_store
from mainspring.services.records.operations.lists import (
    ListCondition,
    advised,
    read_after,
    visible,
)
from mainspring.services.records.query_planner import Sort
from mainspring.services.records.schema_cache import named

PAGE_ROWS = 1_000
Document = dict[str, Any]


class _Read(msgspec.Struct, frozen=True):
    """Documents in the order of their ids; where reading ended, unless there is nothing more."""

    documents: list[Any]
    ended: str | None


@handles(api.find_documents)
async def find_documents(call: Call, collection: str, find: api.FindQuery) -> api.DocumentPage:
    found = await _askable(call, collection)
    project = language.read_projection(find.projection, "/projection")
    _require_cursor(find)
    budget = language.Budget()
    by, matches, order = None, None, None
    try:
        matches = language.read_filter(find.filter, "/filter")
        order = language.read_sort(find.sort, "/sort") if find.sort else None
    except Invalid as refused:
        by = refused
    try:
        passed, ended = await document_store.find(call, found, find, matches, budget)
    except document_store.Elsewhere as reason:
        if by is not None or matches is None:
            raise reason.said(by) from None
        passed, ended = await _find(call, found, find, matches, order, budget)
    shown = await asyncio.to_thread(
        lambda: _written([project(d, budget) for d in passed[: find.limit]])
    )
    left_out = len(passed[: find.limit]) - len(shown)
    if find.sort:
        if left_out:
            raise Invalid.at("/limit", f"they are more than {PAGE_BYTES_MAX} bytes: ask for fewer")
        return api.DocumentPage(shown)
    if left_out or len(passed) > find.limit:
        return api.DocumentPage(shown, passed[len(shown) - 1]["id"])
    return api.DocumentPage(shown, ended)


async def _find(
    call: Call,
    found: CompiledCollection,
    find: api.FindQuery,
    matches: language.Matches,
    order: language.Stage | None,
    budget: language.Budget,
) -> tuple[list[Any], str | None]:
    """Documents from the first that is shown on, one more than are, and where reading ended."""
    wanted = find.skip + find.limit

    def pick(read: list[Document]) -> list[Any]:
        return [document for document in read if matches(document, budget)]

    most = None if order is not None else wanted
    asked = await _condition(call, found, find.filter)
    read = await _read(call, found, asked, pick, after=find.cursor, most=most)
    if read.ended is not None and (order is not None or (len(read.documents) <= find.skip > 0)):
        raise _too_many("the filter", call, found, asked)
    if order is None:
        return read.documents[find.skip :], read.ended
    ordered = await asyncio.to_thread(order, read.documents, budget)
    return ordered[find.skip :], None


@handles(api.aggregate_documents)
async def aggregate_documents(
    call: Call, collection: str, pipeline: api.Pipeline
) -> api.PipelineAnswer:
    found = await _askable(call, collection)
    by, stages = None, None
    try:
        stages = language.read_pipeline(pipeline.pipeline, "/pipeline")
    except Invalid as refused:
        by = refused
    try:
        made = await document_store.aggregate(call, found, pipeline.pipeline)
    except document_store.Elsewhere as reason:
        if by is not None or stages is None:
            raise reason.said(by) from None
        made = await _aggregate(call, found, pipeline.pipeline, stages)

    def write() -> list[msgspec.Raw]:
        written = _written(made)
        if len(written) < len(made):
            raise document_store.too_large()
        return written

    return api.PipelineAnswer(await asyncio.to_thread(write))


async def _aggregate(
    call: Call,
    found: CompiledCollection,
    pipeline: list[dict[str, Any]],
    stages: list[language.Stage],
) -> list[Any]:
    first = next(iter(pipeline), {}).get("$match", {})
    asked = await _condition(call, found, first)
    budget = language.Budget()
    read = await _read(call, found, asked, lambda documents: documents)
    if read.ended is not None:
        raise _too_many("the first $match", call, found, asked)

    def run() -> list[Any]:
        made = read.documents
        for stage in stages:
            made = stage(made, budget)
        return made

    return await asyncio.to_thread(run)


async def _askable(call: Call, name: str) -> CompiledCollection:
    """The collection, where this caller may list records of it. Raises Invalid, or as lists do."""
    found = await named(call, name, api.READ)
    access.rule_for(call, found, "list")
    if not found.definition.documents:
        raise Invalid(
            f"{name!r} is not asked in MongoDB's language: who may change the collection can set "
            "documents to true"
        )
    return found


def _require_cursor(find: api.FindQuery) -> None:
    if find.cursor is None:
        return
    if find.sort or find.skip:
        raise Invalid.at("/cursor", "it goes on in the order of the ids: leave out sort and skip")
    find.after_id(RECORD_PREFIX)


async def _condition(
    call: Call, found: CompiledCollection, source: Mapping[str, Any]
) -> ListCondition:
    """What the records meet that the caller may list, and of a filter what can be told by it.

    By fields that are not shown of every record nothing is narrowed: they are judged as not there.
    """
    asked = await visible(call, found, None)
    seen = await field_rights.sight(call, found)
    types = {
        name: kind
        for name, kind in found.askable.items()
        if kind is not Type.JSON and kind not in ITEMS and seen.always(name)
    }
    narrowed = narrowing(source, types)
    if narrowed is ast.TRUE:
        return asked
    condition = evaluate.fold(ast.All((asked.condition, found.on_stored(narrowed))), {})
    return msgspec.structs.replace(asked, condition=condition)


async def _read(
    call: Call,
    found: CompiledCollection,
    asked: ListCondition,
    pick: Callable[[list[Document]], list[Any]],
    *,
    after: str | None = None,
    most: int | None = None,
) -> _Read:
    """Read what the caller may see, page by page, until more than ``most`` are picked."""
    picked: list[Any] = []
    looked = size = 0
    while True:
        rows = await read_after(call, found, asked, after, PAGE_ROWS)
        records = [found.read(row.data, row.schema_version) for row in rows.items]
        shown = await field_rights.readable(call, found, records)
        picked += await asyncio.to_thread(pick, [{"_id": one["id"], **one} for one in shown])
        if not rows.more:
            return _Read(picked, None)
        looked += len(rows.items)
        size += sum([len(row.data) for row in rows.items])
        after = rows.items[-1].id
        enough = most is not None and len(picked) > most
        if enough or looked >= DOCUMENTS_MAX or size >= DOCUMENTS_BYTES_MAX:
            return _Read(picked, after)


def _written(documents: list[Any]) -> list[msgspec.Raw]:
    """Write as many of the first documents as one answer may hold, and at least one."""
    written: list[msgspec.Raw] = []
    size = 0
    for document in documents:
        text = msgspec.json.encode(document)
        size += len(text)
        if written and size > PAGE_BYTES_MAX:
            break
        written.append(msgspec.Raw(text))
    return written


def _too_many(what: str, call: Call, found: CompiledCollection, asked: ListCondition) -> NeedsIndex:
    mib = DOCUMENTS_BYTES_MAX >> 20
    return NeedsIndex(
        f"{what} leaves more than {DOCUMENTS_MAX:,} records, or {mib} MiB of them: compare fields "
        "of one value with $eq, $in, $gt, $gte, $lt or $lte at its top, which the database does "
        f"first; of created_at, say ({advised(call, found, asked, Sort([], None))})"
    )

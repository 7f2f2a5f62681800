"""``?q=``: records by their words, as they are stored now and as their caller may see them.

An index tells which records may fit, and nothing of what is in them. Each is read from the database
under the caller's rule and filter, so what is deleted, hidden or lost meanwhile is not shown. Two
things could tell of what a caller may not see, and do not: fields that they may not read in every
record are not searched for them, and the order of relevance, which is computed from all records,
is only for who may see all of them; the others are given the newest first.
"""

import base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from mainspring import Call, Forbidden, Invalid, Response, Unavailable, read_at
from mainspring.cel import ast, sql
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.search_terms import read_query
from mainspring.ports.search import (
    HITS_MAX,
    Hit,
    NoIndex,
    SearchEngine,
    SearchQuery,
    TooCommon,
)
from mainspring.services.records import access, api, field_rights
from mainspring.services.records.api.search import SearchNotReady
from mainspring.services.records.indexing import SEARCH
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.shown_pages import (
    ListCondition,
    as_stored,
    bad_cursor,
    current,
    open_cursor,
)
from mainspring.services.records.projection import Projection
from mainspring.services.records.projector import fields_of
from mainspring.services.records.store import DATA_COLUMN, RELATED, StoredRecord
from mainspring.services.records.store.indexes import BUILDING, READY, IndexRow
from mainspring.services.records.store.search import found_query

LOOKED_AT_MAX = 10_000  # hits for one page, of which the caller sees few
HITS_FIRST = 100

_decode_cursor = msgspec.json.Decoder(tuple[str, Hit]).decode


class _Found(msgspec.Struct, frozen=True):
    """Records that fit and are shown, each with its hit, and whether there are more."""

    rows: list[StoredRecord]
    hits: list[Hit]
    more: bool


async def search_page(
    call: Call,
    collection: CompiledCollection,
    query: api.RecordQuery,
    asked: ListCondition,
    wanted: Projection | None,
) -> Response[Any]:
    """Answer one page of what has all the words. Raises Invalid, Forbidden, SearchNotReady."""
    assert query.q is not None
    terms = read_at("/q", read_query, query.q)
    if query.sort not in (None, "-id"):
        raise Invalid.at("/sort", "with q the best come first, or the newest: sort=-id, or none")
    if query.total is not None:
        raise Invalid.at("/total", "how many have these words is not counted: leave it out with q")
    weights = await _weights(call, collection)
    whole = query.sort is None and await _sees_all(call, collection, weights)
    order: Literal["relevance", "newest"] = "relevance" if whole else "newest"
    mark = f"{order} {blake2b(query.q.encode(), digest_size=6).hexdigest()}"
    after = None if query.cursor is None else _read_cursor(query.cursor, mark)
    engine, index = await _current_index(call, collection)
    weights = {name: weight for name, weight in weights.items() if name in fields_of(index)}
    if asked.condition is ast.FALSE or not weights:
        return Response(api.RecordPage([]))
    search = SearchQuery(terms, weights, order, 1, after)
    found = await _find(call, collection, asked, engine, index, search, query.limit)
    rows, last = found.rows, len(found.rows)
    seen = await field_rights.sight(call, collection)
    stale = any(row.schema_version < collection.layout for row in rows)
    if wanted is None and seen.whole and not stale:
        cursor = _write_cursor(mark, found.hits[-1]) if found.more and last else None
        return as_stored(collection, rows, cursor)
    items = await (wanted or Projection(collection)).present(
        call, [current(collection, row) for row in rows]
    )
    more = found.more or len(items) < last
    cursor = _write_cursor(mark, found.hits[len(items) - 1]) if more and items else None
    return Response(api.RecordPage(items, cursor))


async def _weights(call: Call, collection: CompiledCollection) -> dict[str, float]:
    """The searched fields that the caller may read in every record. Raises Invalid, Forbidden."""
    searched = {f.name: float(f.search_weight) for f in collection.definition.fields if f.search}
    if not searched:
        raise Invalid.at("/q", "no field of this collection is searched: one with search is")
    seen = await field_rights.sight(call, collection)
    readable = {name: weight for name, weight in searched.items() if seen.always(name)}
    if not readable:
        raise Forbidden.at("/q", "you may read no field that is searched in every record")
    return readable


async def _sees_all(call: Call, collection: CompiledCollection, weights: dict[str, float]) -> bool:
    """Whether the caller may see every record, and all that is indexed of it."""
    if len(weights) < sum(field.search for field in collection.definition.fields):
        return False
    rule = access.rule_for(call, collection, "list")
    if rule is None:
        return True
    if rule.program is None:
        return False
    known = await access.context(call, "list", rule.program.asks_context)
    return rule.program.residual(known) is ast.TRUE


async def _current_index(
    call: Call, collection: CompiledCollection
) -> tuple[SearchEngine, IndexRow]:
    """The index to ask, once all is in it that was written before. Raises SearchNotReady."""
    engine = call.offered(SearchEngine)
    if engine is None:
        raise Invalid.at("/q", "nothing is searched in this installation: [search] url is not set")
    if not await SEARCH.caught_up(call, call.use(api.RecordsSettings).search_wait_s):
        raise SearchNotReady(
            "the index is behind what was written before this call: try again", retry_after_s=1
        )
    rows = await call.all(SEARCH.table.of, collection=collection.id)
    ready = [row for row in rows if row.state == READY]
    if not ready:
        built = max([row.built for row in rows if row.state == BUILDING], default=0)
        raise SearchNotReady(
            f"the index of this collection is being built, and has {built:,} records: try later",
            retry_after_s=5,
        )
    return engine, ready[-1]


async def _find(
    call: Call,
    collection: CompiledCollection,
    asked: ListCondition,
    engine: SearchEngine,
    index: IndexRow,
    search: SearchQuery,
    limit: int,
) -> _Found:
    """Ask for hits, and read those that are shown, until there are enough."""
    condition = sql.fragment(asked.condition, DATA_COLUMN, related=RELATED)
    statement = found_query((condition.sqlite, condition.postgres))
    shown: list[StoredRecord] = []
    placed: list[Hit] = []
    looked, count, bytes_left, after = 0, max(HITS_FIRST, limit + 1), PAGE_BYTES_MAX, search.after
    while True:
        some = msgspec.structs.replace(search, limit=count, after=after)
        by_id = {hit.id: hit for hit in await _hits(engine, index, some)}
        full = len(shown) == limit or (bytes_left <= 0 and bool(shown))
        rows = await call.page(
            statement, limit=1 if full else limit - len(shown), bytes_max=max(1, bytes_left),
            collection=collection.id, ids=msgspec.json.encode(list(by_id)).decode(),
            **condition.params,
        )  # fmt: skip
        if full and rows.items:
            return _Found(shown, placed, more=True)
        shown += rows.items
        placed += [by_id[row.id] for row in rows.items]
        bytes_left -= sum([len(row.data) for row in rows.items])
        if rows.more or len(by_id) < count:
            return _Found(shown, placed, rows.more)
        looked += len(by_id)
        if looked >= LOOKED_AT_MAX:
            break
        after, count = list(by_id.values())[-1], min(HITS_MAX, count * 2)
    if shown:
        return _Found(shown, placed, more=True)
    raise NeedsIndex(
        f"the first {looked:,} records that have these words are none that are asked for, or that "
        "you may see: look for more words"
    )


async def _hits(engine: SearchEngine, index: IndexRow, search: SearchQuery) -> Sequence[Hit]:
    try:
        return await engine.query(index.id, search, position=index.applied)
    except NoIndex:
        raise SearchNotReady(
            "the index of this collection is lost: it is made anew within five minutes",
            retry_after_s=60,
        ) from None
    except TooCommon:
        raise NeedsIndex(
            "so many records have these words that putting them in order takes too long: "
            "look for more words"
        ) from None
    except Unavailable as error:
        raise SearchNotReady(str(error), retry_after_s=1) from error


def _write_cursor(mark: str, hit: Hit) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((mark, hit))).decode().rstrip("=")


def _read_cursor(cursor: str, mark: str) -> Hit:
    try:
        found, hit = _decode_cursor(open_cursor(cursor))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_cursor() from None
    if found != mark or "\0" in hit.id:
        raise bad_cursor()
    return hit

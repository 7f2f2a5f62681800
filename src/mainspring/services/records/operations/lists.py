"""Lists of records: filter, rule, order and page become one query."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mainspring import Call, Invalid, Query, Response, Rows, check_all, handles
from mainspring.cel import Type, ast, evaluate, sql
from mainspring.cel.types import INTEGER_MAX
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.etag import tag_of
from mainspring.services.records import access, api, field_rights, reach
from mainspring.services.records.changes import place
from mainspring.services.records.far_end import (
    FOUND_MAX,
    REMEMBERED_MS,
    TARGETS_MAX,
    FarEnd,
    Search,
)
from mainspring.services.records.model import AccessRule, CompiledCollection, Reached
from mainspring.services.records.operations.searches import search_page
from mainspring.services.records.operations.shown_pages import (
    ListCondition as ListCondition,
)
from mainspring.services.records.operations.shown_pages import (
    as_stored,
    bad_cursor,
    current,
    open_cursor,
)
from mainspring.services.records.projection import Projection
from mainspring.services.records.query_planner import Plan, Sort, advice, choose, read_sort
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import (
    DATA_COLUMN,
    RELATED,
    IndexedRecord,
    StoredRecord,
    Texts,
    count_query,
    page_query,
)
from mainspring.services.records.store.far_end import (
    among_found,
    count_found,
    first_query,
)

_encode = msgspec.json.Encoder().encode
_decode_sort_cursor = msgspec.json.Decoder(tuple[str, list[Any], str]).decode


@handles(api.list_records)
async def list_records(
    call: Call, collection: str, query: api.RecordQuery
) -> Response[api.RecordPage]:
    found = await named(call, collection, api.READ)
    # Before anything is read: what happens meanwhile may be told twice, and is not missed. What a
    # replica has yet to hear of would be.
    headers = () if call.lagging else (("Stream-Position", await place(call)),)
    try:
        asked = await visible(call, found, query.filter)
        sort = read_sort(found, query.sort)
        wanted = (
            Projection(found, query.fields, query.expand) if query.fields or query.expand else None
        )
    except Invalid:
        _require_readable(found, query)
        raise
    names = [part.name for part in sort.parts]
    await field_rights.require_askable(call, found, names, "/sort")
    if query.q is None:
        page = await _page(call, found, query, asked, sort, wanted)
    else:
        call.read_newest()  # the index is of the primary's log
        page = await search_page(call, found, query, asked, wanted)
    page = msgspec.structs.replace(page, headers=headers)
    return await _with_total(call, found, asked, query, page)


async def _page(
    call: Call,
    found: CompiledCollection,
    query: api.RecordQuery,
    asked: ListCondition,
    sort: Sort,
    wanted: Projection | None,
) -> Response[Any]:
    """Read one page of a list."""
    if asked.condition is ast.FALSE:
        return Response(api.RecordPage([]))
    plan = choose(found, asked.condition, sort)
    try:
        far = await few_at_the_far_end(call, found, asked, plan, in_order=True)
        statement, params = page_statement(found, plan, sort, query, far)
        page = await call.page(statement, limit=query.limit, **params)
    except NeedsIndex:
        raise NeedsIndex(advised(call, found, asked, sort)) from None
    rows, more = page.items, page.more
    seen = await field_rights.sight(call, found)
    if (
        wanted is None
        and seen.whole
        and min([r.schema_version for r in rows], default=0) >= found.layout
    ):
        cursor = _next_cursor(found, plan, sort, rows[-1]) if more else None
        return as_stored(found, rows, cursor)
    items = await (wanted or Projection(found)).present(call, [current(found, row) for row in rows])
    more = more or len(items) < len(rows)
    cursor = _next_cursor(found, plan, sort, rows[len(items) - 1]) if more else None
    return Response(api.RecordPage(items, cursor))


async def read_after(
    call: Call,
    collection: CompiledCollection,
    asked: ListCondition,
    after: str | None,
    limit: int,
) -> Rows[StoredRecord]:
    """Read the next records of a condition in the order of their ids, as one page holds them.

    Whatever the collection's indexes have become since: all there is to go on from is an id.
    """
    if asked.condition is ast.FALSE:
        return Rows([], more=False)
    sort = Sort([], False)
    plan = choose(collection, asked.condition, sort)
    cursor = None
    if after is not None:
        at = plan.low if plan.exact and isinstance(plan.low, bytes) else b""
        last = IndexedRecord(after, 0, collection.layout, "{}", at)
        cursor = _next_cursor(collection, plan, sort, last)
    try:
        far = await few_at_the_far_end(call, collection, asked, plan, in_order=True)
        query = api.RecordQuery(limit=limit, cursor=cursor)
        statement, params = page_statement(collection, plan, sort, query, far)
        return await call.page(statement, limit=limit, **params)
    except NeedsIndex:
        raise NeedsIndex(advised(call, collection, asked, sort)) from None


def _require_readable(collection: CompiledCollection, query: api.RecordQuery) -> None:
    """Raise Invalid for all of a query that does not fit its collection."""
    check_all(
        "the query does not fit",
        lambda: query.filter is None or collection.filter(query.filter),
        lambda: read_sort(collection, query.sort),
        lambda: Projection(collection, query.fields),
        lambda: Projection(collection, expand=query.expand),
    )


async def few_at_the_far_end(
    call: Call,
    collection: CompiledCollection,
    asked: ListCondition,
    plan: Plan,
    *,
    in_order: bool = False,
) -> FarEnd | None:
    """Where to begin instead, when the condition reaches further and few records are found so.

    It has ways only where the records are wanted ``in_order``, a page of them, and as the plan has
    them that is the order of the ways: then few are found there, and of any number of records.
    """
    far = asked.far
    if far is None or plan.narrows:
        return None
    if in_order and far.exact and far.ways and plan.ordered and plan.column == "id":
        params = {name: value for way in far.ways for name, value in way.params.items()}
        found = tuple(texts for way in far.ways for texts in way.before)
        if await _few(call, collection, found, params, TARGETS_MAX):
            return far
    if await _few(call, collection, (far.texts,), far.params, FOUND_MAX):
        return msgspec.structs.replace(far, ways=())
    return None


async def _few(
    call: Call,
    collection: CompiledCollection,
    found: tuple[Texts, ...],
    params: Mapping[str, Any],
    most: int,
) -> bool:
    """Tell whether each of some texts finds few ids: as it was a while ago, at most."""
    key = found, tuple(params.values())
    until_ms, few = collection.found_few.get(key) or (0, False)
    if not call.now_ms < until_ms <= call.now_ms + REMEMBERED_MS:
        try:
            counted = await call.one(count_found(found), most=most + 1, **params)
        except NeedsIndex:
            counted = most + 1
        few = counted <= most
        collection.found_few.put(key, (call.now_ms + REMEMBERED_MS, few))
    return few


def advised(call: Call, collection: CompiledCollection, asked: ListCondition, sort: Sort) -> str:
    """Say what would help a list that went over its budget.

    Which fields other collections have is told to those who may read collections.
    """
    if asked.others:
        search = Search(collection, asked.others)
        if asked.far is None and search.of(asked.condition) is None and search.wanted:
            name, fields = search.wanted[0]
            if call.caller.allows(api.COLLECTIONS_READ):
                return f"an index on {fields} of the collection {name!r} would help"
            return "an index of a related collection would help: who may read them is told which"
    return advice(collection, asked.condition, sort)


async def visible(
    call: Call,
    collection: CompiledCollection,
    source: str | None,
    action: Literal["list", "view"] = "list",
) -> ListCondition:
    """The condition of a list: its filter, and the rule where the caller has no scope.

    It holds for records as they are stored, which may wait for the layout they are shown in.
    """
    rule = access.rule_for(call, collection, action)
    program = None if source is None else collection.filter(source)
    if (source is not None and program is None) or (rule is not None and rule.program is None):
        return await _visible_far(call, collection, source, rule, action)
    if program is not None:
        await field_rights.require_filter(call, collection, program.tree, {})
    own = None if rule is None else rule.program
    asked = [p for p in (program, own) if p is not None]
    if len(asked) == 1:
        known = await access.context(call, action, asked[0].asks_context)
        seen = asked[0].residual(known)
    else:
        names = frozenset[str]().union(*(p.asks_context for p in asked))
        known = await access.context(call, action, names)
        seen = evaluate.fold(ast.All(tuple(p.residual(known) for p in asked)), known)
    return ListCondition(collection.on_stored(seen), caller=known.get("caller", {}))


async def _visible_far(
    call: Call,
    collection: CompiledCollection,
    source: str | None,
    rule: AccessRule | None,
    action: Literal["list", "view"],
) -> ListCondition:
    """As ``visible``, where the filter or the rule reaches other collections."""
    trees: list[tuple[ast.Node, frozenset[str]]] = []
    others: dict[str, CompiledCollection] = {}
    compiled: list[Reached] = []
    if source is not None and (program := collection.filter(source)) is not None:
        await field_rights.require_filter(call, collection, program.tree, {})
        trees.append((program.tree, program.asks_context))
    elif source is not None:
        reached = await reach.filter_of(call, collection, source)
        await field_rights.require_filter(
            call, collection, reached.program.tree, {collection.id: collection, **reached.others}
        )
        tree, others = await reach.restricted(
            call, collection, reached, lambda p: access.context(call, "view", p.asks_context)
        )
        trees.append((tree, evaluate.context_names(tree)))
        compiled.append(reached)
    if rule is not None and rule.program is not None:
        trees.append((rule.program.tree, rule.program.asks_context))
    elif rule is not None:
        reached = await reach.rule_of(call, collection, rule)
        trees.append((reached.program.tree, reached.program.asks_context))
        others = {**others, **reached.others}
        compiled.append(reached)
    known = await access.context(call, action, frozenset().union(*(names for _, names in trees)))
    whole = ast.All(tuple(tree for tree, _ in trees))
    # Beside a rule, a filter that reaches has been restricted by what is not in the key.
    if (rule is not None and rule.program is not None) or len(compiled) > 1 or "now" in known:
        return _as_asked(collection, whole, others, known)
    key = action, source, rule is None, _encode(known)
    kept = collection.asked.get(key)
    if kept is None or kept[0] is not reached:
        kept = reached, _as_asked(collection, whole, others, known)
        collection.asked.put(key, kept)
    made: ListCondition = kept[1]
    return made


def _as_asked(
    collection: CompiledCollection,
    whole: ast.Node,
    others: Mapping[str, CompiledCollection],
    known: Mapping[str, Any],
) -> ListCondition:
    """The condition of a list that reaches other collections, once what is known of the call is."""
    others = {collection.id: collection, **others}
    condition = reach.as_stored(collection, evaluate.fold(whole, known), others)
    far = Search(collection, others).of(condition)
    return ListCondition(condition, others, known.get("caller", {}), far)


def page_statement(
    collection: CompiledCollection,
    plan: Plan,
    sort: Sort,
    query: api.RecordQuery,
    far: FarEnd | None = None,
) -> tuple[Query[StoredRecord], dict[str, Any]]:
    """Return the query of one page by its plan, and its parameters."""
    if far is not None and far.ways:
        return _first_statement(collection, plan, query.cursor, far)
    params: dict[str, Any] = {"collection": collection.id}
    texts = _tests(collection, plan, sort, query.cursor, far, params)
    column = plan.column if plan.ordered and plan.column != "id" else None
    orders = _orders(collection, plan, sort, params)
    statement = page_query(column, texts, orders, sorts=not plan.ordered, scans=not plan.covered)
    return statement, params


def _first_statement(
    collection: CompiledCollection, plan: Plan, cursor: str | None, far: FarEnd
) -> tuple[Query[StoredRecord], dict[str, Any]]:
    """The query of a page in the order of ids, taken from where the far end leads back to."""
    params: dict[str, Any] = {"collection": collection.id}
    for way in far.ways:
        names = (*way.params, way.at, way.field)
        params.update({name: far.params[name] for name in names})
    if cursor is not None:
        _, params["last"] = _read_key_cursor(cursor, plan)
    ways = tuple((way.found, way.at, way.field) for way in far.ways)
    after = cursor is not None
    return first_query(ways, descending=plan.descending, after=after), params


def _tests(
    collection: CompiledCollection,
    plan: Plan,
    sort: Sort,
    cursor: str | None,
    far: FarEnd | None,
    params: dict[str, Any],
) -> Texts:
    """The condition of a list from a cursor on, of which it fills in the parameters."""
    tests = ["collection = :collection"]
    rest = ast.TRUE if far is not None and far.exact else plan.rest
    if cursor is None or not plan.ordered:
        tests += _range(plan, params)
        if cursor is not None:
            after = collection.on_stored(_read_sort_cursor(cursor, sort))
            rest = evaluate.fold(ast.All((rest, after)), {})
    else:
        tests += _range_after(plan, _read_key_cursor(cursor, plan), params)
    sqlite = postgres = " AND ".join(tests)
    if far is not None:
        found = among_found(far.texts)
        sqlite, postgres = f"{sqlite} AND {found[0]}", f"{postgres} AND {found[1]}"
        params.update(far.params)
    if rest is not ast.TRUE:
        extra = sql.fragment(rest, DATA_COLUMN, related=RELATED)
        sqlite, postgres = f"{sqlite} AND {extra.sqlite}", f"{postgres} AND {extra.postgres}"
        params.update(extra.params)
    return sqlite, postgres


async def _with_total(
    call: Call,
    collection: CompiledCollection,
    asked: ListCondition,
    query: api.RecordQuery,
    page: Response[Any],
) -> Response[Any]:
    """Put into a page how many records its list has, where that is asked."""
    if query.total is None:
        return page
    most = INTEGER_MAX if query.total == "exact" else api.ESTIMATED_MAX + 1
    count = await count_records(call, collection, asked, most)
    exact = count < most
    told = {"total": count if exact else most - 1, "total_is": "exact" if exact else "at_least"}
    tag = None if page.etag is None else tag_of(f"{page.etag}{told}".encode())
    if isinstance(page.body, msgspec.Raw):  # its text is joined, not read and written again
        text = b"%b,%b" % (bytes(page.body).removesuffix(b"}"), msgspec.json.encode(told)[1:])
        return msgspec.structs.replace(page, body=msgspec.Raw(text), etag=tag)
    return msgspec.structs.replace(page, body=msgspec.structs.replace(page.body, **told), etag=tag)


async def count_records(
    call: Call, collection: CompiledCollection, asked: ListCondition, most: int
) -> int:
    """Count the records of a condition, up to ``most``. Raises NeedsIndex over the budget."""
    if asked.condition is ast.FALSE:
        return 0
    sort = Sort([], None)
    plan = choose(collection, asked.condition, sort)
    params: dict[str, Any] = {"collection": collection.id}
    try:
        far = await few_at_the_far_end(call, collection, asked, plan)
        texts = _tests(collection, plan, sort, None, far, params)
        return await call.one(count_query(texts), most=most, **params)
    except NeedsIndex:
        helps = advised(call, collection, asked, sort)
        raise NeedsIndex(f"there are too many to count: take total=estimate ({helps})") from None


def _range(plan: Plan, params: dict[str, Any], *, low: bool = True, high: bool = True) -> list[str]:
    """The bounds of the plan's range, or those of them that are asked for."""
    if plan.exact:
        params["low"] = plan.low
        return [f"{plan.column} = :low"]
    tests = []
    if low and plan.low is not None:
        tests.append(f"{plan.column} >= :low")
        params["low"] = plan.low
    if high and plan.high is not None:
        tests.append(f"{plan.column} < :high")
        params["high"] = plan.high
    return tests


def _range_after(plan: Plan, at: tuple[bytes, str], params: dict[str, Any]) -> list[str]:
    """What is left of the range after a cursor. Raises Invalid for one outside of it.

    The cursor is the only bound on its side, so that an engine seeks to it and to nothing before.
    """
    key, params["last"] = at
    position: Any = params["last"] if plan.column == "id" else key
    if (plan.low is not None and position < plan.low) or (
        plan.high is not None and position >= plan.high
    ):
        raise bad_cursor()
    sign = "<" if plan.descending else ">"
    tests = _range(plan, params, low=plan.descending, high=not plan.descending)
    if plan.column == "id" or plan.exact:
        return [*tests, f"id {sign} :last"]
    params["key"] = key
    return [*tests, f"({plan.column}, id) {sign} (:key, :last)"]


def _orders(
    collection: CompiledCollection, plan: Plan, sort: Sort, params: dict[str, Any]
) -> tuple[str, str]:
    if plan.ordered:
        word = " DESC" if plan.descending else ""
        text = f"id{word}" if plan.column == "id" else f"{plan.column}{word}, id{word}"
        return text, text
    sqlite, postgres = [], []
    for at, part in enumerate(sort.parts):
        shown = sql.shown(collection.stored(part.name), "data", f"o{at}_")
        params.update(shown.params)
        sqlite.append(f"{shown.sqlite} {'DESC' if part.descending else 'ASC'}")
        nulls = "DESC NULLS LAST" if part.descending else "ASC NULLS FIRST"
        postgres.append(f"{shown.postgres} {nulls}")
    word = "DESC" if _ties_descend(sort) else "ASC"
    return ", ".join([*sqlite, f"id {word}"]), ", ".join([*postgres, f"id {word}"])


def _ties_descend(sort: Sort) -> bool:
    return sort.parts[-1].descending if sort.id_descending is None else sort.id_descending


# Cursors: where a page ended, opaque to callers and checked when they come back


def _next_cursor(collection: CompiledCollection, plan: Plan, sort: Sort, last: StoredRecord) -> str:
    if plan.ordered:
        key = last.key if isinstance(last, IndexedRecord) else b""
        text = b"%b\0%b\0%b" % (_tag(plan), last.id.encode(), key)
    else:
        record = current(collection, last)
        values = [record.get(p.name) for p in sort.parts]
        text = msgspec.json.encode((_sort_tag(sort), values, last.id))
    cursor = base64.urlsafe_b64encode(text).decode().rstrip("=")
    if len(cursor) > api.CURSOR_CHARS_MAX:
        raise Invalid.at(
            "/sort", "the values on this page are too long to go on from: sort by shorter fields"
        )
    return cursor


def _tag(plan: Plan) -> bytes:
    return f"{plan.column}{'-' if plan.descending else '+'}".encode()


def _sort_tag(sort: Sort) -> str:
    parts = [("-" if p.descending else "+") + p.name for p in sort.parts]
    return ",".join([*parts, "-" if _ties_descend(sort) else "+"])


def _read_key_cursor(cursor: str, plan: Plan) -> tuple[bytes, str]:
    tag, _, rest = open_cursor(cursor).partition(b"\0")
    last, _, key = rest.partition(b"\0")
    try:
        text = last.decode()
    except UnicodeDecodeError:
        raise bad_cursor() from None
    if tag != _tag(plan):
        raise bad_cursor()
    return key, text


def _read_sort_cursor(cursor: str, sort: Sort) -> ast.Node:
    """The condition that a record comes after the one the cursor names."""
    try:
        tag, values, last = _decode_sort_cursor(open_cursor(cursor))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_cursor() from None
    if tag != _sort_tag(sort) or len(values) != len(sort.parts) or "\0" in last:
        raise bad_cursor()
    condition: ast.Node = ast.Ordering(
        "<" if _ties_descend(sort) else ">",
        ast.FieldValue(Type.TEXT, ("id",)),
        ast.Const(Type.TEXT, last),
    )
    for part, value in zip(reversed(sort.parts), reversed(values), strict=True):
        if not _could_be(value, part.type):
            raise bad_cursor()
        field, at = ast.FieldValue(part.type, (part.name,)), ast.Const(part.type, value)
        condition = ast.Any(
            (_beyond(field, at, part.descending), ast.All((ast.Same(field, at), condition)))
        )
    return condition


def _could_be(value: Any, kind: Type) -> bool:
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return False
    if kind is Type.INT and not isinstance(value, int | None):
        return False
    if isinstance(value, str) and "\0" in value:
        return False
    return value is None or evaluate.as_type(value, kind) is not None


def _beyond(field: ast.FieldValue, at: ast.Const, descending: bool) -> ast.Node:
    """Strictly after ``at`` in an order where null is the smallest."""
    null = ast.Same(field, ast.Const(Type.NULL, None))
    if at.value is None:
        return ast.FALSE if descending else ast.Not(null)
    if descending:
        return ast.Any((ast.Ordering("<", field, at), null))
    return ast.Ordering(">", field, at)

"""Lists: filters, orders and pages give what a plain loop in Python gives, on each engine."""

import random
from base64 import b64encode
from functools import cmp_to_key
from typing import Any

import pytest

from mainspring.cel import Names, Type, compile_cel
from mainspring.kernel.errors import Invalid, NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.table import Query
from mainspring.services.records.api import RecordQuery
from mainspring.services.records.operations.lists import page_statement, visible
from mainspring.services.records.query_planner import choose, read_sort
from mainspring.services.records.schema_cache import named
from tests.services.records.platform import ANNA, BERT, Platform, read

ORDERS = (
    {"name": "customer", "type": "text", "max": 40},
    {"name": "day", "type": "datetime"},
    {"name": "total", "type": "number"},
    {"name": "count", "type": "integer"},
    {"name": "paid", "type": "boolean"},
    {"name": "note", "type": "text", "max": 100},
    {"name": "meta", "type": "json"},
)
INDEXES = [["customer", "-day"], ["-total"], ["paid", "count"], ["day"]]
TYPES = {
    "id": Type.TEXT, "created_at": Type.TIME, "customer": Type.TEXT, "day": Type.TIME,
    "total": Type.FLOAT, "count": Type.INT, "paid": Type.BOOL, "note": Type.TEXT,
    "meta": Type.JSON,
}  # fmt: skip


def _order(rng: random.Random) -> dict[str, Any]:
    def maybe(*values: Any) -> Any:
        return rng.choice([*values, None])

    return {
        "customer": maybe("a", "A", "ab", "b", "é", "\U0001f600", "\uffff", ""),
        "day": maybe(*(f"2026-01-0{d}T00:00:00.000Z" for d in range(1, 6))),
        "total": maybe(-2.5, 0, 0.1, 3, 1e50, -1e-50),
        "count": maybe(0, 1, 2, -1, 2**53 - 1),
        "paid": maybe(True, False),
        "note": maybe("x", "y", "%", "_"),
        "meta": maybe({"k": "v"}, {"k": 5}, []),
    }


async def _fill(platform: Platform, rng: random.Random, count: int) -> list[dict[str, Any]]:
    await platform.make("orders", *ORDERS, indexes=INDEXES)
    return [await platform.add("orders", **_order(rng)) for _ in range(count)]


def _sorted(records: list[dict[str, Any]], sort: str) -> list[tuple[Any, ...]]:
    keys = [(k.removeprefix("-"), k.startswith("-")) for k in sort.split(",")]

    def compare(a: dict[str, Any], b: dict[str, Any]) -> int:
        for name, descending in keys:
            x, y = a[name], b[name]
            if x == y:
                continue
            less = x is None or (y is not None and x < y)
            return (1 if less else -1) if descending else (-1 if less else 1)
        return 0

    ordered = sorted(records, key=cmp_to_key(compare))
    return [tuple(record[name] for name, _ in keys) for record in ordered]


FILTERS = (
    None, 'customer == "a"', "customer == null", 'customer == "a" && day > "2026-01-02T00:00:00Z"',
    'customer.startsWith("a")', "total >= 0", "total < 3 && total > -2.5", "paid", "!paid",
    "paid == true && count >= 1", "paid == null", "count % 2 == 0", 'note == "%" || total == 3',
    'meta.k == "v"', 'created_at >= "2027-01-15T08:00:00.030Z"', "count in [1, 2]",
    'day >= "2026-01-02T00:00:00Z" && day <= "2026-01-04T00:00:00Z"', 'customer > "a"',
    'created_at < "2027-01-15T08:00:00.030Z" && customer != "b"', "size(note) == 1",
)  # fmt: skip
SORTS = (
    None, "-id", "created_at", "-created_at", "-total", "total", "day", "-day", "customer,-day",
    "-customer,day", "paid,count", "note,-count,id", "-paid", "count", "-note,-id", "updated_at",
)  # fmt: skip


async def test_every_page_of_every_list(platform: Platform, seed: int) -> None:
    rng = random.Random(seed)
    records = await _fill(platform, rng, 60)
    names = Names(TYPES)
    for source in FILTERS:
        for sort in rng.sample(SORTS, 5):
            passing = records
            if source is not None:
                program = compile_cel(source, names)
                passing = [r for r in records if program.test(r)]
            query = {k: v for k, v in (("filter", source), ("sort", sort)) if v is not None}
            found = await platform.everything("orders", limit=rng.choice([7, 60]), **query)
            case = f"{source} by {sort}"
            assert sorted(r["id"] for r in found) == sorted(r["id"] for r in passing), case
            order = sort or "id"
            keys = [k.removeprefix("-") for k in order.split(",")]
            assert [tuple(r[k] for k in keys) for r in found] == _sorted(passing, order), case


@pytest.mark.parametrize(
    ("source", "sort", "column"),
    [
        (None, None, "id"),
        (None, "-created_at", "id"),
        ('created_at > "2026-01-01T00:00:00Z"', "created_at", "id"),
        ('customer == "a"', "-day", "k1"),
        ('customer == "a"', "day", "k1"),
        ('customer == "a" && day > "2026-01-01T00:00:00Z"', "-day", "k1"),
        (None, "customer,-day", "k1"),
        (None, "-customer,day", "k1"),
        (None, "-total", "k2"),
        ("total > 5 && total < 9", "total", "k2"),
        ("paid", "count", "k3"),
        ("paid && count == 3", "-id", "k3"),
        ("paid == null && count == 3", None, "k3"),
        ('day == "2026-01-01T00:00:00Z"', "id", "k4"),
    ],
)
async def test_what_an_index_covers_is_read_by_it(
    platform: Platform, source: str | None, sort: str | None, column: str
) -> None:
    await platform.make("orders", *ORDERS, indexes=INDEXES)
    statement, params, covered = await _planned(platform, source, sort)
    assert covered
    plan = await _explain(platform, statement, params)
    index = "records_records_pkey" if column == "id" else f"records_{column}"
    if platform.database.dialect == "sqlite":
        wanted = "sqlite_autoindex_records_records_1" if column == "id" else index
        assert f"USING INDEX {wanted} (collection=?" in plan, plan
    else:
        assert f"using {index}" in plan, plan
    assert "sort" not in plan.lower(), plan
    assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    ("source", "sort", "seeks"),
    [
        (None, None, "(collection=? AND id>?)"),
        (None, "-created_at", "(collection=? AND id<?)"),
        ("paid && count == 3", None, "(collection=? AND k3=? AND id>?)"),
        (None, "-total", "(collection=? AND (k2,id)>(?,?) AND k2<?)"),
        (None, "total", "(collection=? AND k2>? AND (k2,id)<(?,?))"),
        ('customer == "a"', "-day", "(collection=? AND (k1,id)>(?,?) AND k1<?)"),
    ],
)
async def test_a_later_page_starts_at_its_cursor(
    platform: Platform, source: str | None, sort: str | None, seeks: str
) -> None:
    await platform.make("orders", *ORDERS, indexes=INDEXES)
    for _ in range(3):
        await platform.add("orders", customer="a", paid=True, count=3)
    query = {k: v for k, v in (("filter", source), ("sort", sort)) if v is not None}
    cursor = (await platform.page("orders", limit=1, **query))["next_cursor"]
    statement, params, _ = await _planned(platform, source, sort, cursor)
    if platform.database.dialect == "sqlite":
        assert seeks in await _explain(platform, statement, params)
    assert len(await platform.everything("orders", limit=1, **query)) == 3


async def test_a_cursor_leads_nowhere_else(platform: Platform) -> None:
    rules = {"list": "customer == caller.id"}
    await platform.make("orders", *ORDERS, indexes=[["customer", "day"]], rules=rules)
    for customer in ("user_anna", "user_bert"):
        for day in range(1, 4):
            await platform.add("orders", customer=customer, day=f"2026-01-0{day}T00:00:00Z")
    first = await platform.page("orders", ANNA, sort="day", limit=1)
    mine = await platform.page("orders", ANNA, sort="day", cursor=first["next_cursor"])
    assert [r["customer"] for r in mine["items"]] == ["user_anna"] * 2
    for direction in ("day", "-day"):
        theirs = (await platform.page("orders", BERT, sort=direction, limit=1))["next_cursor"]
        with pytest.raises(Invalid) as refused:
            await platform.page("orders", ANNA, sort=direction, cursor=theirs)
        assert [f.pointer for f in refused.value.errors] == ["/cursor"]


async def _planned(
    platform: Platform, source: str | None, sort: str | None, cursor: str | None = None
) -> tuple[Query[Any], dict[str, Any], bool]:
    call = platform.call()
    collection = await named(call, "orders", "records:read")
    order = read_sort(collection, sort)
    plan = choose(collection, (await visible(call, collection, source)).condition, order)
    statement, params = page_statement(collection, plan, order, RecordQuery(cursor=cursor))
    return statement, {**params, "limit": 10}, plan.covered


async def _explain(platform: Platform, statement: Query[Any], params: dict[str, Any]) -> str:
    values = statement.sql.bind(params)
    if platform.database.dialect == "sqlite":
        text = f"EXPLAIN QUERY PLAN {statement.sql.sqlite}"
        rows = await platform.database.read(_Plain("explain", text), values)
        return "\n".join(str(row[3]) for row in rows)
    # Any planner reads an empty table whole, and sorts it: neither is the question.
    off = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
    for setting in off.split("; "):
        await platform.database.read(_Plain("set", setting), ())
    rows = await platform.database.read(
        _Plain("explain", f"EXPLAIN {statement.postgres_page}"), (*values, PAGE_BYTES_MAX)
    )
    return "\n".join(str(row[0]) for row in rows)


class _Plain(Query[tuple[Any, ...]]):
    """A statement of the test's, as its engine takes it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, "SELECT 1", tuple)
        self.sql.sqlite = self.sql.postgres = text


@pytest.mark.parametrize(
    ("source", "sort"),
    [("note == 'x'", None), ("customer == 'a' || paid", None), (None, "note"), ("total > 5", None),
     ("customer == 'a'", "total"), ("count > 3", "count")],
)  # fmt: skip
async def test_what_no_index_covers_is_a_scan(
    platform: Platform, source: str | None, sort: str | None
) -> None:
    await platform.make("orders", *ORDERS, indexes=INDEXES)
    statement, _, covered = await _planned(platform, source, sort)
    assert not covered
    assert statement.scans


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"filter": "nothing == 1"}, "/filter"),
        ({"filter": "count > 'a'"}, "/filter"),
        ({"sort": "nothing"}, "/sort"),
        ({"sort": "meta"}, "/sort"),
        ({"sort": "a,b,c,d,e"}, "/sort"),
        ({"cursor": "x"}, "/cursor"),
        ({"cursor": "WyJrMSIsIiIsIiJd"}, "/cursor"),
        ({"cursor": b64encode(b"[" * 1_500).decode(), "sort": "note"}, "/cursor"),
        ({"fields": "nothing"}, "/fields"),
        ({"expand": "customer"}, "/expand"),
    ],
)
async def test_what_cannot_be_asked(
    platform: Platform, query: dict[str, Any], pointer: str
) -> None:
    await platform.make("orders", *ORDERS)
    await platform.add("orders")
    with pytest.raises(Invalid) as refused:
        await platform.page("orders", **query)
    assert [f.pointer for f in refused.value.errors] == [pointer]


async def test_all_that_cannot_be_asked_is_told_at_once(platform: Platform) -> None:
    await platform.make("orders", *ORDERS)
    wrong = {"filter": "((", "sort": "meta", "fields": "no,count,none", "expand": "customer"}
    with pytest.raises(Invalid) as refused:
        await platform.page("orders", **wrong)
    told = [f.pointer for f in refused.value.errors]
    assert told == ["/filter", "/sort", "/fields", "/fields", "/expand"]


async def test_over_its_budget_a_list_names_the_index(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.make("orders", *ORDERS)

    async def over(self: Any, query: Query[Any], *_: object) -> list[Any]:
        assert query.scans
        raise NeedsIndex("over")

    monkeypatch.setattr(type(platform.database), "page", over)
    with pytest.raises(NeedsIndex) as refused:
        await platform.page("orders", filter="paid && count == 3", sort="-day")
    assert refused.value.detail == "an index on ['paid', 'count', '-day'] would help"


@pytest.mark.parametrize(
    ("filter_", "told"),
    [
        (None, "it reads every record, and one call may read for 2 s: filter by what an index"),
        ("total > 1 && total < 9", "the filter narrows by an index already, and one call may read"),
        ("paid && count == 3", "the filter narrows by an index already"),
        ("customer == 'a' && note.contains('x')", "the filter narrows by an index already"),
        ("created_at > timestamp('2026-01-01T00:00:00Z')", "the filter narrows by an index"),
        ("size(note) > 3", "the filter cannot use an index: compare fields with constants"),
        ("note == 'x'", "an index on ['note'] would help"),
        ("paid && note == 'x'", "an index on ['paid', 'note'] would help"),
        ("customer == 'a' && total > 1", "an index on ['customer', 'total'] would help"),
    ],
)
async def test_over_its_budget_an_aggregation_is_told_what_helps(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, filter_: str | None, told: str
) -> None:
    await platform.make("orders", *ORDERS, indexes=INDEXES)

    async def over(self: Any, query: Query[Any], *_: object) -> list[Any]:
        assert query.scans
        raise NeedsIndex("over")

    monkeypatch.setattr(type(platform.database), "page", over)
    asked = {"sum": "count"} | ({"filter": filter_} if filter_ else {})
    with pytest.raises(NeedsIndex) as refused:
        await platform.run("aggregate_records", collection="orders", query=asked)
    assert refused.value.detail.startswith(told)
    if "would help" not in told:
        assert "ask for one range of created_at after the other" in refused.value.detail


async def test_chosen_fields(platform: Platform) -> None:
    await platform.make("orders", *ORDERS)
    made = await platform.add("orders", count=3)
    page = await platform.page("orders", fields="id,count")
    assert page == {"items": [{"id": made["id"], "count": 3}], "next_cursor": None}


async def test_groups(platform: Platform) -> None:
    await platform.make("orders", *ORDERS)
    for customer, count, total in (("a", 2**53 - 1, 1.5), ("a", 2**53 - 1, 2.5), ("b", 3, None)):
        await platform.add("orders", customer=customer, count=count, total=total)
    await platform.add("orders", paid=True)

    async def groups(**query: str) -> list[Any]:
        found = await platform.run("aggregate_records", collection="orders", query=query)
        items: list[Any] = read(found)["items"]
        return items

    assert await groups() == [{"group": {}, "count": 4}]
    assert await groups(filter="count == 77") == [{"group": {}, "count": 0}]
    assert await groups(group="customer", sum="count,total", avg="total", max="count") == [
        {"group": {"customer": None}, "count": 1, "sum": {"count": None, "total": None},
         "avg": {"total": None}, "max": {"count": None}},
        {"group": {"customer": "a"}, "count": 2, "sum": {"count": 2 * (2**53 - 1), "total": 4.0},
         "avg": {"total": 2.0}, "max": {"count": 2**53 - 1}},
        {"group": {"customer": "b"}, "count": 1, "sum": {"count": 3, "total": None},
         "avg": {"total": None}, "max": {"count": 3}},
    ]  # fmt: skip
    assert [g["group"] for g in await groups(group="paid")] == [{"paid": None}, {"paid": True}]

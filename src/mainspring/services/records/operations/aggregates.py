"""Counts, sums and groups over the records that pass a filter and that the caller may see."""

from typing import Any

from msgspec import UNSET

from mainspring import Call, Invalid, handles
from mainspring.cel import Type, ast, sql
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.services.records import api
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.lists import advised, few_at_the_far_end, visible
from mainspring.services.records.query_planner import Sort, choose
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import DATA_COLUMN, RELATED, among_found, groups_query

COLUMNS_MAX = 20  # values computed by one call
_OTHERS = (Type.TEXT, Type.TIME, Type.BOOL)  # what groups are made of, beside numbers
_HALF = 2**26  # integers are summed in two halves, so that neither engine overflows


@handles(api.aggregate_records)
async def aggregate_records(call: Call, collection: str, query: api.Aggregation) -> api.Groups:
    found = await named(call, collection, api.READ)
    asked = await visible(call, found, query.filter)
    condition = asked.condition
    wanted = _Wanted(found, query)
    if condition is ast.FALSE:
        return api.Groups([] if wanted.groups else [wanted.group((0, *[None] * wanted.columns))])
    plan = choose(found, condition, Sort([], None))
    tests = ["collection = :collection"]
    params: dict[str, Any] = {"collection": found.id}
    for name, value, sign in (("low", plan.low, ">="), ("high", plan.high, "<")):
        if value is not None:
            tests.append(f"{plan.column} {sign} :{name}")
            params[name] = value
    far = await few_at_the_far_end(call, found, asked, plan)
    left = ast.TRUE if far is not None and far.exact else plan.rest
    rest = sql.fragment(left, DATA_COLUMN, related=RELATED)
    params.update(rest.params)
    params.update(wanted.params)
    ends = ("", "") if far is None else among_found(far.text)
    params.update({} if far is None else far.params)
    (first, grouping), (second, other) = wanted.texts(0), wanted.texts(1)
    texts = tuple(
        " AND ".join([*tests, *filter(None, [end]), text])
        for end, text in zip(ends, (rest.sqlite, rest.postgres), strict=True)
    )
    statement = groups_query((first, second), texts, (grouping, other), wanted.long)
    try:
        rows = await call.page(statement, limit=api.GROUPS_MAX, **params)
    except NeedsIndex:
        raise NeedsIndex(advised(call, found, asked, Sort([], None))) from None
    if rows.more:
        raise Invalid.at(
            "/group",
            f"makes more than {api.GROUPS_MAX} groups, or {PAGE_BYTES_MAX} bytes of text: "
            "group by fewer fields, or filter",
        )
    return api.Groups([wanted.group(row) for row in rows.items])


class _Wanted:
    """What one call computes: group columns, then a count, then each value."""

    def __init__(self, collection: CompiledCollection, query: api.Aggregation) -> None:
        self._types = collection.types
        numbers = (Type.INT, Type.FLOAT)
        self.groups = self._names(query.group, "/group", (*numbers, *_OTHERS))
        self.sums = self._names(query.sum, "/sum", numbers)
        self.averages = self._names(query.avg, "/avg", numbers)
        ordered = (*numbers, Type.TIME, Type.TEXT)
        self.smallest = self._names(query.min, "/min", ordered)
        self.largest = self._names(query.max, "/max", ordered)
        self.columns = 2 * len(self.sums) + len(self.averages + self.smallest + self.largest)
        self.long = (
            *map(self._is_long, self.groups),
            *[False] * (1 + 2 * len(self.sums) + len(self.averages)),
            *map(self._is_long, self.smallest + self.largest),
        )
        if len(self.groups) + self.columns > COLUMNS_MAX:
            raise Invalid(f"at most {COLUMNS_MAX} values are computed at once")
        named = [*self.groups, *self.sums, *self.averages, *self.smallest, *self.largest]
        self._values = {
            name: sql.shown(collection.stored(name), "data", f"v{at}_")
            for at, name in enumerate(dict.fromkeys(named))
        }
        self.params = {k: v for shown in self._values.values() for k, v in shown.params.items()}

    def _is_long(self, name: str) -> bool:
        return self._types[name] in (Type.TEXT, Type.TIME)

    def _names(self, listed: str | None, pointer: str, kinds: tuple[Type, ...]) -> list[str]:
        names = [n.strip() for n in (listed or "").split(",") if n.strip()]
        for name in names:
            if self._types.get(name) not in kinds:
                raise Invalid.at(pointer, f"there is no field {name!r} that fits here")
        return list(dict.fromkeys(names))

    def texts(self, engine: int) -> tuple[str, str]:
        """The columns and the grouping, for SQLite (0) or PostgreSQL (1)."""

        def value(name: str) -> str:
            shown = self._values[name]
            return shown.postgres if engine else shown.sqlite

        columns = [value(name) for name in self.groups]
        order = ", ".join(f"{text}{' ASC NULLS FIRST' if engine else ''}" for text in columns)
        grouping = f" GROUP BY {', '.join(columns)} ORDER BY {order}" if columns else ""
        columns.append("count(*)")
        for name in self.sums:
            if self._types[name] is Type.INT:
                whole = "bigint" if engine else "integer"
                columns.append(f"CAST(sum({value(name)} / {_HALF}) AS {whole})")
                columns.append(f"CAST(sum({value(name)} % {_HALF}) AS {whole})")
            else:
                columns.append(f"sum({value(name)})")
                columns.append("NULL")
        kind = "float8" if engine else "real"
        columns += [f"CAST(avg({value(name)}) AS {kind})" for name in self.averages]
        columns += [f"min({value(name)})" for name in self.smallest]
        columns += [f"max({value(name)})" for name in self.largest]
        return ", ".join(columns), grouping

    def group(self, row: tuple[Any, ...]) -> api.Group:
        """Read a row of the query."""
        values = list(row)
        named: dict[str, Any] = {}
        for name in self.groups:
            value = values.pop(0)
            if self._types[name] is Type.BOOL and value is not None:
                value = bool(value)
            named[name] = value
        count = values.pop(0)
        sums: dict[str, Any] = {}
        for name in self.sums:
            high, low = values.pop(0), values.pop(0)
            sums[name] = high if low is None else high * _HALF + low
        rest = [
            {name: values.pop(0) for name in names} or UNSET
            for names in (self.averages, self.smallest, self.largest)
        ]
        return api.Group(named, count, sums or UNSET, *rest)

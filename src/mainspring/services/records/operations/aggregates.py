"""Counts, sums and groups over the records that pass a filter and that the caller may see."""

import re
from typing import Any

from msgspec import UNSET

from mainspring import Call, Invalid, handles
from mainspring.cel import Type, ast, sql
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.services.records import api, field_rights
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.lists import (
    ListCondition,
    advised,
    few_at_the_far_end,
    visible,
)
from mainspring.services.records.periods import Period, period_texts, read_period
from mainspring.services.records.personal_rules import SEALED
from mainspring.services.records.query_planner import Sort, choose
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import DATA_COLUMN, RELATED, groups_query
from mainspring.services.records.store.far_end import among_found

COLUMNS_MAX = 20  # values computed by one call
_OTHERS = (Type.TEXT, Type.TIME, Type.BOOL)  # what groups are made of, beside numbers
_PARTS = re.compile(r"[^,(]+(?:\([^)]*\)?[^,]*)?")  # a comma within brackets parts nothing
_HALF = 2**26  # integers are summed in two halves, so that neither engine overflows


@handles(api.aggregate_records)
async def aggregate_records(call: Call, collection: str, query: api.Aggregation) -> api.Groups:
    found = await named(call, collection, api.READ)
    asked = await visible(call, found, query.filter)
    condition = asked.condition
    wanted = _Wanted(found, query)
    for pointer, names in wanted.asked.items():
        await field_rights.require_askable(call, found, names, pointer)
    if condition is not ast.FALSE and wanted.periods:
        moments = ",".join({period.field for period in wanted.periods})
        ends = _Wanted(found, api.Aggregation(min=moments, max=moments))
        (row,) = await _rows(call, found, asked, ends)
        wanted.place(ends.group(row))
    if condition is ast.FALSE:
        return api.Groups([] if wanted.groups else [wanted.group((0, *[None] * wanted.columns))])
    return api.Groups([wanted.group(row) for row in await _rows(call, found, asked, wanted)])


async def _rows(
    call: Call, found: CompiledCollection, asked: ListCondition, wanted: "_Wanted"
) -> list[tuple[Any, ...]]:
    plan = choose(found, asked.condition, Sort([], None))
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
    ends = ("", "") if far is None else among_found(far.texts)
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
    return rows.items


class _Wanted:
    """What one call computes: group columns, then a count, then each value."""

    def __init__(self, collection: CompiledCollection, query: api.Aggregation) -> None:
        self._types = collection.askable
        self._personal = collection.personal
        self.periods: list[Period] = []
        self.groups = self._grouping(query.group)
        numbers = (Type.INT, Type.FLOAT)
        self.sums = self._names(query.sum, "/sum", numbers)
        self.averages = self._names(query.avg, "/avg", numbers)
        ordered = (*numbers, Type.TIME, Type.TEXT)
        self.smallest = self._names(query.min, "/min", ordered)
        self.largest = self._names(query.max, "/max", ordered)
        self.asked = {
            "/group": [n for n in self.groups if n in self._types]
            + [period.field for period in self.periods],
            "/sum": self.sums, "/avg": self.averages, "/min": self.smallest, "/max": self.largest,
        }  # fmt: skip
        self.columns = 2 * len(self.sums) + len(self.averages + self.smallest + self.largest)
        self.long = (
            *map(self._is_long, self.groups),
            *[False] * (1 + 2 * len(self.sums) + len(self.averages)),
            *map(self._is_long, self.smallest + self.largest),
        )
        if len(self.groups) + self.columns > COLUMNS_MAX:
            raise Invalid(f"at most {COLUMNS_MAX} values are computed at once")
        plain = [name for name in self.groups if name in self._types]
        moments = [period.field for period in self.periods]
        named = [*plain, *moments, *self.sums, *self.averages, *self.smallest, *self.largest]
        shown = {
            name: sql.shown(collection.stored(name), "data", f"v{at}_")
            for at, name in enumerate(dict.fromkeys(named))
        }
        self._values = {name: (text.sqlite, text.postgres) for name, text in shown.items()}
        self.params = {k: v for text in shown.values() for k, v in text.params.items()}

    def place(self, ends: api.Group) -> None:
        """Turn periods into texts, of moments that lie between these ends. Raises Invalid."""
        assert isinstance(ends.min, dict)  # they were asked for
        assert isinstance(ends.max, dict)
        for period in self.periods:
            first, last = ends.min[period.field], ends.max[period.field]
            values = self._values[period.field]
            if first is None:  # no record has a moment
                self._values[period.name] = values
            else:
                self._values[period.name] = period_texts(period, values, first, last)

    def _is_long(self, name: str) -> bool:
        return self._types.get(name, Type.TEXT) in (Type.TEXT, Type.TIME)

    def _grouping(self, listed: str | None) -> list[str]:
        """Read what to group by: fields, and periods of fields that hold moments."""
        names: list[str] = []
        for part in _PARTS.findall(listed or ""):
            period = read_period(part.strip())
            if period is None:
                names += self._names(part, "/group", (Type.INT, Type.FLOAT, *_OTHERS))
                continue
            self._names(period.field, "/group", (Type.TIME,))
            if period.name in names:
                raise Invalid.at(
                    "/group", f"{period.name} is there twice: ask for one zone at once"
                )
            self.periods.append(period)
            names.append(period.name)
        return list(dict.fromkeys(names))

    def _names(self, listed: str | None, pointer: str, kinds: tuple[Type, ...]) -> list[str]:
        names = [n.strip() for n in (listed or "").split(",") if n.strip()]
        for name in names:
            if name in self._personal:
                raise Invalid.at(pointer, f"{name!r} {SEALED}")
            if self._types.get(name) not in kinds:
                raise Invalid.at(pointer, f"there is no field {name!r} that fits here")
        return list(dict.fromkeys(names))

    def texts(self, engine: int) -> tuple[str, str]:
        """The columns and the grouping, for SQLite (0) or PostgreSQL (1)."""

        def value(name: str) -> str:
            return self._values[name][engine]

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
            if self._types.get(name) is Type.BOOL and value is not None:
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

"""Tables and named SQL: what a service's ``store.py`` declares, and the writes it stages.

SQL is written once with ``:name`` parameters and compiled here to each engine's positional form. A
``Table`` gives the three writes whose text is always the same (insert, update by key, delete by
key), so that an adapter can batch them across callers; everything else is a named ``Statement``.
"""

import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import Conflict, Failure

R = TypeVar("R")
Values = tuple[Any, ...]
ColumnType = Literal["text", "bigint", "boolean", "double precision", "bytea"]

_PARAMETER = re.compile(r"'(?:[^']|'')*'|::|:([a-z_][a-z0-9_]*)")
_WHERE = re.compile(r"\bwhere\b.*", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(r"\s*(?:update|delete\s+from)\s+([a-z_][a-z0-9_]*)", re.IGNORECASE)
_KEY = re.compile(r"(?<![<>!])=\s*:([a-z_][a-z0-9_]*)\b(?!\s*[-+*/|])")
_COLUMN_TYPES: dict[object, ColumnType] = {
    str: "text",
    int: "bigint",
    bool: "boolean",
    float: "double precision",
    bytes: "bytea",
    msgspec.Raw: "text",
}


class Sql:
    """One SQL text in both engines' positional forms, with the order of its parameters.

    ``many`` is what it says to PostgreSQL for many at once, each parameter an array. ``changes`` is
    the table whose rows it updates or deletes.
    """

    __slots__ = ("changes", "keys", "many", "name", "order", "postgres", "sqlite")

    def __init__(
        self, name: str, text: str, postgres: str | None = None, many: str | None = None
    ) -> None:
        self.name = name
        order: list[str] = []

        def positional(sigil: str) -> Callable[[re.Match[str]], str]:
            def replace(match: re.Match[str]) -> str:
                if match[1] is None:
                    return match[0]
                if match[1] not in order:
                    order.append(match[1])
                return f"{sigil}{order.index(match[1]) + 1}"

            return replace

        self.sqlite = _PARAMETER.sub(positional("?"), text)
        self.postgres = _PARAMETER.sub(positional("$"), postgres or text)
        self.many = many and _PARAMETER.sub(positional("$"), many)
        self.order = tuple(order)
        # Which parameters its condition compares with a column: two that are bound alike to them
        # are after the same rows.
        where = _WHERE.search(text)
        named = _KEY.findall(where[0]) if where else []
        self.keys = tuple(sorted({order.index(name) for name in named}))
        target = _TARGET.match(text)
        self.changes = target[1] if target else None

    def bind(self, params: dict[str, Any]) -> Values:
        """Order named parameters. Raises KeyError for one that is missing."""
        if len(params) != len(self.order):
            raise KeyError(f"{self.name} takes {self.order}, not {tuple(params)}")
        return tuple([params[name] for name in self.order])


def _plain(annotation: object) -> object:
    """Strip ``Annotated`` and ``| None`` off a column's annotation."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return _plain(inner[0])
    if typing.get_origin(annotation) is Literal:
        return str
    return annotation


def _row_maker(row: type[R]) -> Callable[[Sequence[Any]], R]:
    """Build rows from column values, converting only what the engines return differently."""
    if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
        return tuple if row is tuple else lambda values: values[0]  # type: ignore[return-value]
    hints = typing.get_type_hints(row)
    booleans = [i for i, f in enumerate(row.__struct_fields__) if _plain(hints[f]) is bool]
    raws = [i for i, f in enumerate(row.__struct_fields__) if _plain(hints[f]) is msgspec.Raw]
    make: Callable[..., R] = row
    if not booleans and not raws:
        return lambda values: make(*values)

    def convert(values: Sequence[Any]) -> R:
        cells = list(values)
        for i in booleans:
            if cells[i] is not None:
                cells[i] = bool(cells[i])
        for i in raws:
            if cells[i] is not None:
                cells[i] = msgspec.Raw(cells[i].encode())
        return make(*cells)

    return convert


def _is_long(annotation: object) -> bool:
    """Whether a column holds text or bytes, whose length is not known beforehand."""
    kinds = typing.get_args(annotation) or (annotation,)
    return any(_plain(kind) in (str, bytes, msgspec.Raw) for kind in kinds)


def _long_columns(row: object) -> tuple[bool, ...]:
    if not (isinstance(row, type) and issubclass(row, msgspec.Struct)):
        return (_is_long(row),)
    hints = typing.get_type_hints(row)
    return tuple([_is_long(_plain(hints[name])) for name in row.__struct_fields__])


class Rows(msgspec.Struct, Generic[R], frozen=True):
    """The first rows of a query, and whether there are more."""

    items: list[R]
    more: bool


class Query(Generic[R]):
    """A named SELECT and the row it makes: a struct (one field per column), a tuple or a value.

    ``scans`` marks a plan that no index bounds: it runs away from the event loop under a deadline
    and a budget of database steps, and is refused when it exceeds them. ``long`` says which of its
    columns are text or bytes; only a tuple does not say so itself.
    """

    __slots__ = ("_page", "long", "long_at", "make", "scans", "sql")

    def __init__(
        self,
        name: str,
        sql: str,
        row: "type[R] | Table[R]",
        *,
        postgres: str | None = None,
        scans: bool = False,
        long: tuple[bool, ...] | None = None,
    ) -> None:
        self.sql = Sql(name, sql, postgres)
        kind: Any = row.row if isinstance(row, Table) else row
        self.make: Callable[[Sequence[Any]], R] = _row_maker(kind)
        self.scans = scans
        self.long = _long_columns(kind) if long is None else long
        self.long_at = tuple([i for i, is_long in enumerate(self.long) if is_long])
        self._page: str | None = None

    @property
    def postgres_page(self) -> str:
        """Its text for PostgreSQL, ended where the rows get too long by the server itself.

        It takes one more parameter, the most bytes of text, and says in one more column of each row
        whether that row is over them. The first row over comes too, and always a second one: they
        tell that there are more. A long value is counted without being read (``octet_length``).
        """
        if self._page is None:
            names = [f"c{i}" for i in range(len(self.long))]
            lengths = [
                f"coalesce(octet_length({name}), 0)"
                for name, long in zip(names, self.long, strict=True)
                if long
            ]
            size, most = " + ".join(lengths) or "0", f"${len(self.sql.order) + 1}::bigint"
            columns = ", ".join(names)
            self._page = (
                f"SELECT {columns}, total > {most} FROM (SELECT {columns}, {size} AS size, "
                f"sum({size}) OVER (ROWS UNBOUNDED PRECEDING) AS total, row_number() OVER () AS at "
                f"FROM ({self.sql.postgres}) AS page ({columns})) AS counted "
                f"WHERE total - size <= {most} OR at <= 2"
            )
        return self._page


class Insert(msgspec.Struct, frozen=True):
    """A row to add. On a conflict with a unique index the whole call fails with ``taken``.

    With ``taken=None`` the row that is there already stays and the call goes on.
    """

    table: "Table[Any]"
    values: Values
    on_conflict: Failure | type[Exception] | None


class Update(msgspec.Struct, frozen=True):
    """Changes to one row by key; ``version`` is the guard, None where it was opted out of."""

    table: "Table[Any]"
    key: Values
    names: tuple[str, ...]
    values: Values
    version: int | None


class Delete(msgspec.Struct, frozen=True):
    """One row to remove by key; ``version`` is the guard, None where it was opted out of."""

    table: "Table[Any]"
    key: Values
    version: int | None


class Command(msgspec.Struct, frozen=True):
    """A bound ``Statement``; ``expects`` rows or the call fails with ``failure``."""

    sql: Sql
    values: Values
    expects: int | None = None
    failure: Failure | type[Exception] = Conflict

    def expect(self, rows: int, failure: Failure | type[Exception]) -> "Command":
        """Demand that exactly ``rows`` rows are touched, else fail the call with ``failure``."""
        return Command(self.sql, self.values, rows, failure)


Write = Insert | Update | Delete | Command


class Statement:
    """A named write whose text is the service's own: conditional updates, upserts, sweeps.

    ``postgres_many`` does to as many rows as its arrays are long what the other texts do to one,
    for those that a batch of calls stages by the hundred.
    """

    __slots__ = ("sql",)

    def __init__(
        self, name: str, sql: str, *, postgres: str | None = None, postgres_many: str | None = None
    ) -> None:
        self.sql = Sql(name, sql, postgres, postgres_many)

    def __call__(self, **params: Any) -> Command:
        """Bind it, to be staged with ``call.write``."""
        return Command(self.sql, self.sql.bind(params))


class Table(Generic[R]):
    """A table and the struct that mirrors its columns, field by field and in order.

    A table with an integer field ``version`` is guarded: an update or delete of a row carries the
    version it was read at, and an update adds one.
    """

    __slots__ = (
        "_raws",
        "_sql",
        "column_types",
        "columns",
        "key",
        "name",
        "names",
        "row",
        "versioned",
    )

    def __init__(self, name: str, row: type[R], *, key: tuple[str, ...]) -> None:
        hints = typing.get_type_hints(row)
        self.name = name
        self.row = row
        self.key = key
        self.names: tuple[str, ...] = row.__struct_fields__  # type: ignore[attr-defined]
        self.columns = ", ".join(self.names)
        if not key or not set(key) <= set(self.names):
            raise Misdeclared(
                f"table {name}: its key is one or more of {', '.join(self.names)}: key=('id',), say"
            )
        if strange := [f for f in self.names if _plain(hints[f]) not in _COLUMN_TYPES]:
            raise Misdeclared(
                f"table {name}: {strange[0]} cannot be a column: str, int, bool, float, bytes and "
                "msgspec.Raw can"
            )
        self.column_types: dict[str, ColumnType] = {
            field: _COLUMN_TYPES[_plain(hints[field])] for field in self.names
        }
        self.versioned = "version" in self.names
        self._raws = any(_plain(hints[field]) is msgspec.Raw for field in self.names)
        self._sql: dict[object, Sql] = {}

    def insert(self, row: R, on_conflict: Failure | type[Exception] | None = Conflict) -> Insert:
        """Stage a new row; a unique conflict fails the call with ``taken`` (None: is ignored)."""
        values = msgspec.structs.astuple(row)  # type: ignore[arg-type]
        if self._raws:
            values = tuple([_cell(value) for value in values])
        return Insert(self, values, on_conflict)

    def update(self, row: R, **changes: Any) -> Update:
        """Stage changes to a row that was read, guarded by the version it was read at."""
        return Update(
            self,
            self._key_of(row),
            tuple(changes),
            tuple([_cell(v) for v in changes.values()]),
            self._guard_of(row),
        )

    def update_unguarded(self, row: R, **changes: Any) -> Update:
        """Stage changes that win over whatever others do to the row meanwhile."""
        return Update(
            self,
            self._key_of(row),
            tuple(changes),
            tuple([_cell(v) for v in changes.values()]),
            None,
        )

    def delete(self, row: R) -> Delete:
        """Stage the removal of a row that was read, guarded by the version it was read at."""
        return Delete(self, self._key_of(row), self._guard_of(row))

    def delete_unguarded(self, row: R) -> Delete:
        """Stage the removal of a row whatever others do to it meanwhile."""
        return Delete(self, self._key_of(row), None)

    def _key_of(self, row: R) -> Values:
        return tuple([getattr(row, name) for name in self.key])

    def _guard_of(self, row: R) -> int | None:
        return row.version if self.versioned else None  # type: ignore[attr-defined]

    def insert_sql(self) -> Sql:
        """One row, in the order of ``names``; nothing happens on a unique conflict."""
        return self._cached(
            "insert",
            lambda: (
                f"INSERT INTO {self.name} ({self.columns}) "
                f"VALUES ({', '.join(':' + n for n in self.names)}) ON CONFLICT DO NOTHING"
            ),
        )

    def update_sql(self, names: tuple[str, ...], guarded: bool) -> Sql:
        """Parameters: the changed values, the key, then the version when guarded."""

        def text() -> str:
            sets = [f"{n} = :{n}" for n in names]
            if self.versioned:
                sets.append("version = version + 1")
            return f"UPDATE {self.name} SET {', '.join(sets)} WHERE {self._where(guarded)}"

        return self._cached(("update", names, guarded), text)

    def delete_sql(self, guarded: bool) -> Sql:
        """Parameters: the key, then the version when guarded."""
        return self._cached(
            ("delete", guarded), lambda: f"DELETE FROM {self.name} WHERE {self._where(guarded)}"
        )

    def pages(self, limit: int, rows: str = "") -> tuple[Query[R], Query[R]]:
        """Return what reads its first rows in the order of the key, and what reads on behind one.

        The second takes the key. ``rows`` is where they are read from, if not from the table.
        """
        order, place = ", ".join(self.key), ", ".join(":" + n for n in self.key)
        of = f"SELECT {self.columns} FROM {rows or self.name}"
        end = f"ORDER BY {order} LIMIT {limit}"
        first = Query(f"{self.name}.first_page", f"{of} {end}", self)
        after = Query(f"{self.name}.next_page", f"{of} WHERE ({order}) > ({place}) {end}", self)
        return first, after

    def counted(self, rows: str = "") -> Query[int]:
        """Return what counts its rows, or those that ``pages`` reads; a scan."""
        text = f"SELECT count(*) FROM {rows or self.name}"
        return Query(f"{self.name}.counted", text, int, scans=True)

    def replaces(self, name: str) -> Statement:
        """Return what puts a ``value`` in a row's column while it has what it ``was``.

        It takes the key beside them, each part as ``key_…``.
        """
        text = (
            f"UPDATE {self.name} SET {name} = :value WHERE {self._where(False)} AND {name} = :was"
        )
        return Statement(f"{self.name}.replace_{name}", text)

    def _where(self, guarded: bool) -> str:
        tests = [f"{n} = :key_{n}" for n in self.key]
        if guarded:
            tests.append("version = :guard_version")
        return " AND ".join(tests)

    def _cached(self, what: object, text: Callable[[], str]) -> Sql:
        if (sql := self._sql.get(what)) is None:
            name = what if isinstance(what, str) else str(what[0])  # type: ignore[index]
            sql = self._sql[what] = Sql(f"{self.name}.{name}", text())
        return sql


def _cell(value: Any) -> Any:
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else value

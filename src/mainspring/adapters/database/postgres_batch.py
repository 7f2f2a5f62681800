"""Many calls in one statement: each table's rows as arrays, each expectation checked at the end.

A statement is its own transaction, so a batch costs one round trip and one flush of the log. When
a row, a guard or an expected count is missing, the statement fails as a whole by dividing by zero,
and ``postgres_commit`` finds out by halves which call was to blame.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from mainspring.kernel.table import Command, Delete, Insert, Sql, Table, Update, Write

# One transaction of all processes holds it at a time: see ``Turns``. "mainturn" in ASCII.
TAKE_TURN = f"pg_advisory_xact_lock({0x6D61696E7475726E})"

_PARAMETER = re.compile(r"'(?:[^']|'')*'|\$(\d+)")
_CAN_BE_NESTED = re.compile(r"\s*(?:insert|update|delete)\b", re.IGNORECASE)
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


def only_inserts(writes: Sequence[Write]) -> bool:
    """Tell whether a call adds rows and does nothing else."""
    return all(type(write) is Insert for write in writes)


def can_join(writes: Sequence[Write]) -> bool:
    """Tell whether a call with guards means the same as part of one statement.

    The parts of a statement do not see each other's effects. That is safe where each write is
    checked, since a row touched twice makes a count fall short and the call is run alone; and
    where there is one statement of the service's own at most, which reads nothing that comes before
    it. An insert that may be dropped is not checked: it joins only writes that cannot decide
    whether it is.
    """
    own = own_statement(writes)
    if own is not None and not (own.expects and _CAN_BE_NESTED.match(own.sql.postgres)):
        return False
    changed = {write.table for write in writes if isinstance(write, Update | Delete)}
    before_own = own is not None
    for write in writes:
        if write is own:
            before_own = False
        elif isinstance(write, Command):
            return False
        else:
            dropped = isinstance(write, Insert) and write.on_conflict is None
            if dropped and write.table in changed:
                return False
            if own is not None and (before_own or dropped) and _names(own.sql, write.table):
                return False
            if isinstance(write, Update | Delete) and write.version is None:
                return False
    return True


def own_statement(writes: Sequence[Write]) -> Command | None:
    """Return the first statement among writes that is the service's own."""
    for write in writes:
        if isinstance(write, Command):
            return write
    return None


def _names(sql: Sql, table: Table[Any]) -> bool:
    text = sql.postgres
    return table.name in text and re.search(rf"\b{table.name}\b", text) is not None


def touched(writes: Sequence[Write]) -> Iterable[tuple[Any, ...]]:
    """Yield what no second call of one statement may update: table and key.

    Of a service's own statement it is what its condition compares with: a row that two of them
    change in one statement is changed once.
    """
    for write in writes:
        if isinstance(write, Update | Delete):
            yield (write.table.name, *write.key)
        elif isinstance(write, Command):
            sql = write.sql
            if sql.changes is not None:
                yield (sql.changes, *[write.values[at] for at in sql.keys])
            elif sql.keys:
                yield (sql, *[write.values[at] for at in sql.keys])


class BatchStatement:
    """One statement under construction, and its parameters."""

    def __init__(self) -> None:
        self._inserts: dict[tuple[Table[Any], bool], list[Sequence[Any]]] = {}
        self._updates: dict[tuple[Table[Any], tuple[str, ...]], list[Sequence[Any]]] = {}
        self._deletes: dict[Table[Any], list[Sequence[Any]]] = {}
        self._commands: list[Command] = []
        self._alike: dict[Sql, list[Command]] = {}
        self._parts: list[str] = []
        self._checks: list[str] = []
        self._values: list[Any] = []

    def add(self, writes: Sequence[Write]) -> None:
        """Add the writes of one call."""
        for write in writes:
            if type(write) is Insert:
                table = (write.table, write.on_conflict is not None)
                self._inserts.setdefault(table, []).append(write.values)
            elif type(write) is Update:
                row = (*write.values, *write.key, write.version)
                self._updates.setdefault((write.table, write.names), []).append(row)
            elif type(write) is Delete:
                row = (*write.key, write.version)
                self._deletes.setdefault(write.table, []).append(row)
            else:
                assert isinstance(write, Command)
                if write.sql.many is None:
                    self._commands.append(write)
                else:
                    self._alike.setdefault(write.sql, []).append(write)

    def statement(self) -> tuple[str, str, list[Any]]:
        """Return the SQL, the same that waits for its turn first, and the parameters of both."""
        # The same order in every batch of every process, so that two rarely wait for each other.
        for command in sorted(self._commands, key=lambda c: c.sql.name):
            text = _shifted(command.sql.postgres, len(self._values))
            self._part(text, command.values, command.expects)
        for sql, commands in sorted(self._alike.items(), key=lambda i: i[0].name):
            self._many(sql, commands)
        for (table, names), rows in sorted(self._updates.items(), key=lambda i: i[0][0].name):
            self._update(table, names, rows)
        for table, rows in sorted(self._deletes.items(), key=lambda i: i[0].name):
            self._delete(table, rows)
        for (table, checked), rows in sorted(
            self._inserts.items(), key=lambda i: (i[0][0].name, i[0][1])
        ):
            self._insert(table, rows, checked)
        at_once = f"1 / (({' AND '.join(self._checks)})::int)" if self._checks else "1"
        in_turn = " AND ".join([f"(SELECT true FROM {TAKE_TURN})", *self._checks])
        ctes = f"WITH {', '.join(self._parts)} " if self._parts else ""
        return f"{ctes}SELECT {at_once}", f"{ctes}SELECT 1 / (({in_turn})::int)", self._values

    def _many(self, sql: Sql, commands: list[Command]) -> None:
        assert sql.many is not None
        rows = sorted(
            [command.values for command in commands], key=lambda row: [row[at] for at in sql.keys]
        )
        expects = sum(command.expects or 0 for command in commands)
        self._part(_shifted(sql.many, len(self._values)), columns(rows), expects)

    def _insert(self, table: Table[Any], rows: list[Sequence[Any]], checked: bool) -> None:
        sql = insert_rows(table, len(self._values))
        values = columns(in_key_order(table, rows))
        self._part(f"{sql} RETURNING 1", values, len(rows) if checked else None)

    def _update(self, table: Table[Any], names: tuple[str, ...], rows: list[Sequence[Any]]) -> None:
        new = [f"new_{name}" for name in names]
        sets = [f"{name} = n.new_{name}" for name in names]
        if table.versioned:
            sets.append("version = t.version + 1")
        source = self._source(table, names, new)
        sql = f"UPDATE {table.name} AS t SET {', '.join(sets)} FROM {source} WHERE {_guard(table)}"
        self._part(f"{sql} RETURNING 1", columns(rows), len(rows))

    def _delete(self, table: Table[Any], rows: list[Sequence[Any]]) -> None:
        sql = f"DELETE FROM {table.name} AS t USING {self._source(table)} WHERE {_guard(table)}"
        self._part(f"{sql} RETURNING 1", columns(rows), len(rows))

    def _source(
        self, table: Table[Any], names: tuple[str, ...] = (), aliases: Sequence[str] = ()
    ) -> str:
        types = [table.column_types[name] for name in (*names, *table.key, "version")]
        aliases = [*aliases, *(f"key_{name}" for name in table.key), "guard_version"]
        return f"{unnested(types, len(self._values))} AS n ({', '.join(aliases)})"

    def _part(self, sql: str, values: Sequence[Any], expects: int | None) -> None:
        name = f"w{len(self._parts)}"
        self._parts.append(f"{name} AS ({sql})")
        self._values.extend(values)
        if expects is not None:
            self._checks.append(f"(SELECT count(*) FROM {name}) = {self._bind(expects)}::bigint")

    def _bind(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"


def insert_rows(table: Table[Any], offset: int = 0) -> str:
    """An INSERT whose parameters are the table's columns as arrays; conflicts are skipped."""
    source = unnested([table.column_types[name] for name in table.names], offset)
    return (
        f"INSERT INTO {table.name} ({table.columns}) SELECT * FROM {source} ON CONFLICT DO NOTHING"
    )


def in_key_order(table: Table[Any], rows: list[Sequence[Any]]) -> list[Sequence[Any]]:
    """Sort rows by key: whoever inserts the same ones meets them in the same order."""
    positions = [table.names.index(name) for name in table.key]
    if len(positions) == 1:
        position = positions[0]
        return sorted(rows, key=lambda row: row[position])
    return sorted(rows, key=lambda row: [row[position] for position in positions])


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Turn rows into one list per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def unnested(types: Sequence[str], offset: int) -> str:
    """A source of rows made of one array parameter per column."""
    return f"unnest({', '.join(f'${offset + i}::{t}[]' for i, t in enumerate(types, 1))})"


def _guard(table: Table[Any]) -> str:
    tests = [f"t.{name} = n.key_{name}" for name in table.key]
    return " AND ".join([*tests, "t.version = n.guard_version"])


def _shifted(sql: str, offset: int) -> str:
    """Renumber the parameters of a statement that becomes part of a larger one."""
    text = _PARAMETER.sub(
        lambda match: match[0] if match[1] is None else f"${int(match[1]) + offset}", sql
    )
    return text if _RETURNING.search(text) else f"{text} RETURNING 1"

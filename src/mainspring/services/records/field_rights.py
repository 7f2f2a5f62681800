"""What a caller may read and write of a record's fields: rules of fields, asked at every door.

What one may not read is left out, wherever a record is shown. Nothing is to be learnt of it by
trying either: it is not filtered, sorted or grouped by, no operator counts from it, and sending
the value that it has is a change like any other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from mainspring import Call, Caller, FieldErrors, Forbidden
from mainspring.cel import ast
from mainspring.services.records import access, personal
from mainspring.services.records.api import READ, WRITE, Action
from mainspring.services.records.guards import Guard
from mainspring.services.records.model import CompiledCollection, changed

Record = Mapping[str, Any]


class Sight:
    """Which fields of a collection's records one caller is shown, as of now."""

    __slots__ = ("_guards", "_known", "_seals", "caller")

    def __init__(
        self,
        guards: Sequence[Guard] = (),
        known: Mapping[str, Any] | None = None,
        *,
        seals: bool = False,
    ) -> None:
        self._guards = guards
        self._seals = seals
        self._known = known or {}
        self.caller: Mapping[str, Any] = self._known.get("caller", {})  # what was asked of it

    @property
    def whole(self) -> bool:
        """Whether every field of every record is shown, and as it is stored."""
        return not self._guards and not self._seals

    def withheld(self, record: Record) -> tuple[str, ...]:
        """Name the fields of a record that are not shown."""
        return tuple(guard.field for guard in self._guards if not self._reads(guard, record))

    def shown(self, record: Record) -> dict[str, Any]:
        """What is shown of a record."""
        withheld = self.withheld(record)
        return {name: value for name, value in record.items() if name not in withheld}

    def always(self, name: str) -> bool:
        """Whether a field is shown of every record, whatever is in it."""
        guard = next((guard for guard in self._guards if guard.field == name), None)
        if guard is None:
            return True
        return guard.read is not None and guard.read.residual(self._known) is ast.TRUE

    def _reads(self, guard: Guard, record: Record) -> bool:
        return guard.read is not None and guard.read.test(record, self._known)


WHOLE, SEALED = Sight(), Sight(seals=True)


async def readable(
    call: Call, collection: CompiledCollection, records: Sequence[Record]
) -> list[dict[str, Any]]:
    """What the caller is shown of records that it may view."""
    seen = await sight(call, collection)
    return await personal.opened(call, collection, [seen.shown(record) for record in records])


async def sight(call: Call, collection: CompiledCollection, caller: Caller | None = None) -> Sight:
    """What this caller, or another one, is shown of a collection's records it may view."""
    if not collection.withholding or (caller or call.caller).allows(READ):
        return SEALED if collection.personal else WHOLE
    guards = collection.withholding
    asks = frozenset[str]().union(*(g.read.asks_context for g in guards if g.read is not None))
    known = await access.context(call, "view", asks, caller=caller)
    return Sight(guards, known, seals=bool(collection.personal))


async def unseen(call: Call, collection: CompiledCollection, record: Record) -> Sequence[str]:
    """Name the fields that have a value which is not shown: withheld, or of who was erased."""
    if not collection.withholding and not collection.personal:
        return ()
    withheld = (await sight(call, collection)).withheld(record)
    (opened,) = await personal.opened(call, collection, [record])
    return [
        *withheld,
        *(n for n in collection.personal if record.get(n) is not None and opened[n] is None),
    ]


def tag_of_shown(etag: str, withheld: Collection[str]) -> str:
    """The tag of a record as it is shown without these fields: another representation of it."""
    if not withheld:
        return etag
    digest = blake2b("\0".join(sorted(withheld)).encode(), digest_size=6).hexdigest()
    return f'{etag[:-1]}-{digest}"'


def without(body: bytes | msgspec.Raw, withheld: Collection[str]) -> msgspec.Raw:
    """Take fields out of a record as it was answered."""
    if not withheld:
        return msgspec.Raw(bytes(body))
    record = msgspec.json.decode(body)
    return msgspec.Raw(
        msgspec.json.encode({name: v for name, v in record.items() if name not in withheld})
    )


async def require_askable(
    call: Call, collection: CompiledCollection, names: Iterable[str], pointer: str
) -> None:
    """Raise Forbidden where one asks by fields that one may not read of every record."""
    if not collection.withholding:
        return
    seen = await sight(call, collection)
    for name in names:
        if not seen.always(name):
            raise Forbidden.at(
                pointer,
                f"{name!r} cannot be asked for by those who may not read it in every record",
            )


async def require_filter(
    call: Call,
    home: CompiledCollection,
    tree: ast.Node,
    others: Mapping[str, CompiledCollection],
) -> None:
    """Raise Forbidden for a filter that asks for what its sender may not read everywhere."""
    rows = {0: home}
    for row, hop in ast.hops(tree).items():
        rows[row] = home if hop.collection == home.id else others[hop.collection]
    asked: dict[int, set[str]] = {}
    for row, name in _asked(tree):
        asked.setdefault(row, set()).add(name)
    for row, names in asked.items():
        await require_askable(call, rows[row], sorted(names), "/filter")


def _asked(node: ast.Node) -> Iterable[tuple[int, str]]:
    """The fields that a tree asks for, also to go to other rows, each with its row."""
    if isinstance(node, ast.FieldValue):
        yield node.row, node.path[0]
    if isinstance(node, ast.Reaching):
        yield (node.row if node.hop.back else node.hop.source), node.hop.field
    for inner in ast.children(node):
        yield from _asked(inner)


# Writing


async def blind(
    call: Call, collection: CompiledCollection, record: Record, values: Collection[str]
) -> list[str]:
    """Name the fields among these whose value in the record the caller may not know.

    Whatever is sent for one counts as another value: else trying would tell which it has.
    """
    if not collection.withholding:
        return []
    withheld = (await sight(call, collection)).withheld(record)
    return [name for name in values if name in withheld]


async def require_no_blind_operator(
    call: Call, collection: CompiledCollection, record: Record, body: msgspec.Raw, pointer: str
) -> None:
    """Raise Forbidden where an operator is to count from what the caller may not read."""
    if not collection.withholding:
        return
    withheld = (await sight(call, collection)).withheld(record)
    errors = FieldErrors()
    for operator, names in operators_in(body):
        for name in names:
            if name in withheld:
                errors.add(f"{pointer}/{operator}/{name}", "counts from what you may not read")
    if errors:
        raise Forbidden("an operator counts from a field that you may not read", errors=errors)


def operators_in(body: msgspec.Raw) -> list[tuple[str, list[str]]]:
    """The operators of a body and the fields each names; none where it cannot be read."""
    try:
        sent = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []  # reading it as a change tells what is wrong
    if not isinstance(sent, dict):
        return []
    return [(name, list(v)) for name, v in sent.items() if name[:1] == "$" and isinstance(v, dict)]


async def require_writable(
    call: Call,
    collection: CompiledCollection,
    names: Collection[str],
    states: Sequence[Record],
    *,
    body: msgspec.Raw | None = None,
    pointer: str = "",
    before: Record | None = None,
) -> None:
    """Raise Forbidden unless the caller may write these fields.

    The rule of each has to hold for the record in every one of its states: as it is, and as it
    becomes. ``before`` is the record as it is, unless it is new.
    """
    refused = await _unwritable(call, collection, names, states, body, before)
    if not refused:
        return
    errors = FieldErrors()
    for name in refused:
        errors.add(f"{pointer}/{name}", "you may not write this field: leave it out")
    raise Forbidden(f"you may not write {', '.join(map(repr, refused))}", errors=errors)


async def _unwritable(
    call: Call,
    collection: CompiledCollection,
    names: Collection[str],
    states: Sequence[Record],
    body: msgspec.Raw | None = None,
    before: Record | None = None,
) -> list[str]:
    if not collection.guards:
        return []
    guarding = {g.field: g.write for g in collection.guards if g.write is not None}
    asked = {name: guarding[name] for name in names if name in guarding}
    if not asked or call.caller.allows(WRITE):
        return []
    asks = frozenset[str]().union(*(program.asks_context for program in asked.values()))
    action: Action = "update" if len(states) > 1 else "create"
    known = await access.context(call, action, asks, body, names, before=before)
    return [
        name
        for name, program in asked.items()
        if not all(program.test(state, known) for state in states)
    ]


async def open_to(call: Call, collection: CompiledCollection, record: Record) -> set[str]:
    """Name the guarded fields of a record that the caller may both read and write.

    The others stay as they are where a PUT leaves them out: it replaces what its sender knows of.
    """
    names = {guard.field for guard in collection.guards}
    names -= set((await sight(call, collection)).withheld(record))
    return names - set(await _unwritable(call, collection, names, [record], before=record))


def changes_of(record: Record, values: Record, touched: Collection[str]) -> list[str]:
    """The names of fields that change, ``touched`` ones whatever their value."""
    return list(dict.fromkeys([*changed(record, values), *touched]))

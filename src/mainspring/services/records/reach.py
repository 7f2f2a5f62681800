"""Expressions that reach other collections: what they name there, and who judges records by them.

A rule is its collection's: it sees every record that it asks for. A filter is its sender's, and
sees of other collections what its sender may view; one of which that is nothing is not there.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mainspring import Call, Command, Invalid, Rerun
from mainspring.cel import Lead, Names, Program, ast, compile_cel, sql
from mainspring.cel.types import ITEMS
from mainspring.kernel.errors import NeedsIndex
from mainspring.services.records.api import READ, Rules, StillReferenced
from mainspring.services.records.fields import OUTSIDE
from mainspring.services.records.model import (
    AccessRule,
    CompiledCollection,
    Reached,
    Shape,
    Unloaded,
    compile_rule,
    compile_rules,
    names_for,
    rule_sources,
)
from mainspring.services.records.schema_cache import (
    compile_row,
    compiled,
    every,
    read_definition,
)
from mainspring.services.records.store import (
    COLLECTION_VERSIONS,
    COLLECTIONS_EPOCH,
    COLLECTIONS_STILL,
    HEAD,
    RELATED,
    RELATED_HELD,
    Head,
    judging,
    still_so,
)

_encode = msgspec.json.Encoder().encode


class Surroundings:
    """The collections around one, as far as its expressions have asked for them.

    A name that is not loaded yet raises Unloaded; whoever compiles loads it, and compiles again.
    """

    def __init__(self, home: Shape) -> None:
        self.loaded: list[CompiledCollection] = []
        self._instead: dict[str, Shape | None] = {}
        self._by_id: dict[str, Shape | None] = {home.id: home}
        self._by_name: dict[str, Shape | None] = {home.name: home}

    def put(self, shape: Shape | None, missing: Unloaded | None = None) -> None:
        """Add a collection, or that there is none where one was missed."""
        if shape is not None and shape.id in self._instead:
            shape = self._instead[shape.id]
        if shape is not None:
            self._by_id[shape.id] = self._by_name[shape.name] = shape
        elif missing is not None:
            known = self._by_name if missing.by_name else self._by_id
            known[missing.collection] = None

    def stand_in(self, id: str, shape: Shape | None) -> None:
        """Take a collection for what it is to be, or for gone."""
        self._instead[id] = shape

    def names(self, shape: Shape) -> Names:
        """What an expression about records of a collection may name."""
        return shape.names(partial(self._follow, shape))

    def _follow(self, shape: Shape, name: str) -> Lead | None:
        target = shape.targets.get(name)
        if target in OUTSIDE:
            return None  # of a user nothing is told but the id, which the field is
        if target is not None:
            if target not in self._by_id:
                raise Unloaded(target, by_name=False)
            other = self._by_id[target]
            if other is None:
                return None
            many = shape.types[name] in ITEMS
            return Lead(shape.id, name, target, self.names(other), many=many)
        if name in shape.types or name in shape.closed or name in ("caller", "request"):
            return None
        if name not in self._by_name:
            raise Unloaded(name, by_name=True)
        other = self._by_name[name]
        fields = [] if other is None else [f for f, to in other.targets.items() if to == shape.id]
        if other is None or not fields:
            return None
        names = self.names(other)
        ways = tuple(Lead(shape.id, field, other.id, names, back=True) for field in fields)
        return msgspec.structs.replace(ways[0], several=ways) if len(ways) > 1 else ways[0]


async def rule_of(call: Call, collection: CompiledCollection, rule: AccessRule) -> Reached:
    """Compile a rule that reaches other collections, as they are now.

    What it reaches is who belongs where, mostly: that is asked of the newest.
    """
    call.read_newest()
    known = collection.reached.get(rule.action)
    if known is not None and await _current(call, known):
        return known
    try:
        made = await compiled_with(
            call, collection, rule.source, f"/rules/{rule.action}", action=rule.action
        )
    except Invalid as error:  # what a rule reaches is not changed so that it no longer fits
        raise RuntimeError(f"the {rule.action} rule of {collection.id} does not fit") from error
    collection.reached.put(rule.action, made)
    return made


async def filter_of(call: Call, collection: CompiledCollection, source: str) -> Reached:
    """Compile a filter that reaches other collections, where its sender may view records at all.

    Raises Invalid.
    """
    call.read_newest()
    key = f"filter {source}"
    known = collection.reached.get(key)
    if (
        known is not None
        and all(_viewable_at_all(call, other) for other in known.others.values())
        and await _current(call, known)
    ):
        return known
    shown = partial(_viewable_at_all, call)
    made = await compiled_with(call, collection, source, "/filter", shown)
    collection.reached.put(key, made)
    return made


def _viewable_at_all(call: Call, collection: CompiledCollection) -> bool:
    return call.caller.allows(READ) or "view" in collection.rules


async def _current(call: Call, known: Reached) -> bool:
    """Tell whether the collections that an expression was compiled with are those of now."""
    ids = _encode(list(known.others)).decode()
    heads: list[Head] = await call.all(COLLECTION_VERSIONS, ids=ids)
    return {h.id: h.version for h in heads} == {o.id: o.version for o in known.others.values()}


async def compiled_with(
    call: Call,
    home: CompiledCollection,
    source: str,
    pointer: str,
    shown: Callable[[CompiledCollection], bool] | None = None,
    action: str = "",
) -> Reached:
    """Compile an expression and load what it reaches, as far as it is ``shown``. Raises Invalid.

    A rule's names are those for its ``action``.
    """
    around = Surroundings(home.shape)
    others: dict[str, CompiledCollection] = {}
    while True:
        try:
            names = names_for(action, around.names(home.shape))
            program = compile_cel(source, names, pointer)
        except Unloaded as missing:
            other = await _load(call, missing)
            if other is not None and shown is not None and not shown(other):
                other = None
            around.put(None if other is None else other.shape, missing)
            if other is not None:
                others[other.id] = other
        else:
            used = {hop.collection for hop in ast.hops(program.tree).values()}
            return Reached(program, {id: o for id, o in others.items() if id in used})


async def reached_by(call: Call, rules: Rules, shape: Shape) -> Surroundings:
    """Load what the rules of a collection reach that is to have this shape."""
    around = Surroundings(shape)
    while True:
        try:
            compile_rules(rules, around.names(shape))
        except Invalid:
            return around  # which is told with what else is wrong
        except Unloaded as missing:
            other = await _load(call, missing)
            around.put(None if other is None else other.shape, missing)
            around.loaded += [] if other is None else [other]
        else:
            return around


async def require_unused(call: Call, id: str, shape: Shape | None) -> Command:
    """Raise StillReferenced while a rule of another collection would not fit what this one becomes.

    Without a shape it is to be gone. Returns what asks in the commit whether the collections are
    those that were looked at: it comes after what holds this one.
    """
    epoch = await call.one(COLLECTIONS_EPOCH, tenant=call.tenant)
    async for row in every(call):
        definition = read_definition(row)
        if row.id == id or id not in definition.reaches:
            continue
        own = compile_row(row).shape
        for action, source in rule_sources(definition.rules).items():
            around = Surroundings(own)
            around.stand_in(id, shape)
            await _require_fitting(call, row.name, action, source, own, around)
    return COLLECTIONS_STILL(
        id=id, tenant=call.tenant, count=epoch.count, versions=epoch.versions
    ).expect(1, Rerun)


async def _require_fitting(
    call: Call, name: str, action: str, source: str, own: Shape, around: Surroundings
) -> None:
    while True:
        try:
            compile_rule(action, source, around.names(own))
        except Unloaded as missing:
            other = await _load(call, missing)
            around.put(None if other is None else other.shape, missing)
        except Invalid as error:
            detail = error.errors[0].detail
            raise StillReferenced(
                f"the {action} rule of the collection {name!r} asks for what would be gone "
                f"({detail}): change that rule first"
            ) from None
        else:
            return


async def _load(call: Call, missing: Unloaded) -> CompiledCollection | None:
    """Read the collection that an expression asks for, if there is one."""
    if missing.by_name:
        head = await call.find(HEAD, tenant=call.tenant, name=missing.collection)
    else:
        heads = await call.all(COLLECTION_VERSIONS, ids=_encode([missing.collection]).decode())
        head = heads[0] if heads else None
    return None if head is None else await compiled(call, head.id, head.version)


async def restricted(
    call: Call,
    home: CompiledCollection,
    reached: Reached,
    known: Callable[[Program], Awaitable[Any]],
) -> tuple[ast.Node, dict[str, CompiledCollection]]:
    """What a filter asks, of the records only that its sender may view.

    ``known`` is the context of a view rule. Returns the collections it reaches, too.
    """
    tree, others = reached.program.tree, dict(reached.others)
    if call.caller.allows(READ):
        return tree, others
    seen: dict[str, ast.Node] = {}
    for id in sorted({hop.collection for hop in ast.hops(tree).values()}):
        rule = (home if id == home.id else others[id]).rules.get("view")
        if rule is None:
            seen[id] = ast.FALSE
            continue
        program = rule.program
        if program is None:
            own = await rule_of(call, home if id == home.id else others[id], rule)
            program, others = own.program, {**others, **own.others}
        seen[id] = program.residual(await known(program))
    made = ast.with_rows(tree, lambda through: _only(through, seen[through.hop.collection]))
    try:
        sql.require_short(made)
    except sql.TooLong:
        detail = (
            "asks for more related records than can be asked for together with who may view them"
        )
        raise Invalid.at("/filter", detail) from None
    return made, others


def _only(through: ast.Reaching, view: ast.Node) -> ast.Reaching:
    """Go over the rows only that a view rule shows. Its own rows get numbers of their own."""
    row = through.row
    view = ast.renumbered(view, lambda number: 10 * row + number if number else row)
    return msgspec.structs.replace(through, condition=ast.All((view, through.condition)))


def as_stored(
    home: CompiledCollection, condition: ast.Node, others: Mapping[str, CompiledCollection]
) -> ast.Node:
    """Turn a condition on records as they are shown into one on them as they are stored."""
    rows = {0: home}
    for row, hop in ast.hops(condition).items():
        rows[row] = home if hop.collection == home.id else others[hop.collection]
    made = ast.with_fields(condition, lambda field: rows[field.row].stored_field(field))
    return home.by_stored_names(_by_stored_names(made, rows))


def _by_stored_names(condition: ast.Node, rows: Mapping[int, CompiledCollection]) -> ast.Node:
    """Ask of related records by the names that they are stored under."""
    return ast.with_rows(
        condition,
        lambda through: msgspec.structs.replace(
            through,
            condition=rows[through.row].by_stored_names(through.condition, through.row),
        ),
    )


async def judge(
    call: Call,
    home: CompiledCollection,
    reached: Reached,
    known: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    action: str,
    *,
    hold: bool,
) -> list[bool]:
    """Tell which records a rule lets pass: in one read, of one moment.

    With ``hold`` the commit asks again, with what is asked held until it is done.
    """
    condition = reached.program.residual(known)
    if isinstance(condition, ast.Const):
        return [condition is ast.TRUE] * len(records)
    rows = {
        row: home if hop.collection == home.id else reached.others[hop.collection]
        for row, hop in ast.hops(condition).items()
    }
    condition = ast.with_fields(
        condition, lambda field: rows[field.row].stored_field(field) if field.row else field
    )
    condition = _by_stored_names(condition, rows)
    data = [_asked_of(record, condition) for record in records]
    try:
        found = await meeting(call, condition, data)
    except NeedsIndex:
        raise NeedsIndex(
            f"the {action} rule of {home.name!r} goes over too many related records"
        ) from None
    if hold and len(found) == len(records):
        held = sql.fragment(condition, "record.data", related=RELATED_HELD)
        guard = still_so((held.sqlite, held.postgres))
        for each in data:
            call.write_first(
                guard(record=_encode(each).decode(), collection=home.id, **held.params).expect(
                    1, Rerun
                )
            )
    return [i in found for i in range(len(records))]


async def meeting(
    call: Call, condition: ast.Node, records: Sequence[Mapping[str, Any]]
) -> set[int]:
    """Return the places of those among some records that meet a condition: in one read.

    Related records are those of now. Raises NeedsIndex where there are too many.
    """
    data = [_asked_of(record, condition) for record in records]
    test = sql.fragment(condition, "record.data", related=RELATED)
    scans = any(hop.back for hop in ast.hops(condition).values())
    query = judging((test.sqlite, test.postgres), scans=scans)
    return set(await call.all(query, records=_encode(data).decode(), **test.params))


def _asked_of(record: Mapping[str, Any], condition: ast.Node) -> dict[str, Any]:
    """What of a record a condition asks for."""
    return {name: record.get(name) for name in ast.record_fields(condition)}

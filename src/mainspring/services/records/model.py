"""A collection as it runs: its definition checked, and compiled to decoders, rules and keys."""

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import UNSET

from mainspring import (
    Failure,
    FieldErrors,
    Invalid,
    LruCache,
    check_all,
    rfc3339,
)
from mainspring.cel import Lead, Names, Program, Type, ast, compile_cel
from mainspring.kernel.field_errors import collect
from mainspring.kernel.ids import ALPHABET
from mainspring.kernel.json_reader import unreadable
from mainspring.kernel.same_json import same_json
from mainspring.services.records import keys
from mainspring.services.records.api import Field, Rules
from mainspring.services.records.body_structs import body_struct, default_of
from mainspring.services.records.change_operators import ChangeOperators
from mainspring.services.records.fields import (
    OUTSIDE,
    annotation,
    cel_type,
    is_set,
    normaliser,
)
from mainspring.services.records.guards import compile_guards, is_guarded, with_before
from mainspring.services.records.personal_rules import SEALED
from mainspring.services.records.shared_cache import SharedLruCache

UNFIT = "the record does not fit its collection"
FILTERS_CACHED = 256  # compiled filters per collection
_FILLING = (
    "stored records are still getting their default in this field: send a value, or wait until the "
    "collection is ready"
)
_replaced = msgspec.structs.replace

SYSTEM = {
    "id": Type.TEXT,
    "collection": Type.TEXT,
    "created_at": Type.TIME,
    "updated_at": Type.TIME,
}
CONTEXT = {
    "caller": Type.CALLER, "caller.id": Type.TEXT, "caller.kind": Type.TEXT,
    "caller.scopes": Type.TEXTS,
    "caller.user": Type.TEXT, "caller.email": Type.TEXT, "caller.email_verified": Type.BOOL,
    "caller.roles": Type.TEXTS, "caller.profile": Type.JSON,
    "caller.organizations": Type.TEXTS, "caller.organizations_by_role.*": Type.TEXTS,
    "request.method": Type.TEXT, "request.data": Type.JSON, "request.changes": Type.TEXTS,
    "now": Type.TIME,
}  # fmt: skip
RESERVED = frozenset({*SYSTEM, "caller", "request", "record", "now", "expand", "data", "true",
                      "false", "null", "in", "has", "size", "timestamp"})  # fmt: skip
RESERVED_COLLECTIONS = frozenset({"records", "collections", "system", *OUTSIDE})

_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_encode = msgspec.json.Encoder().encode


class IndexSlot(msgspec.Struct, frozen=True):
    """An index and the column its keys are in: of every record stored at schema ``since`` or later.

    Where it was stored without, it is the definition's layout.
    """

    column: str
    fields: list[str]
    since: int = 0


class UniqueSlot(msgspec.Struct, frozen=True):
    """What is unique, and the column its keys are in: one ``field``, or several ``together``."""

    column: str
    field: str = ""
    together: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, one or several."""
        return (self.field,) if self.field else tuple(self.together)


class Definition(msgspec.Struct, frozen=True):
    """What is stored of a collection. ``targets`` are the collections relations point into.

    ``layout`` is the schema version that last changed how records are stored: those written at an
    earlier one are brought along. ``reaches`` are the ids of other collections that rules ask;
    ``withheld`` names fields that are gone and were not for everybody: events still have them.

    Of the change that made this layout, ``renames`` has the names that fields had until then, and
    ``filled`` those that are new and have a default. ``former`` has all names that fields once had,
    the last one first: old events tell of them by those.
    """

    fields: list[Field]
    rules: Rules
    indexes: list[IndexSlot]
    uniques: list[UniqueSlot]
    targets: dict[str, str]
    layout: int
    reaches: list[str] = []
    withheld: list[str] = []
    renames: dict[str, str] = {}
    filled: list[str] = []
    former: dict[str, list[str]] = {}
    documents: bool = False


class Shape(msgspec.Struct, frozen=True):
    """What expressions ask of a collection. ``targets`` are by relation field.

    ``closed`` are fields that nothing can be asked of, and why.
    """

    id: str
    name: str
    types: Mapping[str, Type]
    targets: Mapping[str, str]
    closed: Mapping[str, str]

    def names(self, follow: Callable[[str], Lead | None] = lambda name: None) -> Names:
        """What an expression about its records may name."""
        return Names(self.types, CONTEXT, follow=follow, closed=self.closed)


def shape_of(id: str, name: str, fields: Collection[Field], targets: Mapping[str, str]) -> Shape:
    """What expressions may ask of a collection with these fields."""
    types = {**SYSTEM, **{f.name: cel_type(f) for f in fields if not f.personal}}
    return Shape(id, name, types, targets, {f.name: SEALED for f in fields if f.personal})


class Unloaded(Exception):
    """An expression asks for another collection, by its id or by its name."""

    def __init__(self, collection: str, *, by_name: bool) -> None:
        super().__init__(collection)
        self.collection = collection
        self.by_name = by_name


class AccessRule(msgspec.Struct, frozen=True):
    """A rule; without a program where it reaches other collections, which are as they are then."""

    action: str
    source: str
    program: Program | None


class Reached(msgspec.Struct, frozen=True):
    """An expression compiled with the other collections that it reaches, by their ids."""

    program: Program
    others: "Mapping[str, CompiledCollection]"


class KeyPart(msgspec.Struct, frozen=True):
    """One field of an index."""

    name: str
    type: Type
    descending: bool


class CompiledCollection:
    """One version of a collection, ready to decode, judge, encode and index records. Immutable."""

    def __init__(
        self,
        id: str,
        name: str,
        version: int,
        schema_version: int,
        ready_version: int,
        definition: Definition,
    ) -> None:
        self.id = id
        self.name = name
        self.version = version
        self.schema_version = schema_version
        self.definition = definition
        self.layout = definition.layout
        self.fields = {f.name: f for f in definition.fields}
        self.types: dict[str, Type] = {
            **SYSTEM,
            **{f.name: cel_type(f) for f in definition.fields},
        }
        self.shape = shape_of(id, name, definition.fields, definition.targets)
        self.askable = self.shape.types
        self.names = self.shape.names(partial(_elsewhere, self.shape))
        # By personal fields, the field that says whose they are.
        self.personal = {f.name: f.personal_of for f in definition.fields if f.personal_of}
        self.rules = {
            action: AccessRule(
                action, source, _alone(partial(compile_rule, action, source, self.names))
            )
            for action, source in rule_sources(definition.rules).items()
        }
        self.guards = compile_guards(definition.fields, self.shape.names())
        self.withholding = [guard for guard in self.guards if guard.withholds]
        # By what is looked for at the far end of a condition: until when it is taken for few.
        self.found_few: LruCache[Hashable, tuple[int, bool]] = LruCache(FILTERS_CACHED)
        self.reached: SharedLruCache[str, Reached] = SharedLruCache(FILTERS_CACHED)
        # What is left of those, by what is known of a call: the expression, and a ListCondition.
        self.asked: SharedLruCache[Hashable, tuple[Reached, Any]] = SharedLruCache(FILTERS_CACHED)
        self.unique_fields = {u.field: u.column for u in definition.uniques if u.field}
        self.uniques = [(u.column, u.names) for u in definition.uniques]
        self.indexes = [(i.column, self.parts(i.fields)) for i in definition.indexes]
        # What stored records that wait for the layout of now have no value in, and are shown with.
        waiting = ready_version < definition.layout
        new = frozenset(definition.filled)
        self._filled = {
            f.name: f.default for f in definition.fields if waiting and (fills(f) or f.name in new)
        }
        self._filling = new if waiting else frozenset[str]()
        self._renames = definition.renames if waiting else {}
        late = {i.column for i in definition.indexes if i.since > ready_version}
        self.indexes_ready = [(c, parts) for c, parts in self.indexes if c not in late]
        self.indexes_building = [(c, parts) for c, parts in self.indexes if c in late]
        self.files = [f.name for f in definition.fields if f.type == "file"]
        self.thumbs = sorted({size for f in definition.fields for size in f.thumbs})
        self.relations = [f for f in definition.fields if f.type == "relation"]
        self.stamped = [f for f in definition.fields if f.stamp is not None]
        self._many = frozenset(f.name for f in definition.fields if f.many)
        self._normalisers = [
            (f, normalise)
            for f in definition.fields
            if (normalise := normaliser(f, definition.targets)) is not None or f.many
        ]
        self.unset = {f.name: default_of(f) for f in definition.fields}
        self._required = frozenset(f.name for f in definition.fields if f.required)
        self.operators = ChangeOperators([f for f in definition.fields if not f.personal])
        self._new, self._put, self._change = _decoders(definition.fields, self.operators)
        self.filter = lru_cache(FILTERS_CACHED)(self._compile_filter)

    def _compile_filter(self, source: str) -> Program | None:
        """Compile a filter; None where it reaches other collections. Raises Invalid."""
        return _alone(partial(compile_cel, source, self.names, "/filter"))

    def parts(self, fields: list[str]) -> list[KeyPart]:
        """Read an index's or a sort's fields: ``-views`` is descending."""
        names = [(f.removeprefix("-"), f.startswith("-")) for f in fields]
        return [KeyPart(name, self.types[name], descending) for name, descending in names]

    # Records

    def read_new(
        self, body: msgspec.Raw, pointer: str = "", *, with_id: bool = False
    ) -> dict[str, Any]:
        """Decode a whole record, defaults filled in. Raises Invalid with pointers, or Malformed.

        An ``id`` in it is refused unless it is asked for.
        """
        values = self._read(self._new, body, pointer)
        _require_no_id(values, pointer, allowed=with_id)
        return values

    def read_whole(
        self, body: msgspec.Raw, filled: Collection[str], pointer: str = ""
    ) -> dict[str, Any]:
        """As ``read_new``, but what is guarded may be left out, and is, unless it is ``filled``."""
        values = self._read(self._put, body, pointer)
        _require_no_id(values, pointer, allowed=False)
        errors = FieldErrors()
        for guard in self.guards:
            field = self.fields[guard.field]
            if field.name in values or field.name not in filled or field.type == "file":
                continue
            if field.stamp is None:
                values[field.name] = self.unset[field.name]
            if field.required and values.get(field.name, "") in (None, []):
                errors.add(f"{pointer}/{field.name}", "required")
        if errors:
            raise Invalid(UNFIT, errors=errors)
        return values

    def read_change(
        self,
        body: msgspec.Raw,
        record: Mapping[str, Any],
        pointer: str = "",
        *,
        with_id: bool = False,
    ) -> dict[str, Any]:
        """Decode a merge patch (RFC 7396), with what its operators make of a record."""
        values = self._read(self._change, body, pointer)
        _require_no_id(values, pointer, allowed=with_id)
        sent = set(values)
        made = self.operators.apply(values, record, pointer)
        self._keep(made, [n for n in made if n not in sent and n in self._many], pointer)
        return made

    def read_sent(self, body: msgspec.Raw, name: str, pointer: str = "") -> Any:
        """The value of one field in what is sent to create or change a record; else null."""
        return self._read(self._change, body, pointer).get(name)

    def _read(
        self, decoder: msgspec.json.Decoder[msgspec.Struct], body: msgspec.Raw, pointer: str
    ) -> dict[str, Any]:
        try:
            read = msgspec.structs.asdict(decoder.decode(body))
        except msgspec.ValidationError as error:
            raise self._unfit(decoder.type, body, pointer, error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(bytes(body), error) from None
        values = {name: value for name, value in read.items() if value is not UNSET}
        self._keep(values, values, pointer)
        return values

    def _keep(self, values: dict[str, Any], names: Collection[str], pointer: str) -> None:
        """Make of values, of the right types, those that are kept. Raises Invalid."""
        errors = FieldErrors()
        for name in self._required:
            if name in values and values[name] is None:
                errors.add(f"{pointer}/{name}", "required")
        for name in self._filling:
            if name in values and values[name] is None:
                errors.add(f"{pointer}/{name}", _FILLING)
        for field, normalise in self._normalisers:
            value = values.get(field.name) if field.name in names else None
            if value is not None:
                at = f"{pointer}/{field.name}"
                values[field.name] = _normalised(field, normalise, value, at, errors)
        for name in self._many:
            if name in values and values[name] is None:
                values[name] = []
        if errors:
            raise Invalid(UNFIT, errors=errors)

    def _unfit(
        self, kind: Any, body: msgspec.Raw, pointer: str, error: msgspec.ValidationError
    ) -> Failure:
        """Tell all that is wrong with a body, also of the fields that have the right type."""
        try:
            sent = msgspec.json.decode(body)
        except msgspec.ValidationError:  # a number that nothing can hold
            return Invalid(UNFIT, errors=collect(error, kind, at=pointer))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as worse:
            return unreadable(bytes(body), worse)
        errors = collect(error, kind, sent, at=pointer)
        for field, normalise in self._normalisers if isinstance(sent, dict) else ():
            if sent.get(field.name) is not None:
                try:
                    value = msgspec.convert(sent[field.name], annotation(field))
                except msgspec.ValidationError:
                    continue  # that is told already
                _normalised(field, normalise, value, f"{pointer}/{field.name}", errors)
        return Invalid(UNFIT, errors=errors)

    def represent(
        self, record_id: str, updated_ms: int | None, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A record as it is answered: every field is there, null where it has no value.

        Without ``updated_ms`` it is new.
        """
        created_at = rfc3339(created_ms(record_id))
        made: dict[str, Any] = {
            "id": record_id,
            "collection": self.name,
            "created_at": created_at,
            "updated_at": created_at if updated_ms is None else rfc3339(updated_ms),
        }
        for name, field in self.fields.items():
            value = values.get(name)
            made[name] = [] if value is None and field.many else value
        return made

    def read(self, data: str, schema_version: int | None) -> dict[str, Any]:
        """Decode a stored record, brought to this schema."""
        record = decode(data)
        return record if (schema_version or 0) >= self.layout else self.upgrade(record)

    def on_stored(self, condition: ast.Node) -> ast.Node:
        """Turn a condition on records as they are shown into one on them as they are stored."""
        made = ast.with_fields(condition, self.stored_field) if self._filled else condition
        return self.by_stored_names(made)

    def by_stored_names(self, condition: ast.Node, row: int = 0) -> ast.Node:
        """Ask of records that may still have renamed fields under the names of before.

        One that has the new names has none of the old ones, and the other way round: where all new
        ones are null, the old ones tell.
        """

        def renamed(field: ast.FieldValue) -> ast.FieldValue:
            old = self._renames.get(field.path[0]) if field.row == row else None
            return field if old is None else _replaced(field, path=(old, *field.path[1:]))

        by_old = ast.with_fields(condition, renamed) if self._renames else condition
        if by_old == condition:
            return condition
        null = ast.Const(Type.NULL, None)
        news = [ast.FieldValue(Type.TEXT, (name,), row=row) for name in self._renames]
        absent = tuple(ast.Same(field, null) for field in news)
        present = tuple(ast.Not(part) for part in absent)
        return ast.Any((ast.All((ast.Any(present), condition)), ast.All((*absent, by_old))))

    def stored(self, name: str) -> ast.FieldValue | ast.Pick:
        """Read a field as it is shown, by its name, of a record as it is stored."""
        field = ast.FieldValue(self.types[name], (name,))
        if name not in self._renames:
            return self.stored_field(field)
        null = ast.Const(Type.NULL, None)
        was = _replaced(field, path=(self._renames[name],))
        made = ast.Pick(field.type, ast.Same(field, null), was, field)
        if name not in self._filled:
            return made
        default = ast.Const(field.type, self._filled[name])
        return ast.Pick(field.type, ast.Same(made, null), default, made)

    def stored_field(self, field: ast.FieldValue) -> ast.FieldValue | ast.Pick:
        """Read a field as it is shown of a record as it is stored."""
        if len(field.path) > 1 or field.path[0] not in self._filled:
            return field
        default = ast.Const(field.type, self._filled[field.path[0]])
        absent = ast.Same(field, ast.Const(Type.NULL, None))
        return ast.Pick(field.type, absent, default, field)

    def upgrade(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a record of an earlier schema to this one."""
        made = {name: record[name] for name in SYSTEM}
        for field in self.definition.fields:
            value = record.get(field.name)
            if field.name not in record:
                former = self.definition.former.get(field.name, ())
                added = field.default if field.name in self.definition.filled else None
                value = next((record[was] for was in former if was in record), added)
            if value is None and (fills(field) or field.many):
                value = [] if field.many else field.default
            if field.type == "number" and isinstance(value, int):
                value = float(value)
            made[field.name] = value
        return made

    def columns(self, record: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The index and unique keys of a record, for the columns that this collection uses."""
        made: dict[str, bytes | None] = {}
        for column, parts in self.indexes:
            made[column] = b"".join(
                [keys.component(record[p.name], p.type, p.descending) for p in parts]
            )
        for column, names in self.uniques:
            made[column] = self.unique_key(names, record)
        return made

    def unique_key(self, names: tuple[str, ...], record: Mapping[str, Any]) -> bytes | None:
        """The key of the values that are to be unique; none where one of them is null."""
        values = [(record.get(name), self.types[name]) for name in names]
        if any(value is None for value, _ in values):
            return None
        return keys.unique_key(*values[0]) if len(values) == 1 else keys.together(values)


def encode(record: Mapping[str, Any]) -> str:
    """Write a record's representation."""
    return _encode(record).decode()


def decode(data: str) -> dict[str, Any]:
    """Read a record's representation."""
    record: dict[str, Any] = msgspec.json.decode(data)
    return record


def changed(record: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """The names of the fields that have another value among these than in the record."""
    return [name for name, value in values.items() if not same_json(record.get(name), value)]


def created_ms(record_id: str) -> int:
    """The moment in an id (RFC 9562): so order by id is order by ``created_at``."""
    # Ten characters are 50 bits, of which a UUID leaves the first two empty.
    return int(record_id[4:14].translate(_DIGITS), 32)


_Decoder = msgspec.json.Decoder[msgspec.Struct]


def _decoders(
    fields: list[Field], operators: ChangeOperators
) -> tuple[_Decoder, _Decoder, _Decoder]:
    """What reads a new record, one that replaces another, and a change."""
    new = msgspec.json.Decoder(body_struct(fields))
    guarded = frozenset(f.name for f in fields if is_guarded(f))
    put = msgspec.json.Decoder(body_struct(fields, keeping=guarded)) if guarded else new
    return new, put, msgspec.json.Decoder(body_struct(fields, operators.members()))


def _require_no_id(values: Mapping[str, Any], pointer: str, *, allowed: bool) -> None:
    if "id" in values and not allowed:
        raise Invalid.at(f"{pointer}/id", "unknown field", UNFIT)


def _normalised(
    field: Field,
    normalise: Callable[[Any], Any] | None,
    value: Any,
    pointer: str,
    errors: FieldErrors,
) -> Any:
    """A value as it is kept; what is wrong with it is added to the errors."""
    if not field.many:
        assert normalise is not None  # a field that needs none is not asked
        try:
            return normalise(value)
        except ValueError as error:
            errors.add(pointer, str(error))
            return value
    kept: list[Any] = []
    seen: set[str] | None = set() if is_set(field) else None
    for i, item in enumerate(value):
        try:
            kept.append(item if normalise is None else normalise(item))
        except ValueError as error:
            errors.add(f"{pointer}/{i}", str(error))
            continue
        if seen is not None:
            if kept[-1] in seen:
                errors.add(f"{pointer}/{i}", "is listed twice: list each once")
            seen.add(kept[-1])
    return kept


def rule_sources(rules: Rules) -> dict[str, str]:
    """The rules that are there, by action."""
    given = {action: getattr(rules, action) for action in rules.__struct_fields__}
    return {action: source for action, source in given.items() if source is not None}


def compile_rule(action: str, source: str, names: Names) -> Program:
    """Compile one rule. Raises Invalid pointing at ``/rules/...``."""
    return compile_cel(source, names_for(action, names), f"/rules/{action}")


def names_for(action: str, names: Names) -> Names:
    """What a rule may name: that of updates the record as it was, too."""
    return with_before(names) if action == "update" else names


def compile_rules(rules: Rules, names: Names) -> list[Program]:
    """Compile the rules that are there. Raises Invalid with all that is wrong, or Unloaded."""
    made: list[Program] = []

    def add(action: str, source: str) -> None:
        made.append(compile_rule(action, source, names))

    given = rule_sources(rules).items()
    check_all("the collection's rules are not valid", *(partial(add, *rule) for rule in given))
    return made


def _elsewhere(shape: Shape, name: str) -> Lead | None:
    """Where a name leads that is no field: to where this collection alone cannot tell."""
    if name in shape.targets and shape.targets[name] not in OUTSIDE:
        raise Unloaded(shape.targets[name], by_name=False)
    if name in shape.types or name in shape.closed or name in ("caller", "request"):
        return None
    raise Unloaded(name, by_name=True)


def _alone(compile_it: Callable[[], Program]) -> Program | None:
    """Compile what asks for no other collection; else None."""
    try:
        return compile_it()
    except Unloaded:
        return None


def fills(field: Field) -> bool:
    """Whether a stored record that has no value in a field is read as if it had the default."""
    return field.required and field.default is not None

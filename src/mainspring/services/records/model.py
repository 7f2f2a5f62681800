"""A collection as it runs: its definition checked, and compiled to decoders, rules and keys."""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import (
    Failure,
    FieldError,
    FieldErrors,
    Invalid,
    LruCache,
    check_all,
    read_at,
    rfc3339,
)
from mainspring.cel import RESERVED_WORDS, Lead, Names, Program, Type, ast, compile_cel
from mainspring.kernel.field_errors import collect
from mainspring.kernel.ids import ALPHABET
from mainspring.kernel.json_reader import unreadable
from mainspring.kernel.same_json import same_json
from mainspring.services.records import keys
from mainspring.services.records.api import UNIQUES_MAX, Field, Rules
from mainspring.services.records.change_operators import ChangeOperators, renamed
from mainspring.services.records.fields import (
    CEL_TYPES,
    NORMALISERS,
    TEXT_CHARS_MAX,
    annotation,
    complete,
    read_value,
    text_chars,
    wrong_files,
)
from mainspring.services.records.store import KEY_COLUMNS, UNIQUE_COLUMNS

UNFIT = "the record does not fit its collection"
KEY_BYTES_MAX = 2_400  # of one index key; PostgreSQL takes about 2,700 in an index entry
FILTERS_CACHED = 256  # compiled filters per collection

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
    "caller.roles": Type.TEXTS,
    "request.method": Type.TEXT, "request.data": Type.JSON, "request.changes": Type.TEXTS,
    "now": Type.TIME,
}  # fmt: skip
RESERVED = frozenset({*SYSTEM, "caller", "request", "record", "now", "expand", "data", "true",
                      "false", "null", "in", "has", "size", "timestamp"})  # fmt: skip
RESERVED_COLLECTIONS = frozenset({"records", "collections", "system"})

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
    """A unique field and the column its keys are in."""

    column: str
    field: str


class Definition(msgspec.Struct, frozen=True):
    """What is stored of a collection. ``targets`` are the collections relations point into.

    ``layout`` is the schema version that last changed how records are stored: those written at an
    earlier one are brought along. ``reaches`` are the ids of other collections that rules ask.
    """

    fields: list[Field]
    rules: Rules
    indexes: list[IndexSlot]
    uniques: list[UniqueSlot]
    targets: dict[str, str]
    layout: int
    reaches: list[str] = []


class Shape(msgspec.Struct, frozen=True):
    """What the expressions of other collections ask of one. ``targets`` are by relation field."""

    id: str
    name: str
    types: Mapping[str, Type]
    targets: Mapping[str, str]


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
            **{f.name: CEL_TYPES[f.type] for f in definition.fields},
        }
        self.shape = Shape(id, name, self.types, definition.targets)
        self.names = Names(self.types, CONTEXT, follow=partial(_elsewhere, self.shape))
        self.rules = {
            action: AccessRule(
                action, source, _alone(partial(compile_rule, action, source, self.names))
            )
            for action, source in rule_sources(definition.rules).items()
        }
        # By what is looked for at the far end of a condition: until when it is taken for few.
        self.found_few: LruCache[tuple[str, tuple[Any, ...]], tuple[int, bool]] = LruCache(
            FILTERS_CACHED
        )
        self.reached: LruCache[str, Reached] = LruCache(FILTERS_CACHED)
        self.unique_fields = [(u.column, u.field) for u in definition.uniques]
        self.indexes = [(i.column, self.parts(i.fields)) for i in definition.indexes]
        # What stored records that wait for the layout of now have no value in, and are shown with.
        waiting = ready_version < definition.layout
        self._filled = {f.name: f.default for f in definition.fields if waiting and _fills(f)}
        late = {i.column for i in definition.indexes if i.since > ready_version}
        self.indexes_ready = [(c, parts) for c, parts in self.indexes if c not in late]
        self.indexes_building = [(c, parts) for c, parts in self.indexes if c in late]
        self.files = [f.name for f in definition.fields if f.type == "file"]
        self.thumbs = sorted({size for f in definition.fields for size in f.thumbs})
        self.relations = [f for f in definition.fields if f.type == "relation"]
        self._normalisers = [
            (f.name, NORMALISERS[f.type]) for f in definition.fields if f.type in NORMALISERS
        ]
        self.unset = {f.name: _default(f) for f in definition.fields}
        self._required = frozenset(f.name for f in definition.fields if f.required)
        self._new = msgspec.json.Decoder(_struct(definition.fields))
        self.operators = ChangeOperators(definition.fields)
        self._change = msgspec.json.Decoder(_struct(definition.fields, self.operators.members()))
        self.filter = lru_cache(FILTERS_CACHED)(self._compile_filter)

    def _compile_filter(self, source: str) -> Program | None:
        """Compile a filter; None where it reaches other collections. Raises Invalid."""
        return _alone(partial(compile_cel, source, self.names, "/filter"))

    def parts(self, fields: list[str]) -> list[KeyPart]:
        """Read an index's or a sort's fields: ``-views`` is descending."""
        names = [(f.removeprefix("-"), f.startswith("-")) for f in fields]
        return [KeyPart(name, self.types[name], descending) for name, descending in names]

    # Records

    def read_new(self, body: msgspec.Raw, pointer: str = "") -> dict[str, Any]:
        """Decode a whole record, defaults filled in. Raises Invalid with pointers, or Malformed."""
        return self._read(self._new, body, pointer)

    def read_change(
        self, body: msgspec.Raw, record: Mapping[str, Any], pointer: str = ""
    ) -> dict[str, Any]:
        """Decode a merge patch (RFC 7396), with what its operators make of a record."""
        values = self._read(self._change, body, pointer)
        return self.operators.apply(values, record, pointer)

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
        errors = FieldErrors()
        for name in self._required:
            if name in values and values[name] is None:
                errors.add(f"{pointer}/{name}", "required")
        for name, normalise in self._normalisers:
            value = values.get(name)
            if value is not None:
                try:
                    values[name] = normalise(value)
                except ValueError as error:
                    errors.add(f"{pointer}/{name}", str(error))
        if errors:
            raise Invalid(UNFIT, errors=errors)
        return values

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
        for name, normalise in self._normalisers if isinstance(sent, dict) else ():
            if sent.get(name) is not None:
                try:
                    value = msgspec.convert(sent[name], annotation(self.fields[name]))
                except msgspec.ValidationError:
                    continue  # that is told already
                try:
                    normalise(value)
                except ValueError as wrong:
                    errors.add(f"{pointer}/{name}", str(wrong))
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
        for name in self.fields:
            made[name] = values.get(name)
        return made

    def read(self, data: str, schema_version: int | None) -> dict[str, Any]:
        """Decode a stored record, brought to this schema."""
        record = decode(data)
        return record if (schema_version or 0) >= self.layout else self.upgrade(record)

    def on_stored(self, condition: ast.Node) -> ast.Node:
        """Turn a condition on records as they are shown into one on them as they are stored."""
        return ast.with_fields(condition, self.stored_field) if self._filled else condition

    def stored(self, name: str) -> ast.FieldValue | ast.Pick:
        """Read a field as it is shown, by its name, of a record as it is stored."""
        return self.stored_field(ast.FieldValue(self.types[name], (name,)))

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
            if value is None and _fills(field):
                value = field.default
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
        for column, name in self.unique_fields:
            value = record[name]
            made[column] = None if value is None else keys.unique_key(value, self.types[name])
        return made


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


def _struct(fields: list[Field], change: list[Any] | None = None) -> type[msgspec.Struct]:
    """The struct a body is decoded as: a whole record, or a patch with the operators ``change``."""
    partial = change is not None
    members: list[Any] = list(change or ())
    for field in fields:
        kind = annotation(field)
        if field.type == "file":
            members.append((field.name, kind | UnsetType, UNSET))  # a PUT keeps it, too
            continue
        if not field.required:
            kind = kind | None if kind is not Any else kind
        if partial:
            members.append((field.name, kind | UnsetType if kind is not Any else kind, UNSET))
        elif field.default is not None:
            members.append((field.name, kind, _default(field)))
        elif field.required:
            members.append((field.name, kind))
        else:
            members.append((field.name, kind, None))
    return msgspec.defstruct(
        "Record", members, rename=renamed, kw_only=True, forbid_unknown_fields=True, frozen=True
    )


def _default(field: Field) -> Any:
    """What a new record has in a field that is left out."""
    whole = field.type == "number" and field.default is not None
    return float(field.default) if whole else field.default


def rule_sources(rules: Rules) -> dict[str, str]:
    """The rules that are there, by action."""
    given = {action: getattr(rules, action) for action in rules.__struct_fields__}
    return {action: source for action, source in given.items() if source is not None}


def compile_rule(action: str, source: str, names: Names) -> Program:
    """Compile one rule. Raises Invalid pointing at ``/rules/...``."""
    return compile_cel(source, names, f"/rules/{action}")


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
    if name in shape.targets:
        raise Unloaded(shape.targets[name], by_name=False)
    if name in shape.types or name in ("caller", "request"):
        return None
    raise Unloaded(name, by_name=True)


def _alone(compile_it: Callable[[], Program]) -> Program | None:
    """Compile what asks for no other collection; else None."""
    try:
        return compile_it()
    except Unloaded:
        return None


# Definitions


def check_fields(fields: list[Field], before: Collection[str] = ()) -> list[Field]:
    """Return fields as they are kept: complete, with defaults as they would be stored.

    Raises Invalid for those that cannot be, pointing at each; ``before`` are those there are.
    """
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, field in enumerate(fields):
        where = f"/fields/{i}"
        if field.name in RESERVED:
            detail = f"{field.name!r} is reserved: choose another name"
            errors.append(FieldError(f"{where}/name", detail))
        if field.name in RESERVED_WORDS and field.name not in before:
            detail = f"{field.name!r} is reserved in CEL, which filters and rules are written in"
            errors.append(FieldError(f"{where}/name", detail))
        if field.name in seen:
            errors.append(FieldError(f"{where}/name", f"another field is named {field.name!r} too"))
        seen.add(field.name)
        errors.extend(FieldError(f"{where}/{part}", detail) for part, detail in _wrong(field))
    if sum(f.unique for f in fields) > UNIQUES_MAX:
        errors.append(FieldError("/fields", f"at most {UNIQUES_MAX} fields can be unique"))
    if errors:
        raise Invalid("the collection's fields are not valid", errors=tuple(errors))
    kept: list[Field] = []
    check_all(
        "the collection's fields are not valid",
        *(partial(_keep, kept, field, f"/fields/{i}/default") for i, field in enumerate(fields)),
    )
    return kept


def _wrong(field: Field) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if field.personal:
        found.append(("personal", "personal fields in records are not supported yet"))
    if field.type not in ("text", "number", "integer"):
        found.extend((part, f"a {field.type} field takes no {part}") for part in ("min", "max")
                     if getattr(field, part) is not None)  # fmt: skip
    elif field.min is not None and field.max is not None and field.min > field.max:
        found.append(("max", "is smaller than min"))
    if field.type == "text":
        found.extend(
            (part, f"must be a whole number of characters from 0 to {TEXT_CHARS_MAX}")
            for part in ("min", "max")
            if (bound := getattr(field, part)) is not None
            and not (0 <= bound <= TEXT_CHARS_MAX and bound == int(bound))
        )
    if field.type in ("number", "integer"):
        bound = 1e100 if field.type == "number" else 2.0**53 - 1
        found.extend((part, f"must be from {-bound:g} to {bound:g}") for part in ("min", "max")
                     if abs(getattr(field, part) or 0) > bound)  # fmt: skip
    if (field.type == "select") != bool(field.values):
        found.append(
            ("values", "a select field needs values, and no other type of field takes them")
        )
    if len(set(field.values)) != len(field.values):
        found.append(("values", "a value is listed twice: list each once"))
    if (field.type == "relation") != (field.collection is not None):
        found.append(
            (
                "collection",
                "a relation field needs a collection, and no other type of field takes one",
            )
        )
    found.extend(wrong_files(field))
    if field.type == "file" and (field.required or field.default is not None):
        found.append(
            (
                "required" if field.required else "default",
                "a file field has no default and is not required: its file is uploaded afterwards",
            )
        )
    if field.unique and field.type in ("json", "boolean", "file"):
        found.append(("unique", f"a {field.type} field cannot be unique"))
    return found


def _keep(kept: list[Field], field: Field, pointer: str) -> None:
    field = complete(field)
    if field.default is None:
        kept.append(field)
        return
    if field.type in ("relation", "json") or field.unique:
        raise Invalid.at(pointer, "a relation, JSON or unique field cannot have a default")
    # msgspec's own error is a ValueError too.
    default = read_at(pointer, partial(read_value, field), field.default)
    kept.append(msgspec.structs.replace(field, default=default))


def check_indexes(fields: list[Field], indexes: list[list[str]]) -> None:
    """Raise Invalid for indexes over what cannot be indexed, pointing at each."""
    known = {f.name: f for f in fields}
    errors: list[FieldError] = []
    for i, index in enumerate(indexes):
        names = [name.removeprefix("-") for name in index]
        size = 0
        for j, name in enumerate(names):
            field = known.get(name)
            if name == "updated_at":
                size += 64
            elif field is None or CEL_TYPES[field.type] is Type.JSON:
                errors.append(
                    FieldError(
                        f"/indexes/{i}/{j}",
                        f"{name!r} cannot be indexed: name a field that is not JSON",
                    )
                )
            elif CEL_TYPES[field.type] in (Type.TEXT, Type.TIME):
                size += keys.text_bytes_max(text_chars(field))
            else:
                size += keys.NUMBER_BYTES
        if len(set(names)) != len(names) or index in indexes[:i]:
            detail = "a field or an index is listed twice: list each once"
            errors.append(FieldError(f"/indexes/{i}", detail))
        if size > KEY_BYTES_MAX:
            detail = "its keys may be too long: give its text fields a smaller max (255, say)"
            errors.append(FieldError(f"/indexes/{i}", detail))
    if errors:
        raise Invalid("the collection's indexes are not valid", errors=tuple(errors))


def index_slots(
    wanted: list[list[str]], fields: list[Field], schema: int, before: Definition
) -> list[IndexSlot]:
    """Give each index a column: the one it has, or one that no stored record uses.

    One that is new, or of a field that stored records get a value in, has its keys from ``schema``
    on. The others stay as they are: what a field may be widened to has the key that it had.
    """
    kept = {tuple(s.fields): s for s in before.indexes}
    free = [c for c in KEY_COLUMNS if c not in {s.column for s in before.indexes}]
    optional = {f.name for f in before.fields if not f.required}
    filled = {f.name for f in fields if _fills(f) and f.name in optional}
    slots = []
    for names in wanted:
        slot = kept.get(tuple(names))
        if slot is None and not free:
            raise Invalid.at(
                "/indexes", "no room for another index: first remove one, then add this"
            )
        if slot is None:
            slot = IndexSlot(free.pop(0), names, schema)
        elif filled.intersection(name.removeprefix("-") for name in names):
            slot = msgspec.structs.replace(slot, since=schema)
        slots.append(slot)
    return slots


def _fills(field: Field) -> bool:
    """Whether a stored record that has no value in a field is read as if it had the default."""
    return field.required and field.default is not None


def unique_slots(fields: list[Field], before: list[UniqueSlot]) -> list[UniqueSlot]:
    """Give each unique field a column, as ``index_slots`` does."""
    kept = {s.field: s.column for s in before}
    free = [c for c in UNIQUE_COLUMNS if c not in kept.values()]
    slots = []
    for field in fields:
        if field.unique:
            column = kept.get(field.name) or (free.pop(0) if free else None)
            if column is None:
                raise Invalid.at(
                    "/fields",
                    "no room for another unique field: first make one not unique",
                )
            slots.append(UniqueSlot(column, field.name))
    return slots

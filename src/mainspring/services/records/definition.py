"""What a collection may be: its fields and indexes checked, and given columns.

A file of its own, since who runs a collection asks none of it.
"""

from collections.abc import Collection
from functools import partial

import msgspec

from mainspring import FieldError, Invalid, check_all, read_at
from mainspring.cel import RESERVED_WORDS, Type
from mainspring.services.records import keys
from mainspring.services.records.api import GUARDED_MAX, SEARCHED_MAX, UNIQUES_MAX, Field
from mainspring.services.records.fields import (
    CEL_TYPES,
    TEXT_CHARS_MAX,
    USERS,
    complete,
    read_value,
    text_chars,
    wrong_files,
)
from mainspring.services.records.guards import (
    TELLS,
    TOO_MANY,
    is_guarded,
    is_withheld,
    wrong_guards,
)
from mainspring.services.records.model import (
    RESERVED,
    Definition,
    IndexSlot,
    UniqueSlot,
    fills,
)
from mainspring.services.records.personal_rules import SEALED, wrong_owner, wrong_personal
from mainspring.services.records.store import KEY_COLUMNS, UNIQUE_COLUMNS

ID_CHARS, ID_CHARS_MIN = 64, 1  # of whoever calls
SEARCHED_TYPES = ("text", "select", "email", "url")
KEY_BYTES_MAX = 2_400  # of one index key; PostgreSQL takes about 2,700 in an index entry


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
        if (problem := wrong_owner(field, fields)) is not None:
            errors.append(FieldError(f"{where}/personal_of", problem))
    if sum(f.unique for f in fields) > UNIQUES_MAX:
        errors.append(FieldError("/fields", f"at most {UNIQUES_MAX} fields can be unique"))
    if sum(f.search for f in fields) > SEARCHED_MAX:
        errors.append(FieldError("/fields", f"at most {SEARCHED_MAX} fields are searched"))
    if sum(map(is_guarded, fields)) > GUARDED_MAX:
        errors.append(FieldError("/fields", TOO_MANY))
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
    found.extend(wrong_personal(field))
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
    found.extend(_wrong_search(field))
    if field.unique and field.type in ("json", "boolean", "file"):
        found.append(("unique", f"a {field.type} field cannot be unique"))
    found.extend(wrong_guards(field))
    return [*found, *_wrong_list(field), *_wrong_end(field), *_wrong_stamp(field)]


def _wrong_search(field: Field) -> list[tuple[str, str]]:
    if not field.search:
        only = "is for a field with search: it says how much a word found there counts"
        return [] if field.search_weight == 1 else [("search_weight", only)]
    if field.type not in SEARCHED_TYPES:
        fits = ", ".join(SEARCHED_TYPES)
        return [("search", f"a {field.type} field has no words: {fits} fields have")]
    if field.personal:
        return [("search", f"this field {SEALED}")]
    if field.hidden:
        return [("search", "a hidden field is found by nobody: what is found tells what is in it")]
    return []


def _wrong_stamp(field: Field) -> list[tuple[str, str]]:
    if field.stamp is None:
        return [] if field.stamp_on == "create" else [("stamp_on", "is for a field with a stamp")]
    of_users = field.type == "relation" and field.collection == USERS
    fits = {
        "now": field.type == "datetime",
        "caller.id": field.type == "text" and text_chars(field) >= ID_CHARS,
        "caller.user": of_users or (field.type == "text" and text_chars(field) >= ID_CHARS),
    }[field.stamp]
    found: list[tuple[str, str]] = []
    if not fits or field.many or (field.min or 0) > ID_CHARS_MIN:
        takes = {
            "now": "a datetime field",
            "caller.id": f"a text field of {ID_CHARS} characters",
            "caller.user": f"a relation to users, or a text field of {ID_CHARS} characters",
        }[field.stamp]
        found.append(("stamp", f"{field.stamp} takes {takes}, and one value"))
    if field.default is not None:
        found.append(("default", "a stamped field has no default: the stamp is what it gets"))
    return found


def _wrong_list(field: Field) -> list[tuple[str, str]]:
    if not field.many:
        return [] if field.max_items is None else [("max_items", "is for a field with many")]
    found: list[tuple[str, str]] = []
    if field.type == "json":
        found.append(("many", "a json field holds one value: that may be a list"))
    if field.unique:
        found.append(("unique", "a list cannot be unique"))
    if field.default is not None:
        found.append(("default", "a list has no default: it begins empty"))
    return found


def _wrong_end(field: Field) -> list[tuple[str, str]]:
    if field.on_delete is None:
        return []
    if field.type != "relation":
        return [("on_delete", "is for a relation: nothing else points at what may go")]
    if field.on_delete == "set_null" and field.required:
        return [("on_delete", "a required relation is not set to null: cascade, or restrict")]
    return []


def _keep(kept: list[Field], field: Field, pointer: str) -> None:
    field = msgspec.structs.replace(complete(field), renamed_from=None)
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
            elif field is not None and field.personal:
                errors.append(FieldError(f"/indexes/{i}/{j}", f"{name!r} {SEALED}"))
            elif field is None or CEL_TYPES[field.type] is Type.JSON or field.many:
                errors.append(
                    FieldError(
                        f"/indexes/{i}/{j}",
                        f"{name!r} cannot be indexed: name a field of one value that is not JSON",
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
    filled = {f.name for f in fields if fills(f) and f.name in optional}
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


def check_uniques(fields: list[Field], uniques: list[list[str]]) -> None:
    """Raise Invalid for what cannot be unique together, pointing at each."""
    known = {f.name: f for f in fields}
    errors: list[FieldError] = []
    for i, names in enumerate(uniques):
        for j, name in enumerate(names):
            field = known.get(name)
            if field is None or field.many or field.type in ("json", "file"):
                detail = (
                    f"{name!r} cannot be unique: name a field other than JSON, a list or a file"
                )
                errors.append(FieldError(f"/uniques/{i}/{j}", detail))
            elif field.personal:
                errors.append(FieldError(f"/uniques/{i}/{j}", f"{name!r} {SEALED}"))
            elif is_withheld(field):
                errors.append(FieldError(f"/uniques/{i}/{j}", TELLS))
        if len(set(names)) != len(names) or sorted(names) in [sorted(u) for u in uniques[:i]]:
            detail = "a field, or the same fields, are listed twice: list each once"
            errors.append(FieldError(f"/uniques/{i}", detail))
    if errors:
        raise Invalid("what is to be unique is not valid", errors=tuple(errors))


def unique_slots(
    fields: list[Field], uniques: list[list[str]], before: list[UniqueSlot]
) -> list[UniqueSlot]:
    """Give what is unique a column, as ``index_slots`` does."""
    wanted = [(f.name,) for f in fields if f.unique] + [tuple(names) for names in uniques]
    kept = {s.names: s.column for s in before}
    free = [c for c in UNIQUE_COLUMNS if c not in kept.values()]
    slots = []
    for names in wanted:
        column = kept.get(names) or (free.pop(0) if free else None)
        if column is None:
            raise Invalid.at(
                "/uniques" if len(names) > 1 else "/fields",
                f"at most {UNIQUES_MAX} are unique, those together: first let another go",
            )
        one = len(names) == 1
        slots.append(UniqueSlot(column, names[0]) if one else UniqueSlot(column, "", list(names)))
    return slots

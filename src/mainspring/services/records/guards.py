"""Fields that not everybody may read or write who may do so with their record: rules of their own.

A rule of a field asks of the record, the caller and the request, and of no other collection: so
it is judged where the record is at hand, whichever way that came.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from mainspring import check_all
from mainspring.cel import Names, Program, Type, compile_cel
from mainspring.cel.types import BEFORE, ITEMS
from mainspring.services.records.api import GUARDED_MAX, Field


class Guard(msgspec.Struct, frozen=True):
    """Who may read and write one field; where a rule is absent, whoever may with the record."""

    field: str
    hidden: bool
    read: Program | None
    write: Program | None

    @property
    def withholds(self) -> bool:
        """Whether somebody may view the record and not this field of it."""
        return self.hidden or self.read is not None


def is_guarded(field: Field) -> bool:
    """Whether a field is hidden, or has rules of its own."""
    return field.hidden or field.rules is not None


def is_withheld(field: Field) -> bool:
    """Whether somebody may view the record and not this field of it."""
    return field.hidden or (field.rules is not None and field.rules.read is not None)


def compile_guards(fields: Sequence[Field], names: Names) -> list[Guard]:
    """Compile the rules of fields. Raises Invalid with all that is wrong, pointing at each."""
    made: list[Guard] = []

    def add(place: int, field: Field) -> None:
        compiled = dict(_compiled(field, names, f"/fields/{place}/rules"))
        made.append(Guard(field.name, field.hidden, compiled.get("read"), compiled.get("write")))

    guarded = [(at, field) for at, field in enumerate(fields) if is_guarded(field)]
    check_all("the rules of fields are not valid", *(partial(add, *each) for each in guarded))
    return made


def _compiled(field: Field, names: Names, pointer: str) -> Iterator[tuple[str, Program]]:
    for right in () if field.rules is None else field.rules.__struct_fields__:
        source: str | None = getattr(field.rules, right)
        if source is not None:
            yield right, compile_cel(source, names_of(right, names), f"{pointer}/{right}")


def names_of(right: str, names: Names) -> Names:
    """What the rule of a field for reading or writing it may name."""
    return with_before(names) if right == "write" else names


def with_before(names: Names) -> Names:
    """Add the record as it was, ``before``, to what may be named: its fields, but for most lists.

    Where a field has that name already, it keeps it.
    """
    if BEFORE in names.record or BEFORE in names.closed:
        return names
    was = {
        f"{BEFORE}.{name}": kind
        for name, kind in names.record.items()
        if kind not in ITEMS or kind is Type.TEXTS
    }
    return msgspec.structs.replace(names, context={**names.context, **was})


def wrong_guards(field: Field) -> list[tuple[str, str]]:
    """What is wrong with what a field says of who may read it, and where."""
    found: list[tuple[str, str]] = []
    if field.hidden and field.rules is not None and field.rules.read is not None:
        found.append(("rules/read", "a hidden field is read by nobody: leave one of them out"))
    if field.unique and is_withheld(field):
        found.append(("unique", TELLS))
    return found


TELLS = "what is taken would tell a value to those who may not read it: it cannot be unique"
TOO_MANY = f"at most {GUARDED_MAX} fields are hidden or have rules"

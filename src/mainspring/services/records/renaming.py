"""Fields that get another name and keep their values, and what a definition notes of a change.

Stored records are brought along in the background as with every change of schema. Until then a
record has a field under the one name or under the other, and is read by whichever it has.
"""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring import FieldError, Invalid
from mainspring.services.records.api import Field
from mainspring.services.records.guards import is_withheld
from mainspring.services.records.model import Definition

FORMER_MAX = 20  # names that one field had before: by older ones no event is read any more

_replace = msgspec.structs.replace


def renames_of(before: Sequence[Field], fields: Sequence[Field]) -> dict[str, str]:
    """The names that fields had before a change, by those they get. Raises Invalid.

    A field that has its new name already is left as it is: the change was made before.
    """
    there, kept = {f.name: f for f in before}, {f.name for f in fields}
    made: dict[str, str] = {}
    errors: list[FieldError] = []
    for i, field in enumerate(fields):
        was = field.renamed_from
        if was is None or (was not in there and field.name in there):
            continue
        problem = None
        if was not in there:
            problem = f"there is no field {was!r}"
        elif field.name in there:
            problem = f"there is a field {field.name!r} already: choose a name that is free"
        elif was in kept or was in made.values():
            problem = f"{was!r} is the name of another field here: one of them keeps the values"
        elif there[was].personal:
            problem = "a personal field keeps its name: it is sealed under that"
        elif "relation" in (field.type, there[was].type):
            problem = (
                "a relation keeps its name, which the links of stored records have: add another "
                "relation, copy, then remove this one"
            )
        if problem is None:
            made[field.name] = was
        else:
            errors.append(FieldError(f"/fields/{i}/renamed_from", problem))
    if errors:
        raise Invalid("the collection's fields are not valid", errors=tuple(errors))
    return made


def renamed(definition: Definition, renames: Mapping[str, str]) -> Definition:
    """A definition with other names of fields: its indexes and uniques keep their columns."""
    if not renames:
        return definition
    now = {was: name for name, was in renames.items()}

    def part(name: str) -> str:
        plain = name.removeprefix("-")
        return name.removesuffix(plain) + now.get(plain, plain)

    return _replace(
        definition,
        fields=[_replace(f, name=now.get(f.name, f.name)) for f in definition.fields],
        indexes=[_replace(s, fields=[part(n) for n in s.fields]) for s in definition.indexes],
        uniques=[
            _replace(
                s,
                field=now.get(s.field, s.field),
                together=[now.get(name, name) for name in s.together],
            )
            for s in definition.uniques
        ],
    )


def noted(new: Definition, old: Definition, renames: Mapping[str, str]) -> Definition:
    """Note in a definition what stays of the one before.

    Raises Invalid for a field that would show everybody, under its name, what was not for everybody
    and is in events still.
    """
    kept = {f.name for f in new.fields}
    for i, field in enumerate(new.fields):
        if field.name in old.withheld and not is_withheld(field):
            detail = "a field of this name was not for everybody, and events still have its values"
            raise Invalid.at(f"/fields/{i}/name", f"{detail}: choose another name, or hide it")
    gone = [f.name for f in old.fields if is_withheld(f) and f.name not in kept]
    withheld = [*old.withheld, *(name for name in gone if name not in old.withheld)]
    return _replace(
        new, withheld=withheld, renames=old.renames, filled=old.filled, former=old.former
    )


def laid_out(
    new: Definition, old: Definition, layout: int, renames: Mapping[str, str]
) -> Definition:
    """Note in a definition how stored records are brought to it, which is another layout."""
    there, names = {f.name for f in old.fields}, {f.name for f in new.fields}
    former: dict[str, list[str]] = {}
    for name in names:
        was = renames.get(name)
        earlier = old.former.get(name, []) if was is None else [was, *old.former.get(was, [])]
        # What has a name now is read by that name, in old events too.
        kept = [each for each in earlier if each not in names][:FORMER_MAX]
        if kept:
            former[name] = kept
    return _replace(
        new,
        layout=layout,
        renames=dict(renames),
        former=former,
        filled=[
            f.name
            for f in new.fields
            if f.default is not None and f.name not in there and f.name not in renames
        ],
    )

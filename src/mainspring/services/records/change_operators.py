"""What a change may ask of a field beside a new value: add to a number, append to or remove from a
list.

They are members of the body whose names begin with ``$``, which no field's name does: what a json
field holds is never taken for one of them. See docs/adr/0039.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import FieldErrors, Invalid
from mainspring.services.records.api import Field
from mainspring.services.records.fields import annotation, bounds, json_schema, read_value

LISTED_MAX = 1_000  # values that one change appends to a list, or removes from it

_encode = msgspec.json.Encoder(order="sorted").encode  # as ``same_json`` compares

Combine = Callable[[Field, Any, Any], Any]  # a field, its value and what was sent: its new value


def _add(field: Field, value: Any, amount: Any) -> Any:
    least, most = bounds(field)
    made = (value or 0) + read_value(_unbounded(field), amount)
    try:
        return read_value(field, made)
    except ValueError:
        raise ValueError(
            f"the sum is not within the field's bounds: {least:g} to {most:g}"
        ) from None


def _append(field: Field, value: Any, items: Sequence[Any]) -> Any:
    return read_value(field, [*_listed(value), *items])


def _remove(field: Field, value: Any, items: Sequence[Any]) -> Any:
    if value is None:
        return None
    gone = {_encode(item) for item in items}
    left = [each for each in _listed(value) if _encode(each) not in gone]
    return read_value(field, left) if field.many else left


def _listed(value: Any) -> Sequence[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError("the field holds no list")
    return value or ()


def _is_number(field: Field) -> bool:
    return field.type in ("integer", "number") and not field.many


def _is_list(field: Field) -> bool:
    return field.type == "json" or (field.many and field.type != "file")


_ITEMS = Annotated[list[Any], Meta(min_length=1, max_length=LISTED_MAX)]
# By the name of each operator: which fields take it, and what it makes.
_OPERATORS: dict[str, tuple[Callable[[Field], bool], Combine]] = {
    "$add": (_is_number, _add), "$append": (_is_list, _append), "$remove": (_is_list, _remove),
}  # fmt: skip


class ChangeOperators:
    """The operators that the fields of one collection take."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = {field.name: field for field in fields}
        taken = {
            name: [field for field in fields if takes(field)]
            for name, (takes, _) in _OPERATORS.items()
        }
        self._taken = {name: those for name, those in taken.items() if those}

    def members(self) -> list[Any]:
        """The members of a change's struct, each called as its operator is in upper case."""
        return [
            (
                _member(name),
                msgspec.defstruct(
                    name,
                    [(f.name, _operand(f) | UnsetType, UNSET) for f in fields],
                    kw_only=True, forbid_unknown_fields=True, frozen=True,
                ) | UnsetType,
                UNSET,
            )
            for name, fields in self._taken.items()
        ]  # fmt: skip

    def apply(
        self, values: dict[str, Any], record: Mapping[str, Any], pointer: str
    ) -> dict[str, Any]:
        """Put in the place of operators what they make of a record. Raises Invalid."""
        asked = {name: values.pop(_member(name)) for name in self._taken if _member(name) in values}
        errors = FieldErrors()
        for name, operands in asked.items():
            combine = _OPERATORS[name][1]
            for field, operand in msgspec.structs.asdict(operands).items():
                if operand is UNSET:
                    continue
                at = f"{pointer}/{name}/{field}"
                if field in values:
                    errors.add(at, f"{field!r} is changed twice in one body: change it once")
                    continue
                try:
                    values[field] = combine(self._fields[field], record.get(field), operand)
                except ValueError as error:
                    errors.add(at, str(error))
        if errors:
            raise Invalid("the record does not fit its collection", errors=errors)
        return values

    def json_schema(self) -> dict[str, Any]:
        """The operators as properties of a change's JSON Schema."""
        return {
            name: {
                "type": "object",
                "properties": {f.name: _operand_schema(f) for f in fields},
                "additionalProperties": False,
            }
            for name, fields in self._taken.items()
        }


def renamed(member: str) -> str:
    """The name in JSON of a member of a change's struct: no field's has upper case."""
    return f"${member.lower()}" if member.isupper() else member


def _member(name: str) -> str:
    return name.removeprefix("$").upper()


def _unbounded(field: Field) -> Field:
    return msgspec.structs.replace(field, min=None, max=None, required=True)


def _operand(field: Field) -> Any:
    return annotation(_unbounded(field)) if _is_number(field) else _ITEMS


def _operand_schema(field: Field) -> dict[str, Any]:
    if _is_number(field):
        return json_schema(_unbounded(field), sent=True)
    return {"type": "array", "items": {}, "minItems": 1, "maxItems": LISTED_MAX}

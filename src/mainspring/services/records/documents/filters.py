"""MongoDB's filters: read once, then asked of one document after the other."""

from collections.abc import Callable, Iterable
from typing import Any

from mainspring import Invalid
from mainspring.cel import patterns
from mainspring.services.records.documents.values import (
    DEPTH_MAX,
    LIST_MAX,
    MISSING,
    Budget,
    Document,
    Key,
    Path,
    comparable,
    found,
    key,
    read_path,
    token,
)

Matches = Callable[[Document, Budget], bool]
_Test = Callable[[Any, Budget], bool]  # of one value
_Judge = Callable[[list[Any], Budget], bool]  # of all that lies at a path

_OPERATORS = (
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$type", "$regex",
    "$size", "$all", "$elemMatch", "$not",
)  # fmt: skip
_JOINING = ("$and", "$or", "$nor")
_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
_ORDERS: dict[str, Callable[[Key, Key], bool]] = {
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
}


def read_filter(source: Any, pointer: str, depth: int = DEPTH_MAX) -> Matches:
    """Read a filter. Raises Invalid at what is not in the subset."""
    _require_shallow(depth, pointer)
    if not isinstance(source, dict):
        raise Invalid.at(pointer, "a filter is an object: {} passes everything")
    parts: list[Matches] = []
    for name, operand in source.items():
        at = f"{pointer}/{token(name)}"
        if name in _JOINING:
            parts.append(_joined(name, operand, at, depth - 1))
        elif name.startswith("$"):
            raise Invalid.at(
                at, f"{name[:40]!r} is not here: {', '.join(_JOINING)} are, and fields"
            )
        else:
            parts.append(_at_path(read_path(name, at), _judge(operand, at, depth - 1)))
    return lambda document, budget: all(part(document, budget) for part in parts)


def _joined(name: str, operand: Any, pointer: str, depth: int) -> Matches:
    listed = _list(operand, pointer)
    if not listed:
        raise Invalid.at(pointer, f"{name} takes a list of filters, at least one")
    parts = [read_filter(part, f"{pointer}/{i}", depth) for i, part in enumerate(listed)]
    if name == "$and":
        return lambda document, budget: all(part(document, budget) for part in parts)
    if name == "$or":
        return lambda document, budget: any(part(document, budget) for part in parts)
    return lambda document, budget: not any(part(document, budget) for part in parts)


def _at_path(path: Path, judge: _Judge) -> Matches:
    return lambda document, budget: judge(list(found(document, path, budget)), budget)


def _judge(operand: Any, pointer: str, depth: int) -> _Judge:
    """Read what a field is compared with: a value, or operators that all have to hold."""
    _require_shallow(depth, pointer)
    if not isinstance(operand, dict) or not any(name.startswith("$") for name in operand):
        return _some(_equals(operand, pointer, depth))
    judges: list[_Judge] = []
    for name, value in operand.items():
        at = f"{pointer}/{token(name)}"
        if name == "$options":
            if "$regex" not in operand:
                raise Invalid.at(at, "$options stands beside a $regex")
            continue
        judges.append(_operator(name, value, operand, at, depth - 1))
    return lambda values, budget: all(judge(values, budget) for judge in judges)


def _operator(name: str, value: Any, beside: dict[str, Any], pointer: str, depth: int) -> _Judge:
    match name:
        case "$eq":
            return _some(_equals(value, pointer, depth))
        case "$ne":
            return _no(_some(_equals(value, pointer, depth)))
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _some(_ordered(name, value, pointer))
        case "$in":
            return _some(_among(value, pointer, depth))
        case "$nin":
            return _no(_some(_among(value, pointer, depth)))
        case "$exists":
            if not isinstance(value, bool):
                raise Invalid.at(pointer, "$exists takes true or false")
            return lambda values, budget: any(v is not MISSING for v in values) is value
        case "$type":
            return _typed(value, pointer)
        case "$regex":
            return _some(_pattern(value, beside.get("$options", ""), pointer))
        case "$size":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise Invalid.at(pointer, "$size takes how many items, from 0")
            return lambda values, budget: any(
                isinstance(v, list) and len(v) == value for v in values
            )
        case "$all":
            every = [
                _some(_equals(item, f"{pointer}/{i}", depth))
                for i, item in enumerate(_list(value, pointer))
            ]
            return lambda values, budget: bool(every) and all(e(values, budget) for e in every)
        case "$elemMatch":
            return _element(value, pointer, depth)
        case "$not":
            if not isinstance(value, dict) or not value or not all(n[:1] == "$" for n in value):
                raise Invalid.at(pointer, "$not takes operators: {'$not': {'$gt': 5}}")
            return _no(_judge(value, pointer, depth))
    raise Invalid.at(pointer, f"{name[:40]!r} is not here: {', '.join(_OPERATORS)} are")


def _some(test: _Test) -> _Judge:
    """A value at the path passes, or an item of one that is a list."""

    def judge(values: list[Any], budget: Budget) -> bool:
        for value in values:
            if test(value, budget):
                return True
            if isinstance(value, list) and any(test(item, budget) for item in value):
                return True
        return False

    return judge


def _no(judge: _Judge) -> _Judge:
    return lambda values, budget: not judge(values, budget)


def _equals(operand: Any, pointer: str, depth: int) -> _Test:
    wanted = _key_of(operand, pointer, depth)
    return lambda value, budget: key(value, budget) == wanted


def _ordered(name: str, operand: Any, pointer: str) -> _Test:
    if isinstance(operand, dict | list) or operand is None:
        raise Invalid.at(pointer, f"{name} compares with a number, text, true or false")
    wanted, compare = _key_of(operand, pointer, 1), _ORDERS[name]

    def test(value: Any, budget: Budget) -> bool:
        of = key(value, budget)
        return comparable(of, wanted) and compare(of, wanted)

    return test


def _among(operand: Any, pointer: str, depth: int) -> _Test:
    listed = enumerate(_list(operand, pointer))
    wanted = frozenset([_key_of(item, f"{pointer}/{i}", depth) for i, item in listed])
    return lambda value, budget: key(value, budget) in wanted


def _typed(operand: Any, pointer: str) -> _Judge:
    names = operand if isinstance(operand, list) else [operand]
    for name in names:
        if not isinstance(name, str) or name not in _TYPES:
            raise Invalid.at(pointer, f"$type takes one of {', '.join(_TYPES)}, or a list of them")
    tests = [_TYPES[name] for name in names]
    return _some(lambda value, budget: any(test(value) for test in tests))


def _pattern(operand: Any, options: Any, pointer: str) -> _Test:
    if not isinstance(operand, str) or options not in ("", "i"):
        raise Invalid.at(pointer, "$regex takes a pattern, and $options '' or 'i' beside it")
    try:
        pattern = patterns.normal(f"(?i){operand}" if options else operand)
    except patterns.WrongPattern as error:
        at = error.at - (4 if options else 0)
        raise Invalid.at(pointer, f"at character {at + 1}: {error}") from None

    def test(value: Any, budget: Budget) -> bool:
        if not isinstance(value, str):
            return False
        budget.spend(1 + (len(value) >> 4))
        return patterns.matched(value, pattern) is True

    return test


def _element(operand: Any, pointer: str, depth: int) -> _Judge:
    """One item of a list meets all: of operators itself, of a filter as a document."""
    if not isinstance(operand, dict) or not operand:
        raise Invalid.at(pointer, "$elemMatch takes operators, or a filter of the items")
    if all(n.startswith("$") and n not in _JOINING for n in operand):
        judge = _judge(operand, pointer, depth)

        def passes(item: Any, budget: Budget) -> bool:
            return judge([item], budget)

    else:
        matches = read_filter(operand, pointer, depth)

        def passes(item: Any, budget: Budget) -> bool:
            return isinstance(item, dict) and matches(item, budget)

    return lambda values, budget: any(
        isinstance(value, list) and any(passes(item, budget) for item in value) for value in values
    )


def _key_of(operand: Any, pointer: str, depth: int) -> Key:
    _require_plain(operand, pointer, depth)
    return key(operand, Budget())


def _require_plain(operand: Any, pointer: str, depth: int) -> None:
    """Raise Invalid for operators within a value, which would be compared as if they were names."""
    _require_shallow(depth, pointer)
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(operand, dict):
        inner = operand.items()
    elif isinstance(operand, list):
        inner = enumerate(operand)
    for name, value in inner:
        if isinstance(name, str) and name.startswith("$"):
            raise Invalid.at(f"{pointer}/{token(name)}", "an operator cannot stand in a value")
        _require_plain(value, f"{pointer}/{name}", depth - 1)


def _require_shallow(depth: int, pointer: str) -> None:
    if depth < 0:
        raise Invalid.at(pointer, f"it is nested more than {DEPTH_MAX} levels deep")


def _list(operand: Any, pointer: str) -> list[Any]:
    if not isinstance(operand, list) or len(operand) > LIST_MAX:
        raise Invalid.at(pointer, f"it takes a list, of at most {LIST_MAX} items")
    return operand

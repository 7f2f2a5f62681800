"""What of MongoDB's language is passed on to a store that speaks it: what is named here, no more.

Nothing here writes, runs a program, reads another collection or tells of the server. Patterns are
those of this platform, which take linear time. The rest is bounded by the store's own time.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mainspring import Invalid
from mainspring.cel import patterns
from mainspring.services.records.documents.pipelines import SORT_KEYS_MAX, STAGES_MAX
from mainspring.services.records.documents.values import (
    DEPTH_MAX,
    LIST_MAX,
    Path,
    read_path,
    token,
)

_JOINING = ("$and", "$or", "$nor")
_FILTERS = frozenset({
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$type", "$regex",
    "$options", "$size", "$all", "$elemMatch", "$not", "$mod", "$bitsAllSet", "$bitsAllClear",
    "$bitsAnySet", "$bitsAnyClear",
})  # fmt: skip
_STAGES = frozenset({
    "$match", "$sort", "$limit", "$skip", "$project", "$group", "$unwind", "$count",
    "$addFields", "$set", "$unset", "$sortByCount", "$bucket", "$bucketAuto", "$facet",
    "$replaceRoot", "$replaceWith", "$sample",
})  # fmt: skip
_EXPRESSIONS = frozenset({
    "$abs", "$add", "$ceil", "$divide", "$exp", "$floor", "$ln", "$log10", "$mod", "$multiply",
    "$pow", "$round", "$sqrt", "$subtract", "$trunc", "$arrayElemAt", "$concatArrays",
    "$filter", "$in", "$indexOfArray", "$isArray", "$map", "$objectToArray", "$arrayToObject",
    "$reduce", "$reverseArray", "$size", "$slice", "$sortArray", "$zip", "$and", "$or", "$not",
    "$cmp", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$cond", "$ifNull", "$switch",
    "$toDate", "$dateFromString", "$dateToString", "$dateTrunc", "$dateDiff", "$year", "$month",
    "$week", "$isoWeek", "$isoWeekYear", "$dayOfMonth", "$dayOfWeek", "$dayOfYear", "$hour",
    "$minute", "$second", "$literal", "$let", "$mergeObjects", "$setUnion", "$setIntersection",
    "$setDifference", "$setEquals", "$setIsSubset", "$anyElementTrue", "$allElementsTrue",
    "$concat", "$indexOfCP", "$split", "$strLenCP", "$strcasecmp", "$substrCP", "$toLower",
    "$toUpper", "$trim", "$ltrim", "$rtrim", "$replaceOne", "$replaceAll", "$type", "$isNumber",
    "$toString", "$toInt", "$toLong", "$toDouble", "$toBool", "$convert", "$sum", "$avg",
    "$min", "$max", "$push", "$addToSet", "$count", "$first", "$last", "$firstN", "$lastN",
    "$minN", "$maxN", "$top", "$topN", "$bottom", "$bottomN", "$stdDevPop", "$stdDevSamp",
})  # fmt: skip
_VARIABLES = frozenset({"ROOT", "CURRENT", "REMOVE", "NOW"})  # one's own begin with a small letter
_OWN = "~"  # what a store keeps beside a document begins so


def passed_filter(source: Mapping[str, Any], pointer: str) -> set[str]:
    """Name the fields that a filter asks for. Raises Invalid at what is not passed on."""
    roots: set[str] = set()
    _filter(source, pointer, DEPTH_MAX, roots, within=False)
    return roots


def passed_sort(source: Mapping[str, Any], pointer: str) -> set[str]:
    """Name the fields that an order asks for. Raises Invalid."""
    if len(source) > SORT_KEYS_MAX:
        raise Invalid.at(pointer, f"an order has at most {SORT_KEYS_MAX} fields")
    for name, direction in source.items():
        if isinstance(direction, bool) or direction not in (1, -1):
            raise Invalid.at(f"{pointer}/{token(name)}", "1 or -1")
    return {_path(name, pointer)[0] for name in source}


def require_passed(stages: list[Any], pointer: str, depth: int = DEPTH_MAX) -> None:
    """Raise Invalid at what of a pipeline is not passed on."""
    if len(stages) > STAGES_MAX:
        raise Invalid.at(pointer, f"a pipeline has at most {STAGES_MAX} stages")
    for i, stage in enumerate(stages):
        at = f"{pointer}/{i}"
        if not isinstance(stage, dict) or len(stage) != 1:
            raise Invalid.at(at, "a stage is an object with one member: {'$match': {…}}")
        ((name, operand),) = stage.items()
        at = f"{at}/{token(name)}"
        if name not in _STAGES:
            raise _unknown(name, at, _STAGES)
        if name == "$match":
            _filter(operand, at, depth, set(), within=False)
        elif name == "$facet":
            if not isinstance(operand, dict) or depth < DEPTH_MAX or len(operand) > LIST_MAX:
                raise Invalid.at(at, "$facet takes pipelines by name, and has no other in it")
            for inner, some in operand.items():
                if not isinstance(some, list):
                    raise Invalid.at(f"{at}/{token(inner)}", "a list of stages")
                require_passed(some, f"{at}/{token(inner)}", depth - 1)
        else:
            _expression(operand, at, depth)


def _filter(source: Any, pointer: str, depth: int, roots: set[str], *, within: bool) -> None:
    _require_shallow(depth, pointer)
    if not isinstance(source, dict):
        raise Invalid.at(pointer, "a filter is an object")
    for name, operand in source.items():
        at = f"{pointer}/{token(name)}"
        if name in _JOINING:
            for i, part in enumerate(_list(operand, at)):
                _filter(part, f"{at}/{i}", depth - 1, roots, within=within)
        elif name.startswith("$"):
            raise _unknown(name, at, _JOINING)
        else:
            path = _path(name, at)
            if not within:
                roots.add(path[0])
            _test(operand, at, depth - 1)


def _test(operand: Any, pointer: str, depth: int) -> None:
    """Check what a field is compared with."""
    _require_shallow(depth, pointer)
    if not isinstance(operand, dict) or not any(name.startswith("$") for name in operand):
        _literal(operand, pointer, depth)
        return
    for name, value in operand.items():
        at = f"{pointer}/{token(name)}"
        if name not in _FILTERS:
            raise _unknown(name, at, _FILTERS)
        if name == "$not":
            if not isinstance(value, dict):
                raise Invalid.at(at, "$not takes operators: {'$not': {'$gt': 5}}")
            _test(value, at, depth - 1)
        elif name == "$elemMatch":
            tests = isinstance(value, dict) and any(n in _FILTERS for n in value)
            if tests:
                _test(value, at, depth - 1)
            else:
                _filter(value, at, depth - 1, set(), within=True)
        elif name == "$regex":
            _pattern(value, at)
        elif name == "$options":
            if value not in ("", "i") or "$regex" not in operand:
                raise Invalid.at(at, "'' or 'i', beside a $regex")
        else:
            _literal(value, at, depth - 1)


def _pattern(value: Any, pointer: str) -> None:
    if not isinstance(value, str):
        raise Invalid.at(pointer, "$regex takes a pattern")
    try:
        patterns.normal(value)
    except patterns.WrongPattern as error:
        raise Invalid.at(pointer, f"at character {error.at + 1}: {error}") from None


def _literal(value: Any, pointer: str, depth: int) -> None:
    """Check a value: no operator hides in it."""
    _require_shallow(depth, pointer)
    if isinstance(value, list):
        for i, item in enumerate(_list(value, pointer)):
            _literal(item, f"{pointer}/{i}", depth - 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name.startswith("$") or "\0" in name:
                raise Invalid.at(f"{pointer}/{token(name)}", "no name in a value begins with $")
            _literal(inner, f"{pointer}/{token(name)}", depth - 1)


def _expression(value: Any, pointer: str, depth: int) -> None:
    _require_shallow(depth, pointer)
    if isinstance(value, str) and value.startswith("$$"):
        name = value[2:].partition(".")[0]
        if name not in _VARIABLES and not name[:1].islower():
            raise Invalid.at(
                pointer, f"$${name[:40]} is not here: {', '.join(sorted(_VARIABLES))} are here"
            )
    elif isinstance(value, list):
        for i, item in enumerate(_list(value, pointer)):
            _expression(item, f"{pointer}/{i}", depth - 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            at = f"{pointer}/{token(name)}"
            if "\0" in name or name.startswith(_OWN):
                raise Invalid.at(at, f"no name begins with {_OWN}")
            if name.startswith("$") and name not in _EXPRESSIONS:
                raise _unknown(name, at, _EXPRESSIONS)
            _expression(inner, at, depth - 1)


def _path(name: str, pointer: str) -> Path:
    path = read_path(name, pointer)
    if path[0].startswith(_OWN):
        raise Invalid.at(pointer, f"no field begins with {_OWN}")
    return path


def _list(value: Any, pointer: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > LIST_MAX:
        raise Invalid.at(pointer, f"a list of at most {LIST_MAX:,}")
    return value


def _require_shallow(depth: int, pointer: str) -> None:
    if depth < 1:
        raise Invalid.at(pointer, f"it is more than {DEPTH_MAX} levels deep")


def _unknown(name: str, pointer: str, known: Iterable[str]) -> Invalid:
    return Invalid.at(pointer, f"{name[:40]!r} is not here: {', '.join(sorted(known))} are")

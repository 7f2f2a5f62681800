"""Values of documents: how MongoDB orders them, what lies at a path, and what looking costs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mainspring import Invalid

STEPS_MAX = 1_000_000  # of one call: values looked at, and every 16 characters of text
DEPTH_MAX = 20  # of a filter, a stage and what they compare with
PATH_CHARS_MAX = 200
LIST_MAX = 1_000  # operands of one operator

Document = Mapping[str, Any]
Path = tuple[str, ...]


class Missing:
    """What is at a path where there is nothing: not null, though null equals it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class Budget:
    """How much one call may still look at. Not for several threads at once."""

    __slots__ = ("_left",)

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps. Raises Invalid where there are not as many."""
        self._left -= steps
        if self._left < 0:
            raise Invalid(
                f"it looks at more than {STEPS_MAX:,} values, counting each 16 characters of text "
                "as one: let a $match leave fewer documents, or ask for less of them"
            )


# The ranks of MongoDB's comparison order. An empty list sorts before everything.
_EMPTY, _NULL, _NUMBER, _TEXT, _OBJECT, _LIST, _BOOL = range(7)
Key = tuple[Any, ...]


def key(value: Any, budget: Budget) -> Key:
    """Return what compares as MongoDB compares values, whatever their types; equal ones are one."""
    budget.spend()
    if value is None or value is MISSING:
        return (_NULL,)
    if isinstance(value, bool):
        return (_BOOL, value)
    if isinstance(value, int | float):
        return (_NUMBER, value)
    if isinstance(value, str):
        budget.spend(len(value) >> 4)
        return (_TEXT, value)
    if isinstance(value, list):
        return (_LIST, tuple([key(item, budget) for item in value]))
    made = []
    for name, inner in value.items():
        of = key(inner, budget)
        made.append((of[0], name, of))
    return (_OBJECT, tuple(made))


def sort_key(value: Any, budget: Budget, *, descending: bool) -> Key:
    """What a value is sorted by: of a list its smallest item, or descending its largest."""
    if not isinstance(value, list):
        return key(value, budget)
    if not value:
        return (_EMPTY,)
    keys = [key(item, budget) for item in value]
    return max(keys) if descending else min(keys)


def comparable(one: Key, other: Key) -> bool:
    """Tell whether two keys are of the same type: others are never less or greater in a filter."""
    return bool(one[0] == other[0])


def read_path(text: Any, pointer: str) -> Path:
    """Read ``a.b.0``. Raises Invalid."""
    if not isinstance(text, str) or not text:
        raise Invalid.at(pointer, "name a field: 'address.city', say")
    parts = tuple(text.split("."))
    if len(text) > PATH_CHARS_MAX or len(parts) > DEPTH_MAX:
        raise Invalid.at(
            pointer, f"a path has at most {PATH_CHARS_MAX} characters and {DEPTH_MAX} parts"
        )
    if any(not part or part.startswith("$") or "\0" in part for part in parts):
        raise Invalid.at(
            pointer,
            f"{text[:40]!r} is not a path: names with dots between them, none begins with $",
        )
    return parts


def found(value: Any, path: Path, budget: Budget, at: int = 0) -> Iterator[Any]:
    """What lies at a path for a filter: each item of a list on the way is gone into."""
    budget.spend()
    if at == len(path):
        yield value
    elif isinstance(value, dict):
        if path[at] in value:
            yield from found(value[path[at]], path, budget, at + 1)
        else:
            yield MISSING
    elif isinstance(value, list):
        if path[at].isdecimal() and int(path[at]) < len(value):
            yield from found(value[int(path[at])], path, budget, at + 1)
        for item in value:
            if isinstance(item, dict):
                yield from found(item, path, budget, at)
    else:
        yield MISSING


def ordered_by(value: Any, path: Path, budget: Budget, at: int = 0) -> Iterator[Any]:
    """What lies at a path for a sort: an item that has nothing there counts, as null."""
    budget.spend()
    if at == len(path):
        yield value
    elif isinstance(value, dict) and path[at] in value:
        yield from ordered_by(value[path[at]], path, budget, at + 1)
    elif not isinstance(value, list):
        yield MISSING
    elif path[at].isdecimal() and int(path[at]) < len(value):
        yield from ordered_by(value[int(path[at])], path, budget, at + 1)
    else:
        for item in value or [MISSING]:
            yield from ordered_by(item, path, budget, at)


def taken(value: Any, path: Path, budget: Budget, at: int = 0) -> Any:
    """What ``"$a.b"`` is in a pipeline: of a list the list of what its items have there."""
    budget.spend()
    if at == len(path):
        return value
    if isinstance(value, dict):
        return taken(value[path[at]], path, budget, at + 1) if path[at] in value else MISSING
    if isinstance(value, list):
        items = [taken(item, path, budget, at) for item in value]
        return [item for item in items if item is not MISSING]
    return MISSING


def weigh(value: Any, budget: Budget) -> None:
    """Spend for all of a value, so that what refers to one thing many times is not for free."""
    budget.spend()
    if isinstance(value, str):
        budget.spend(len(value) >> 4)
    elif isinstance(value, list):
        for item in value:
            weigh(item, budget)
    elif isinstance(value, dict):
        for name, inner in value.items():
            budget.spend(len(name) >> 4)
            weigh(inner, budget)


def token(name: str) -> str:
    """A name within a JSON pointer (RFC 6901)."""
    return name[:60].replace("~", "~0").replace("/", "~1")

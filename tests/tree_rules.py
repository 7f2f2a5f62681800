"""The rules of the house that hold for the tree as a whole, each from its files to what is wrong.

As in ``tidy_rules``, ``test_tidy.py`` shows each a tree to accept and one to reject.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vulture import Vulture  # type: ignore[import-untyped]

from tests.tidy_rules import Finding, Source, dotted

# Exported for users, whose tests and programs are their callers.
HARNESS = "src/mainspring/testing/"
CLIENT = "src/mainspring/client/"
PUBLIC = "src/mainspring/__init__.py"
# Decorators that only change what a name does. Any other hands it to somebody, who calls it.
CHANGING = frozenset({
    "property", "staticmethod", "classmethod", "cached_property", "functools.cached_property",
    "lru_cache", "functools.lru_cache", "contextmanager", "contextlib.contextmanager",
    "asynccontextmanager", "contextlib.asynccontextmanager", "overload", "override", "dataclass",
})  # fmt: skip

TreeRule = Callable[[Sequence[Source]], Iterator[Finding]]


def nothing_is_dead(sources: Sequence[Source]) -> Iterator[Finding]:
    """No name in ``src`` that is used in tests only, or nowhere; vulture compares by name.

    Spared are fields of a struct, the harness, the client, what the public API exports, what a
    decorator hands on, and a line that says ``# used by ...``: a library calls it.
    """
    shipped = {source.path: source for source in sources if source.shipped}
    public = _exported(shipped.get(PUBLIC))
    search = Vulture()
    for source in shipped.values():
        search.scan(source.text, filename=Path(source.path))
    for item in search.get_unused_code():
        path = item.filename.as_posix()
        source = shipped[path]
        if path.startswith((HARNESS, CLIENT)) or item.first_lineno in _spared(source, public):
            continue
        if "# used by " not in source.text.splitlines()[item.first_lineno - 1]:
            yield Finding(path, item.first_lineno, f"{item.message}, but for tests")


def _exported(source: Source | None) -> frozenset[str]:
    if source is None:
        return frozenset()
    names = [n for n in source.tree.body if isinstance(n, ast.ImportFrom)]
    return frozenset(alias.name for node in names for alias in node.names)


def _spared(source: Source, public: frozenset[str]) -> frozenset[int]:
    lines: set[int] = set()
    for node in source.nodes:
        if isinstance(node, ast.ClassDef):
            if node.bases or node.decorator_list:
                lines.update(n.lineno for n in node.body if isinstance(n, ast.AnnAssign))
            if node.name in public:
                lines.update(_first_line(n) for n in node.body if isinstance(n, _DEFINED))
        if isinstance(node, _DEFINED) and _handed_on(node):
            lines.add(_first_line(node))
    return frozenset(lines)


_DEFINED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _handed_on(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    names = [dotted(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list]
    return any(name not in CHANGING and not name.endswith(".setter") for name in names)


def one_class_has_a_name(sources: Sequence[Source]) -> Iterator[Finding]:
    """What a public class is called, no other class or type in ``src`` is called.

    The client is a program of its own, at the other end of the wire: it has its own ``NotFound``.
    """
    declared: dict[tuple[bool, str], list[tuple[Source, ast.stmt]]] = defaultdict(list)
    for source in sources:
        of_client = source.path.startswith(CLIENT)
        for node in source.tree.body if source.shipped else ():
            if isinstance(node, ast.ClassDef):
                declared[of_client, node.name].append((source, node))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                declared[of_client, node.targets[0].id].append((source, node))
    for (_, name), places in declared.items():
        classes = [place for place in places if isinstance(place[1], ast.ClassDef)]
        if name.startswith("_") or not classes or len(places) == 1:
            continue
        first = classes[0]
        for source, node in places:
            if node is not first[1]:
                where = f"{first[0].path}:{first[1].lineno}"
                yield Finding(source.path, node.lineno, f"{name} is a class of {where} already")


def one_statement_has_a_name(sources: Sequence[Source]) -> Iterator[Finding]:
    """A statement's name finds it in a log, and where a file has it twice, one hides the other.

    Adapters ask the same of each engine.
    """
    seen: dict[str, str] = {}
    for source in sources:
        if not source.shipped or "adapters" in source.parts:
            continue
        for node in source.nodes:
            if not (isinstance(node, ast.Call) and dotted(node.func) in ("Statement", "Query")):
                continue
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else 0
            if not isinstance(name, str):
                continue
            if name in seen:
                yield Finding(source.path, node.lineno, f"{name} is a statement of {seen[name]}")
            seen.setdefault(name, f"{source.path}:{node.lineno}")


def nothing_private_is_tested(sources: Sequence[Source]) -> Iterator[Finding]:
    """A test looks at what ``src`` makes public: what can be observed, or a seam that is right.

    A private name that the test's own file defines is its own.
    """
    private = {name for source in sources if source.shipped for name in _private_names(source)}
    for source in sources:
        if source.parts[0] != "tests":
            continue
        foreign = private - _private_names(source)
        for node in source.nodes:
            for name in sorted(_touched(node) & foreign):
                yield Finding(source.path, node.lineno, f"{name} is private to src")


def _private_names(source: Source) -> set[str]:
    """Every private name that a file defines: functions, classes, variables, attributes of self."""
    names: set[str] = set()
    for node in source.nodes:
        if isinstance(node, _DEFINED):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and dotted(node.value) == "self":
            names.add(node.attr)
    return {name for name in names if re.fullmatch(r"_[^_]\w*", name)}


def _touched(node: ast.AST) -> set[str]:
    """Name what is reached into: an attribute, an import, a name that is patched."""
    if isinstance(node, ast.Attribute):
        return set() if dotted(node.value) in ("self", "cls") else {node.attr}
    if isinstance(node, ast.ImportFrom):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.Call) and dotted(node.func).endswith(("getattr", "setattr")):
        texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
        return {text.rpartition(".")[2] for text in texts if isinstance(text, str)}
    return set()


TREE_RULES: tuple[TreeRule, ...] = (
    nothing_is_dead,
    one_class_has_a_name,
    one_statement_has_a_name,
    nothing_private_is_tested,
)

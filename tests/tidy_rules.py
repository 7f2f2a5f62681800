"""The rules of the house that no linter knows, each a function from a file to what is wrong in it.

A rule is handed a parsed file, so ``test_tidy.py`` can show it one to accept and one to reject.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import mainspring

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
TEST_FILE_LINES_MAX = 1_000
GENERATED = "src/mainspring/client/generated/"  # read by editors, method by method

VAGUE = frozenset({"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"})
VAGUE_CLASS = re.compile(r"(Base[A-Z]\w*|\w*(Manager|Helpers?|Utils?))")
BROAD = frozenset({"Exception", "BaseException"})

# Time, randomness and ids come from an injected Clock, Entropy or IdMaker.
AMBIENT = re.compile(
    r"(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns)"
    r"|(datetime\.)?datetime\.(now|utcnow|today)|(datetime\.)?date\.today"
    r"|random\.\w+|secrets\.\w+|uuid\.uuid[0-9]|os\.urandom)"
)
AMBIENT_ROOMS = (
    "src/mainspring/kernel/clock.py",  # where they come in
    "src/mainspring/cli/",  # a program of its own: it times a run and throws dice for its faults
    "src/mainspring/testing/",  # owns the clock that tests hold still
)
DURATIONS = frozenset({"time.monotonic", "time.monotonic_ns"})  # an adapter's own deadlines


def system_tables() -> list[str]:
    """The tables that the runtime's own migrations make."""
    folder = Path(mainspring.__file__).parent / "runtime" / "migrations"
    made = "".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    return sorted(set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", made)))


SQL = re.compile(
    r"\s*(WITH\s+\w+\s+AS\b|SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s"
    r"|(CREATE|ALTER|DROP)\s+(UNIQUE\s+|VIRTUAL\s+)?(TABLE|INDEX)\s)"
)
SQL_ROOMS = re.compile(
    r"src/mainspring/(services/\w+/store\.py|services/\w+/store/\w+\.py|runtime/(\w+/)?\w+\.py"
    r"|kernel/(table|sweep)\.py|adapters/(database|search)/.+|testing/.+|cli/demo/example_app\.py)"
)
BINDING_ROOMS = re.compile(
    r"src/mainspring/(services/\w+/store(\.py|/\w+\.py)|runtime/(\w+/)?\w+\.py)"
)
_LISTED = r"(?:[\w\"]+(?:\s+(?:AS\s+)?\w+)?\s*,\s*)*"  # what stands before it in FROM a, b
SYSTEM_TABLES = re.compile(
    rf"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+{_LISTED}\"?({'|'.join(system_tables())})\b"
)
CONTAINER = re.compile(r"dict|list|set|deque|\w*(Dict|Dictionary|Cache|WeakSet)")
PUBLIC = frozenset(mainspring.__all__)
# What may stand in the braces of an SQL text: names that code declares, never a caller's value.
DECLARED = re.compile(r"_?[A-Z][A-Z0-9_]*(\.(columns|name))?")

# A built-in service's decorators and the one file (or folder of that name) they are used in.
DECLARATIONS = {
    **dict.fromkeys(("contract", "event", "operation", "transaction"), "api"),
    **dict.fromkeys(("stream", "upload", "raw", "job"), "api"),
    "on": "consumers",
}
SERVICE_MUST_HAVE = ("__init__.py", "api", "operations")
MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+?(\.sqlite|\.postgres)?\.sql")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")  # tidy: the rule itself
# Words that leave a reader to guess: what it is that cannot be, two of what, and what would fit.
RIDDLE = re.compile(
    r"\bcannot be$|(?<!there )\b(is|are) no (?!longer\b|more\b)"
    r"|\bthere are two of\b|\bcannot be had\b"
)
HOME_OF_SOMEBODY = re.compile(r"(?<![\w.$])/(?:root|home/\w+|Users/\w+)/")


@dataclass(frozen=True)
class Source:
    """A Python file: where it is, from the root with forward slashes, and what it says."""

    path: str
    text: str
    tree: ast.Module = field(init=False, repr=False, compare=False)
    nodes: tuple[ast.AST, ...] = field(init=False, repr=False, compare=False)  # for all rules

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text, self.path))
        object.__setattr__(self, "nodes", tuple(ast.walk(self.tree)))

    @cached_property
    def calls(self) -> tuple[tuple[ast.Call, str], ...]:
        """Every call and the dotted name that is called, with ``from x import y`` resolved."""
        imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in self.nodes
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
            for alias in node.names
        }
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Call) and (name := dotted(node.func)):
                first, dot, rest = name.partition(".")
                found.append((node, imported.get(first, first) + dot + rest))
        return tuple(found)

    @property
    def shipped(self) -> bool:
        return self.path.startswith("src/")

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts


@dataclass(frozen=True)
class Finding:
    """What is wrong and where, as an editor can jump to it."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


Rule = Callable[[Source], Iterator[Finding]]


def dotted(node: ast.AST) -> str:
    """Write a name or a chain of attributes as ``a.b.c``; anything else is empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def imports(node: ast.AST) -> list[str]:
    """The full names a statement imports; none for other nodes and for relative imports."""
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return []


# Size and names


def functions_are_short(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                what = f"{node.name} has {lines} lines of at most {FUNCTION_LINES_MAX}"
                yield Finding(source.path, node.lineno, what)


def files_are_short(source: Source) -> Iterator[Finding]:
    if source.path.startswith(GENERATED):
        return
    limit = TEST_FILE_LINES_MAX if source.path.startswith("tests/") else FILE_LINES_MAX
    if (lines := source.text.count("\n")) > limit:
        yield Finding(source.path, limit, f"{lines} lines of at most {limit}")


def files_say_something(source: Source) -> Iterator[Finding]:
    if not source.text.strip():
        yield Finding(source.path, 1, "empty: a file appears when there is something to put in it")


def names_are_rooms(source: Source) -> Iterator[Finding]:
    for part in source.parts:
        if part.removesuffix(".py") in VAGUE:
            yield Finding(source.path, 1, f"{part!r} says nothing of what is inside")
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.fullmatch(node.name):
            yield Finding(source.path, node.lineno, f"{node.name}: name what it is, not its rank")


# Errors, time, bounds


def errors_are_not_swallowed(source: Source) -> Iterator[Finding]:
    """A broad ``except`` raises again, logs or counts the error, or hands it on."""
    if not source.shipped:
        return
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            inside = [inner for part in node.body for inner in ast.walk(part)]
            raises = any(isinstance(inner, ast.Raise) for inner in inside)
            tells = any(
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and inner.func.attr in {"exception", "add"}  # a logger's, a counter's
                for inner in inside
            )
            uses = node.name and any(
                isinstance(inner, ast.Name) and inner.id == node.name for inner in inside
            )
            if not (raises or tells or uses):
                yield Finding(source.path, node.lineno, "a broad except that drops the error")
    for call, name in source.calls:
        if name == "contextlib.suppress" and any(_is_broad(arg) for arg in call.args):
            yield Finding(source.path, call.lineno, "suppress() of every error")


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(part) for part in kind.elts)
    return kind is None or dotted(kind) in BROAD


def time_and_chance_are_injected(source: Source) -> Iterator[Finding]:
    if not source.shipped or source.path.startswith(AMBIENT_ROOMS):
        return
    for call, name in source.calls:
        if name in DURATIONS and source.parts[2] == "adapters":
            continue
        if AMBIENT.fullmatch(name) and _imports(source, name.split(".")[0]):
            yield Finding(source.path, call.lineno, f"{name}() instead of Clock or Entropy")


def _imports(source: Source, module: str) -> bool:
    """Tell the module ``secrets`` from a variable of that name."""
    return any(
        (isinstance(node, ast.Import) and any(a.name == module for a in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == module)
        for node in source.nodes
    )


def tests_do_not_sleep(source: Source) -> Iterator[Finding]:
    """Zero is a turn of the event loop and no wait."""
    if not source.path.startswith("tests/"):
        return
    for call, name in source.calls:
        zero = [a for a in call.args if isinstance(a, ast.Constant) and a.value == 0]
        if name == "time.sleep" or (name == "asyncio.sleep" and not zero):
            yield Finding(source.path, call.lineno, f"{name}() instead of waiting for a signal")


ASSERTING = re.compile(r"assert|raises|check|verify|expect|warns|approx|fail\(")


def tests_wait_for_one_deadline(source: Source) -> Iterator[Finding]:
    """A bound of a test's own is met by a busy machine one day; below a second is never waited for.

    What fails by taking too long is told by tests/deadline.py alone.
    """
    if not source.path.startswith("tests/"):
        return
    for call, name in source.calls:
        bound = call.args[0] if name == "asyncio.timeout" and call.args else None
        if isinstance(bound, ast.Constant) and bound.value and bound.value >= 1:
            yield Finding(source.path, call.lineno, "say DEADLINE_S (tests/deadline.py)")


def tests_can_fail(source: Source) -> Iterator[Finding]:
    """A test asserts, expects an error, or hands its case to a function that says so by name."""
    if not source.path.startswith("tests/"):
        return
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = "\n".join(ast.unparse(part) for part in node.body)
            if node.name.startswith("test_") and not ASSERTING.search(body):
                yield Finding(source.path, node.lineno, f"{node.name} asserts nothing")


def nothing_grows_without_bound(source: Source) -> Iterator[Finding]:
    """A queue or cache has a maximum, or a comment ``# bounded by ...`` says what holds it."""
    if not source.shipped:
        return
    lines = source.text.splitlines()
    for call, name in source.calls:
        if "# bounded by " in lines[call.lineno - 1]:
            continue
        sized = call.args or any(k.arg == "maxsize" for k in call.keywords)
        if name in {"asyncio.Queue", "queue.Queue", "queue.SimpleQueue"} and not sized:
            yield Finding(source.path, call.lineno, f"{name}() without a maximum")
        if name == "functools.lru_cache" and any(
            isinstance(v, ast.Constant) and v.value is None
            for v in [*call.args, *(k.value for k in call.keywords)]
        ):
            yield Finding(source.path, call.lineno, "a cache without a maximum")


LRU_CACHE = "src/mainspring/kernel/lru_cache.py"


def caches_are_lru_caches(source: Source) -> Iterator[Finding]:
    """What is forgotten to make room is kept in an ``LruCache``: nobody pushes out by hand."""
    if not source.shipped or source.path == LRU_CACHE:
        return
    for node in source.nodes:
        if (
            any(name.partition(".")[0] == "cachetools" for name in imports(node))
            or (isinstance(node, ast.Delete) and any(map(_takes_its_first, node.targets)))
            or (isinstance(node, ast.Call) and _pushes_out(node))
            or (isinstance(node, ast.If) and _clears_when_full(node))
        ):
            what = "makes room by hand: keep it in a mainspring.kernel.lru_cache.LruCache"
            yield Finding(source.path, node.lineno, what)


def _takes_its_first(target: ast.expr) -> bool:
    """``kept[next(iter(kept))]``"""
    return isinstance(target, ast.Subscript) and (
        ast.unparse(target.slice) == f"next(iter({ast.unparse(target.value)}))"
    )


def _pushes_out(call: ast.Call) -> bool:
    """``kept.popitem(last=False)``, ``kept.pop(next(iter(kept)))``"""
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr == "popitem":
        return any(keyword.arg == "last" for keyword in call.keywords)
    first = f"next(iter({ast.unparse(call.func.value)}))"
    return call.func.attr == "pop" and [ast.unparse(a) for a in call.args[:1]] == [first]


def _clears_when_full(branch: ast.If) -> bool:
    """``if len(kept) >= KEPT_MAX: kept.clear()``"""
    measured = re.search(r"len\(([\w.]+)\) >=? ", ast.unparse(branch.test))
    return measured is not None and any(
        isinstance(line, ast.Expr) and ast.unparse(line) == f"{measured[1]}.clear()"
        for line in branch.body
    )


def structs_are_frozen(source: Source) -> Iterator[Finding]:
    if not source.shipped:
        return
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and "msgspec.Struct" in map(dotted, node.bases):
            frozen = any(
                k.arg == "frozen" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in node.keywords
            )
            if not frozen:
                yield Finding(source.path, node.lineno, f"{node.name} is not frozen")


# SQL


def sql_has_its_room(source: Source) -> Iterator[Finding]:
    if not source.shipped or SQL_ROOMS.fullmatch(source.path):
        return
    for line, text, _ in _sql_texts(source):
        yield Finding(source.path, line, f"SQL outside a store: {text.split(chr(10))[0][:40]!r}")


def sql_takes_parameters(source: Source) -> Iterator[Finding]:
    """Only what is fixed when the module is imported is put into an SQL text; values are bound."""
    if not BINDING_ROOMS.fullmatch(source.path):
        return
    at_import = _names_fixed_at_import(source)
    for line, text, braces in _sql_texts(source):
        for brace in braces:
            if not (DECLARED.fullmatch(brace) or _is_fixed(brace, at_import)):
                what = f"{{{brace}}} in {text[:30]!r}: bind a value, or name a constant"
                yield Finding(source.path, line, what)


def _is_fixed(expression: str, names: frozenset[str]) -> bool:
    node = ast.parse(expression, mode="eval").body
    if isinstance(node, ast.Call):  # a fragment made of constants: _held("u.tenant", "u.id")
        return all(isinstance(arg, ast.Constant) for arg in node.args) and not node.keywords
    return isinstance(node, ast.Name) and node.id in names


def _names_fixed_at_import(source: Source) -> frozenset[str]:
    """Loop names of the module's own comprehensions; parameters of functions it alone calls."""
    in_functions = {
        id(inner)
        for node in source.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    fixed: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.comprehension) and id(node) not in in_functions:
            fixed.update(n.id for n in ast.walk(node.target) if isinstance(n, ast.Name))
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
            uses = [n for n in source.nodes if isinstance(n, ast.Name) and n.id == node.name]
            if uses and not any(id(use) in in_functions for use in uses):
                fixed.update(a.arg for a in [*node.args.args, *node.args.kwonlyargs])
    return frozenset(fixed)


def _sql_texts(source: Source) -> Iterator[tuple[int, str, list[str]]]:
    """Texts that begin as SQL does: the line, the text, and the expressions in its braces."""
    inside = {
        id(part)
        for node in source.nodes
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    documentation = _documentation(source)
    for node in source.nodes:
        if id(node) in inside or id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if SQL.match(node.value):
                yield node.lineno, node.value, []
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values
            )
            if SQL.match(text):
                braces = [
                    ast.unparse(part.value)
                    for part in node.values
                    if isinstance(part, ast.FormattedValue)
                ]
                yield node.lineno, text, braces


# Services


def _documentation(source: Source) -> frozenset[int]:
    return frozenset(
        id(node.body[0].value)
        for node in source.nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    )


def siblings_meet_at_the_api(source: Source) -> Iterator[Finding]:
    """A service sees of another only its ``api``."""
    if source.parts[:3] != ("src", "mainspring", "services") or len(source.parts) < 5:
        return
    own = source.parts[3]
    for node in source.nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in imports(node):
            parts = name.split(".")
            elsewhere = parts[:2] == ["mainspring", "services"] and parts[2:3] not in ([], [own])
            if elsewhere and parts[3:4] != ["api"]:
                yield Finding(source.path, node.lineno, f"{own} knows {name}")


def system_tables_are_the_runtimes(source: Source) -> Iterator[Finding]:
    """A service's SQL names no system table: it asks ``EventLog``, ``JobAdmin`` and their like."""
    if source.parts[:3] != ("src", "mainspring", "services"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for named in SYSTEM_TABLES.finditer(node.value):
                what = f"{named[1]} is a table of the runtime: ask a Protocol of the kernel"
                yield Finding(source.path, node.lineno, what)


def services_speak_the_public_api(source: Source) -> Iterator[Finding]:
    """What ``mainspring`` exports is imported from there, in our services as in a user's app."""
    ours = source.parts[:3] == ("src", "mainspring", "services")
    if not ours and source.path != "src/mainspring/cli/demo/example_app.py":
        return
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mainspring."):
            for name in PUBLIC.intersection(alias.name for alias in node.names):
                yield Finding(source.path, node.lineno, f"import {name} from mainspring itself")


def services_hold_nothing_in_modules(source: Source) -> Iterator[Finding]:
    """A module of a service holds no state: what a process remembers is a resource of its own."""
    if source.parts[:3] != ("src", "mainspring", "services"):
        return
    held = [
        each.lineno
        for each in source.tree.body
        if isinstance(each, ast.Assign | ast.AnnAssign) and _is_empty(each.value)
    ]
    held += [each.lineno for each in source.nodes if isinstance(each, ast.Global)]
    for line in held:
        yield Finding(source.path, line, "state: declare it with service.provide")


def _is_empty(value: ast.expr | None) -> bool:
    """Tell whether this makes a container that only others can fill."""
    if isinstance(value, ast.Call):
        made = ast.unparse(value.func).rpartition(".")[2]
        return bool(CONTAINER.fullmatch(made)) and all(
            isinstance(arg, ast.Name | ast.Constant) for arg in value.args
        )
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.List) and not value.elts


def declarations_have_their_room(source: Source) -> Iterator[Finding]:
    """What can be called is declared in ``api`` as a contract, what is listened to in consumers."""
    if source.parts[:3] != ("src", "mainspring", "services") or len(source.parts) < 5:
        return
    room = source.parts[4].removesuffix(".py")
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                name = dotted(decorator.func) if isinstance(decorator, ast.Call) else ""
                owner, kind = [*name.split("."), ""][:2]
                if owner == "service" and DECLARATIONS.get(kind, room) != room:
                    contract = "" if kind in ("contract", "event", "on") else ".contract"
                    what = f"@{owner}{contract}.{kind} belongs in {DECLARATIONS[kind]}.py"
                    yield Finding(source.path, node.lineno, what)


def words_stand_in_the_contract(source: Source) -> Iterator[Finding]:
    """What a contract describes is described there alone; every other public function says it."""
    if source.parts[:3] != ("src", "mainspring", "services") or len(source.parts) < 5:
        return
    if source.parts[4].removesuffix(".py") not in ("jobs", "operations"):
        return
    for node in source.tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
        handles = any(dotted(decorator.func) == "handles" for decorator in calls)
        described = ast.get_docstring(node) is not None
        if handles and described:
            yield Finding(source.path, node.lineno, f"{node.name} is described by its contract")
        if not (handles or described or node.name.startswith("_")):
            yield Finding(source.path, node.lineno, f"{node.name} has no doc")


def tags_have_one_form(source: Source) -> Iterator[Finding]:
    """Services take entity tags from kernel/etag.py: no two forms, no quote forgotten."""
    if source.parts[:3] != ("src", "mainspring", "services"):
        return
    for node in source.nodes:
        if not isinstance(node, ast.JoinedStr):
            continue
        ends = [part.value for part in (node.values[0], node.values[-1])
                if isinstance(part, ast.Constant)]  # fmt: skip
        if len(ends) == 2 and ends[0][:1] == ends[1][-1:] == '"':
            yield Finding(source.path, node.lineno, "an entity tag: kernel/etag.py makes those")


VERBS = {
    "POST": "create",
    "GET": "get|list",
    "PATCH": "update",
    "PUT": "replace",
    "DELETE": "delete",
}
CONTRACTS = frozenset({"operation", "transaction", "stream", "upload", "raw"})


def operations_have_one_manner(source: Source) -> Iterator[Finding]:
    """An operation is called ``verb_thing``, and its path names each thing once.

    The verb is the method's, or else what the path ends in: ``:cancel``, ``/refresh``. What the
    path is about is ``{id}``, or what else it is called by (``{name}``); what that lies in is
    ``{webhook_id}``, ``{collection}``.
    """
    for node, kind, shape in _contracts(source):
        method, _, path = shape.partition(" ")
        *above, last = path.split("/")
        if action := last.partition(":")[2]:
            verbs = action
        elif kind in ("stream", "upload"):
            verbs = kind
        else:
            says = last if (method == "POST" or kind == "raw") and re.match("[a-z]+$", last) else ""
            verbs = "|".join(filter(None, (VERBS.get(method, ""), says)))
        if re.match(rf"({verbs})(?<!s)(_|$)", node.name) is None or "_" not in node.name:
            what = f"{node.name}: {shape!r} is {verbs.replace('|', ' or ')}_thing"
            yield Finding(source.path, node.lineno, what)
        if {"{id}", "{name}"} & set(above):
            what = f"{shape!r}: name what it lies in ({{webhook_id}}, {{collection}})"
            yield Finding(source.path, node.lineno, what)
        twice = [f"{{{name[:-1]}{end}" for name in above[-1:] for end in ("}", "_id}")]
        if last.startswith(tuple(twice)):
            what = f"{shape!r} says twice what its end is: {{id}} or {{name}}"
            yield Finding(source.path, node.lineno, what)


def _contracts(source: Source) -> Iterator[tuple[ast.FunctionDef, str, str]]:
    """The operations that a service's api declares: the function, its kind, ``METHOD /path``."""
    if source.parts[:3] != ("src", "mainspring", "services") or len(source.parts) < 5:
        return
    constants: dict[str, str] = {}
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = _text(node.value, constants)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            called = dotted(decorator.func) if isinstance(decorator, ast.Call) else ""
            owner, _, kind = called.rpartition(".")
            if owner in ("service", "service.contract") and kind in CONTRACTS:
                yield node, kind, _text(decorator.args[0], constants)


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    """A text that is put together of texts, as far as the module itself says."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants)
    if isinstance(node, ast.BinOp):
        return _text(node.left, constants) + _text(node.right, constants)
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    return str(node.value) if isinstance(node, ast.Constant) else ""


SCOPE = re.compile(r"[a-z][a-z_]*:[a-z]+")


def scopes_have_names(source: Source) -> Iterator[Finding]:
    """A service writes each of its scopes once, as a constant of its api."""
    if source.parts[:3] != ("src", "mainspring", "services"):
        return
    named = {
        id(inner)
        for node in source.tree.body
        if isinstance(node, ast.Assign) and "api" in source.path
        for inner in ast.walk(node)
    }
    for node in source.nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and SCOPE.fullmatch(text) and id(node) not in named:
            yield Finding(source.path, node.lineno, f"{text!r}: name the scope in the api")


def queries_are_called_so(source: Source) -> Iterator[Finding]:
    """What chooses a page of a list is a ``PageQuery``, and is called ``…Query``."""
    if source.parts[:3] != ("src", "mainspring", "services"):
        return
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = {ast.unparse(n.target) for n in node.body if isinstance(n, ast.AnnAssign)}
        pages = "PageQuery" in map(dotted, node.bases)
        if pages and not node.name.endswith("Query"):
            yield Finding(source.path, node.lineno, f"{node.name} is called a Query")
        if "Input" in map(dotted, node.bases) and {"limit", "cursor"} <= fields:
            yield Finding(source.path, node.lineno, f"{node.name} is a PageQuery")


PRESENTER = re.compile(r"_?(present|shown|show|view|render|represent|to_api|serialize)(_\w+)?")


def rows_are_presented_in_one_room(source: Source) -> Iterator[Finding]:
    """What writes a row as callers see it is ``present_thing``, in the service's ``presenter``."""
    if source.parts[:3] != ("src", "mainspring", "services") or len(source.parts) < 5:
        return
    for node in source.tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        named = PRESENTER.fullmatch(node.name)
        if named and (source.parts[4:] != ("presenter.py",) or named[1] != "present"):
            what = f"{node.name}: call it present_thing, in presenter.py"
            yield Finding(source.path, node.lineno, what)


def missing_from_service(names: set[str]) -> list[str]:
    """What a service's folder must have and has not; a file may have grown into a folder."""
    stems = names | {name.removesuffix(".py") for name in names}
    return [name for name in SERVICE_MUST_HAVE if name not in stems]


def migrations_line_up(names: list[str]) -> list[str]:
    """Say what is wrong with the file names of one migrations folder."""
    wrong = []
    engines: dict[str, set[str]] = {}
    for name in names:
        match = MIGRATION.fullmatch(name)
        if match is None:
            wrong.append(f"{name}: not NNNN_name.sql")
            continue
        kinds = engines.setdefault(match[1], set())
        if (kind := match[2] or "both") in kinds:
            wrong.append(f"{name}: number {match[1]} is taken")
        kinds.add(kind)
    for number, kinds in engines.items():
        if kinds not in ({"both"}, {".sqlite", ".postgres"}):
            wrong.append(f"{number}: one engine is missing, or has it twice")
    if sorted(map(int, engines)) != list(range(1, len(engines) + 1)):
        wrong.append(f"numbers {sorted(engines)} do not follow each other from 0001")
    return wrong


def messages_are_plain(source: Source) -> Iterator[Finding]:
    """What is wrong is said in whole words: not "the fields cannot be", "x is no host"."""
    if not source.shipped:
        return
    documentation = _documentation(source)
    for node in source.nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if not isinstance(text, str) or id(node) in documentation:
            continue
        if riddle := RIDDLE.search(text):
            what = f"{riddle[0]!r} leaves a reader to guess: say what is wrong and what fits"
            yield Finding(source.path, node.lineno, what)


def one_error_is_made_with_at(source: Source) -> Iterator[Finding]:
    """A failure with a single field error is ``Invalid.at(pointer, problem)``: no tuple of one."""
    if not source.shipped:
        return
    for call, name in source.calls:
        for keyword in call.keywords:
            if (
                name == "cls"
                or keyword.arg != "errors"
                or not isinstance(keyword.value, ast.Tuple | ast.List)
            ):
                continue
            if [type(each) for each in keyword.value.elts] == [ast.Call]:
                yield Finding(source.path, call.lineno, "one error: .at(pointer, problem) makes it")


# Any text


def unfinished(text: str) -> Iterator[int]:
    """Lines that put something off."""
    for number, line in enumerate(text.splitlines(), 1):
        if UNFINISHED.search(line) and "# tidy:" not in line:
            yield number


def personal_paths(text: str) -> Iterator[int]:
    """Lines that name a folder of somebody's machine."""
    for number, line in enumerate(text.splitlines(), 1):
        if HOME_OF_SOMEBODY.search(line):
            yield number


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def links(text: str) -> Iterator[str]:
    """Targets of a Markdown text's links that lead to files, without their fragment."""
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            yield target.partition("#")[0]


RULES: tuple[Rule, ...] = (
    functions_are_short,
    files_are_short,
    files_say_something,
    names_are_rooms,
    errors_are_not_swallowed,
    time_and_chance_are_injected,
    tests_do_not_sleep,
    tests_wait_for_one_deadline,
    tests_can_fail,
    nothing_grows_without_bound,
    caches_are_lru_caches,
    structs_are_frozen,
    sql_has_its_room,
    sql_takes_parameters,
    siblings_meet_at_the_api,
    system_tables_are_the_runtimes,
    services_speak_the_public_api,
    services_hold_nothing_in_modules,
    declarations_have_their_room,
    messages_are_plain,
    words_stand_in_the_contract,
    tags_have_one_form,
    one_error_is_made_with_at,
    operations_have_one_manner,
    scopes_have_names,
    queries_are_called_so,
    rows_are_presented_in_one_room,
)

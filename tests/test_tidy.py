"""Style is executable: the tree keeps the rules, and each rule tells right from wrong."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests import tidy_rules as rules
from tests.tidy_rules import Finding, Rule, Source
from tests.tree_rules import (
    TREE_RULES,
    TreeRule,
    nothing_is_dead,
    nothing_private_is_tested,
    one_class_has_a_name,
    one_statement_has_a_name,
)

ROOT = Path(__file__).parents[1]
CODE = ("src", "tests", "benchmarks", "examples")
PROSE = (".md", ".toml", ".sql", ".yaml", ".yml", ".sh", ".html", ".js", ".css", ".ini", "")
SKIPPED = {"__pycache__", "node_modules", "results"}
OWN = {"tests/tidy_rules.py", "tests/test_tidy.py"}  # these spell out what they forbid


def files() -> Iterator[Path]:
    """Every file git tracks or would, so that a checkout's own clutter is not read."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        names = [str(p.relative_to(ROOT)) for top in CODE for p in (ROOT / top).rglob("*")]
    for name in sorted(names):
        path = ROOT / name
        if path.is_file() and not SKIPPED & set(path.parts):
            yield path


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file, parsed once for all rules."""
    return tuple(
        Source(relative(path), path.read_text(encoding="utf-8"))
        for path in files()
        if path.suffix == ".py"
    )


def found(rule: Rule, path: str, text: str) -> list[Finding]:
    return list(rule(Source(path, text)))


# The tree


@pytest.mark.xdist_group("tree")
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    wrong = [str(finding) for source in sources() for finding in rule(source)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.xdist_group("tree")
@pytest.mark.parametrize("rule", TREE_RULES, ids=lambda rule: rule.__name__)
def test_the_whole_tree_keeps(rule: TreeRule) -> None:
    wrong = [str(finding) for finding in rule(sources())]
    assert not wrong, "\n" + "\n".join(wrong)


def test_services_have_their_rooms() -> None:
    wrong = {
        service.name: missing
        for service in sorted((ROOT / "src/mainspring/services").iterdir())
        if service.is_dir() and service.name != "__pycache__"
        and (missing := rules.missing_from_service({path.name for path in service.iterdir()}))
    }  # fmt: skip
    assert not wrong


def test_migrations_line_up() -> None:
    folders = {path.parent for path in files() if path.suffix == ".sql" and "src" in path.parts}
    wrong = {
        relative(folder): problems
        for folder in folders
        if (problems := rules.migrations_line_up([p.name for p in folder.glob("*.sql")]))
    }
    assert folders
    assert not wrong


@pytest.mark.parametrize("rule", [rules.unfinished, rules.personal_paths], ids=lambda r: r.__name__)
def test_no_text_is(rule: Callable[[str], Iterator[int]]) -> None:
    wrong = [
        f"{relative(path)}:{line}"
        for path in files()
        if path.suffix in (*PROSE, ".py") and relative(path) not in OWN
        for line in rule(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not wrong


def test_links_between_documents_lead_somewhere() -> None:
    wrong = [
        f"{relative(path)}: {link}"
        for path in files()
        if path.suffix == ".md"
        for link in rules.links(path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert not wrong


def test_decisions_name_proofs_that_exist() -> None:
    wrong = []
    decisions = sorted((ROOT / "docs/adr").glob("0*.md"))
    for decision in decisions:
        text = decision.read_text(encoding="utf-8")
        proofs = re.findall(r"`(tests/[\w/.-]+)`", text.partition("## What proves it")[2])
        if decision.name != "0000-template.md" and not proofs:
            wrong.append(f"{decision.name}: names no test")
        wrong += [f"{decision.name}: {p} is not there" for p in proofs if not (ROOT / p).exists()]
    assert decisions
    assert not wrong


def test_every_decision_is_in_the_index() -> None:
    numbers = [int(p.name[:4]) for p in sorted((ROOT / "docs/adr").glob("0*.md"))]
    assert numbers == list(range(len(numbers))), "each decision has a number of its own"
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    missing = [p.name for p in sorted((ROOT / "docs/adr").glob("0*.md")) if p.name not in index]
    assert not missing


def test_every_runtime_dependency_is_imported() -> None:
    """What only tests need belongs to them; what nobody imports belongs nowhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=; \[]", line)[0].lower() for line in project["dependencies"]}
    imported = {
        name.split(".")[0]
        for source in sources()
        if source.shipped
        for node in source.nodes
        for name in rules.imports(node)
    }
    homes = packages_distributions()
    used = {home.lower().replace("_", "-") for name in imported for home in homes.get(name, ())}
    used.add("tzdata")  # which the standard library's zoneinfo reads
    assert wanted <= used, f"nobody imports {sorted(wanted - used)}"


# The rules

SRC = "src/mainspring/runtime/events/consumer_runner.py"
STORE = "src/mainspring/services/links/store.py"
CALLER = "src/mainspring/client/core.py"
TEST = "tests/test_links.py"

LONG = "def f():\n" + "    x = 1\n" * 70
SHORT = "def f():\n" + "    x = 1\n" * 69

EXAMPLES: list[tuple[Rule, str, str, bool]] = [
    (rules.functions_are_short, SRC, SHORT, True),
    (rules.functions_are_short, SRC, LONG, False),
    (rules.functions_are_short, TEST, f"async {LONG}", False),
    (rules.files_are_short, SRC, "x = 1\n" * 600, True),
    (rules.files_are_short, SRC, "x = 1\n" * 601, False),
    (rules.files_are_short, f"{rules.GENERATED}users.py", "x = 1\n" * 601, True),
    (rules.files_are_short, TEST, "x = 1\n" * 1_000, True),
    (rules.files_are_short, TEST, "x = 1\n" * 1_001, False),
    (rules.files_say_something, SRC, '"""What moves."""\n', True),
    (rules.files_say_something, SRC, "\n", False),
    (rules.names_are_rooms, SRC, "class Lane: ...", True),
    (rules.names_are_rooms, SRC, "class LaneManager: ...", False),
    (rules.names_are_rooms, SRC, "class BaseLane: ...", False),
    (rules.names_are_rooms, SRC, "class Baseline: ...", True),
    (rules.names_are_rooms, "src/mainspring/runtime/utils.py", "", False),
    (rules.names_are_rooms, "src/mainspring/common/relay.py", "", False),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept KeyError: pass", True),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept Exception as e: g(e)", True),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept Exception: log.exception('x')", True),
    (
        rules.errors_are_not_swallowed,
        SRC,
        "try: f()\nexcept Exception: logger().exception('x')",
        True,
    ),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept BaseException:\n g()\n raise", True),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept Exception: failures.add()", True),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept Exception: pass", False),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept: g()", False),
    (rules.errors_are_not_swallowed, SRC, "try: f()\nexcept (OSError, Exception): g()", False),
    (
        rules.errors_are_not_swallowed,
        SRC,
        "import contextlib\nwith contextlib.suppress(Exception): f()",
        False,
    ),
    (rules.time_and_chance_are_injected, SRC, "now_ms = call.now_ms", True),
    (rules.time_and_chance_are_injected, SRC, "import time\ntime.time()", False),
    (rules.time_and_chance_are_injected, SRC, "from time import monotonic\nmonotonic()", False),
    (rules.time_and_chance_are_injected, SRC, "import random\nrandom.random()", False),
    (rules.time_and_chance_are_injected, SRC, "from uuid import uuid4\nuuid4()", False),
    (
        rules.time_and_chance_are_injected,
        SRC,
        "from datetime import datetime\ndatetime.now()",
        False,
    ),
    (rules.time_and_chance_are_injected, SRC, "secrets = []\nsecrets.append(1)", True),
    (
        rules.time_and_chance_are_injected,
        "src/mainspring/kernel/clock.py",
        "import time\ntime.time()",
        True,
    ),
    (
        rules.time_and_chance_are_injected,
        "src/mainspring/adapters/cache/redis.py",
        "import time\ntime.monotonic()",
        True,
    ),
    (
        rules.time_and_chance_are_injected,
        "src/mainspring/adapters/cache/redis.py",
        "import time\ntime.time()",
        False,
    ),
    (rules.time_and_chance_are_injected, TEST, "import time\ntime.time()", True),
    (rules.tests_do_not_sleep, TEST, "import asyncio\nasyncio.sleep(0)", True),
    (rules.tests_do_not_sleep, TEST, "import asyncio\nasyncio.sleep(0.1)", False),
    (rules.tests_do_not_sleep, TEST, "from time import sleep\nsleep(1)", False),
    (rules.tests_do_not_sleep, SRC, "import asyncio\nasyncio.sleep(1)", True),
    (rules.tests_wait_for_one_deadline, TEST, "import asyncio\nasyncio.timeout(DEADLINE_S)", True),
    (rules.tests_wait_for_one_deadline, TEST, "import asyncio\nasyncio.timeout(0.001)", True),
    (rules.tests_wait_for_one_deadline, TEST, "import asyncio\nasyncio.timeout(5)", False),
    (rules.tests_wait_for_one_deadline, SRC, "import asyncio\nasyncio.timeout(5)", True),
    (rules.tests_can_fail, TEST, "def test_one():\n assert one() == 1", True),
    (rules.tests_can_fail, TEST, "def test_one():\n with raises(KeyError): one()", True),
    (rules.tests_can_fail, TEST, "def test_one():\n one()", False),
    (rules.tests_can_fail, TEST, "async def test_one():\n await one()", False),
    (rules.tests_can_fail, TEST, "def one():\n two()", True),
    (rules.caches_are_lru_caches, SRC, "del kept[next(iter(kept))]", False),
    (rules.caches_are_lru_caches, SRC, "self._kept.pop(next(iter(self._kept)))", False),
    (rules.caches_are_lru_caches, SRC, "self._kept.popitem(last=False)", False),
    (rules.caches_are_lru_caches, SRC, "if len(a.kept) >= KEPT_MAX:\n a.kept.clear()", False),
    (rules.caches_are_lru_caches, SRC, "from cachetools import TTLCache", False),
    (rules.caches_are_lru_caches, rules.LRU_CACHE, "self._kept.popitem(last=False)", True),
    (rules.caches_are_lru_caches, SRC, "kept.pop(next(iter(own)))\ndel kept[key]", True),
    (rules.caches_are_lru_caches, SRC, "if len(waiting) >= 8:\n other.clear()", True),
    (rules.nothing_grows_without_bound, SRC, "import asyncio\nasyncio.Queue(64)", True),
    (rules.nothing_grows_without_bound, SRC, "import asyncio\nasyncio.Queue(maxsize=N)", True),
    (rules.nothing_grows_without_bound, SRC, "import asyncio\nasyncio.Queue()", False),
    (
        rules.nothing_grows_without_bound,
        SRC,
        "import queue\nqueue.SimpleQueue()  # bounded by QUEUE_MAX at commit()",
        True,
    ),
    (rules.nothing_grows_without_bound, SRC, "import queue\nqueue.SimpleQueue()", False),
    (
        rules.nothing_grows_without_bound,
        SRC,
        "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(): ...",
        False,
    ),
    (rules.structs_are_frozen, SRC, "class A(msgspec.Struct, frozen=True): ...", True),
    (rules.structs_are_frozen, SRC, "class A(msgspec.Struct): ...", False),
    (rules.structs_are_frozen, SRC, "class A(msgspec.Struct, frozen=False): ...", False),
    (rules.sql_has_its_room, STORE, "Q = Query('q', 'SELECT 1 FROM t', int)", True),
    (
        rules.sql_has_its_room,
        "src/mainspring/services/links/operations.py",
        "Q = Query('q', 'SELECT 1 FROM t', int)",
        False,
    ),
    (
        rules.sql_has_its_room,
        "src/mainspring/gateway/limit.py",
        "f'UPDATE {table} SET n = n + 1'",
        False,
    ),
    (
        rules.sql_has_its_room,
        "src/mainspring/gateway/limit.py",
        '"""Select what the caller may see."""\ndetail = "Select a limit"',
        True,
    ),
    (rules.sql_takes_parameters, STORE, "f'SELECT {LINKS.columns} FROM {LINKS.name}'", True),
    (rules.sql_takes_parameters, STORE, "f'SELECT id FROM links WHERE id = {link_id}'", False),
    (
        rules.sql_takes_parameters,
        STORE,
        "def sql(slug):\n return f'SELECT id FROM links WHERE slug = {slug}'",
        False,
    ),
    (
        rules.sql_takes_parameters,
        STORE,
        "def _sweep(table):\n return f'DELETE FROM {table}'\nSWEEP = _sweep('links')",
        True,
    ),
    (
        rules.sql_takes_parameters,
        STORE,
        "def _sweep(table):\n return f'DELETE FROM {table} '\ndef f(t):\n return _sweep(t)",
        False,
    ),
    (rules.sql_takes_parameters, STORE, "Q = [f'SELECT {c} FROM t' for c in COLUMNS]", True),
    (
        rules.sql_takes_parameters,
        STORE,
        "def f(xs):\n return [f'SELECT {c} FROM t' for c in xs]",
        False,
    ),
    (
        rules.siblings_meet_at_the_api,
        STORE,
        "from mainspring.services.users.api import UserErased",
        True,
    ),
    (rules.siblings_meet_at_the_api, STORE, "from mainspring.services.links.model import x", True),
    (rules.siblings_meet_at_the_api, STORE, "from mainspring.services.users.store import x", False),
    (rules.siblings_meet_at_the_api, STORE, "from mainspring.services import users", False),
    (rules.siblings_meet_at_the_api, STORE, "import mainspring.services.users.model", False),
    (
        rules.system_tables_are_the_runtimes,
        STORE,
        'X = Query("links.x", "SELECT id FROM links_events JOIN links ON TRUE", str)',
        True,
    ),
    (
        rules.system_tables_are_the_runtimes,
        "src/mainspring/runtime/jobs/admin.py",
        'X = Query("runtime.x", "SELECT id FROM jobs", str)',
        True,
    ),
    (
        rules.system_tables_are_the_runtimes,
        STORE,
        'X = Query("links.x", f"SELECT {L.columns} FROM links JOIN events e ON TRUE", L)',
        False,
    ),
    (
        rules.system_tables_are_the_runtimes,
        STORE,
        'X = Statement("links.x", "UPDATE jobs SET priority = 9")',
        False,
    ),
    (
        rules.system_tables_are_the_runtimes,
        STORE,
        'X = Query("links.x", "SELECT l.id FROM links l, events e WHERE e.id = l.id", str)',
        False,
    ),
    (
        rules.system_tables_are_the_runtimes,
        STORE,
        'X = Statement("links.x", \'DELETE FROM "jobs" WHERE id = :id\')',
        False,
    ),
    (rules.services_speak_the_public_api, STORE, "from mainspring import Call, EventLog", True),
    (rules.services_speak_the_public_api, STORE, "from mainspring.ports.mail import Mail", True),
    (rules.services_speak_the_public_api, STORE, "from mainspring.kernel.call import Call", False),
    (
        rules.services_speak_the_public_api,
        "src/mainspring/runtime/health.py",
        "from mainspring.kernel.call import Call",
        True,
    ),
    (rules.services_hold_nothing_in_modules, STORE, "NAMES = {'a': 1}\nKEPT = frozenset()", True),
    (rules.services_hold_nothing_in_modules, STORE, "def f() -> dict:\n    return {}", True),
    (rules.services_hold_nothing_in_modules, STORE, "_cached: dict[str, int] = {}", False),
    (rules.services_hold_nothing_in_modules, STORE, "_kept = OrderedDict()", False),
    (rules.services_hold_nothing_in_modules, STORE, "_kept = cachetools.LRUCache(64)", False),
    (
        rules.services_hold_nothing_in_modules,
        STORE,
        "def f():\n    global x\n    x = 1",
        False,
    ),
    (
        rules.declarations_have_their_room,
        "src/mainspring/services/links/operations/create.py",
        "@handles(api.create)\nasync def create(call): ...",
        True,
    ),
    (
        rules.declarations_have_their_room,
        "src/mainspring/services/links/operations.py",
        "@service.operation('POST /v1/links', scope=None)\nasync def create(call): ...",
        False,
    ),
    (
        rules.declarations_have_their_room,
        "src/mainspring/services/links/api.py",
        "@service.contract.job()\nasync def rescan(call): ...",
        True,
    ),
    (
        rules.declarations_have_their_room,
        "src/mainspring/services/links/jobs.py",
        "@service.contract.job()\nasync def rescan(call): ...",
        False,
    ),
    (
        rules.declarations_have_their_room,
        "src/mainspring/services/links/operations.py",
        "@service.event('links.link.created')\nclass LinkCreated: ...",
        False,
    ),
    (rules.messages_are_plain, SRC, "Invalid('the fields cannot be')", False),
    (rules.messages_are_plain, SRC, "Invalid(f'{name} is no host')", False),
    (rules.messages_are_plain, SRC, "FieldError('/name', 'there are two of it')", False),
    (rules.messages_are_plain, SRC, "FieldError('/name', 'a file cannot be unique')", True),
    (rules.messages_are_plain, SRC, "NotFound('there is no file here')", True),
    (rules.messages_are_plain, SRC, "Gone('the answer is no longer kept')", True),
    (rules.messages_are_plain, SRC, 'def f():\n """There is no limit."""', True),
    (rules.messages_are_plain, TEST, "match('x is no host')", True),
    (rules.tags_have_one_form, STORE, "etag = f'\"{row.version}\"'", False),
    (rules.tags_have_one_form, STORE, "etag = version_tag(row.version)", True),
    (rules.tags_have_one_form, STORE, "header = f'inline; filename=\"{name}\"'", True),
    (rules.tags_have_one_form, SRC, "json = f'\"{name}\"'", True),
    (
        rules.words_stand_in_the_contract,
        "src/mainspring/services/links/operations.py",
        "@handles(api.get)\nasync def get(call): ...\ndef told():\n    'Tell.'\ndef _own(): ...",
        True,
    ),
    (
        rules.words_stand_in_the_contract,
        "src/mainspring/services/links/operations/links.py",
        "@handles(api.get)\nasync def get(call):\n    'Show a link.'",
        False,
    ),
    (
        rules.words_stand_in_the_contract,
        "src/mainspring/services/links/jobs.py",
        "def told(): ...",
        False,
    ),
    (rules.one_error_is_made_with_at, SRC, "Invalid('no', errors=(FieldError('/a', 'b'),))", False),
    (rules.one_error_is_made_with_at, SRC, "Invalid('no', errors=[FieldError(at, why)])", False),
    (rules.one_error_is_made_with_at, SRC, "Invalid.at('/a', 'b', 'no')", True),
    (
        rules.one_error_is_made_with_at,
        SRC,
        "Invalid('no', errors=[FieldError(p, d) for p in q])",
        True,
    ),
    (rules.one_error_is_made_with_at, TEST, "Invalid(errors=(FieldError('/a', 'b'),))", True),
    *[
        (
            rules.operations_have_one_manner,
            "src/mainspring/services/links/api.py",
            f"P = '/v1/links'\n@service.contract.{kind}({shape})\nasync def {name}(call): ...",
            accepted,
        )
        for kind, shape, name, accepted in [
            ("operation", "f'POST {P}'", "create_link", True),
            ("operation", "f'POST {P}'", "create", False),
            ("operation", "f'POST {P}'", "make_link", False),
            ("operation", "f'POST {P}'", "links_create", False),
            ("operation", "f'GET {P}'", "list_links", True),
            ("operation", "f'GET {P}/{{id}}'", "get_link", True),
            ("operation", "f'GET {P}/{{id}}'", "read_link", False),
            ("operation", "f'GET {P}/{{link_id}}'", "get_link", False),
            ("operation", "f'GET {P}/{{link}}'", "get_link", False),
            ("operation", "f'GET {P}/{{name}}/visits'", "list_visits", False),
            ("operation", "f'GET {P}/{{link_id}}/visits/{{id}}'", "get_visit", True),
            ("operation", "f'GET {P}/proofs/{{event_id}}'", "get_proof", True),
            ("operation", "f'POST {P}/{{id}}:retire'", "retire_link", True),
            ("operation", "f'POST {P}/{{id}}:retire'", "create_link", False),
            ("operation", "f'POST {P}/refresh'", "refresh_links", True),
            ("stream", "f'GET {P}/stream'", "stream_links", True),
            ("stream", "f'GET {P}/stream'", "follow_links", False),
            ("upload", "f'POST {P}/{{link_id}}/icons/{{size}}'", "upload_icon", True),
            ("raw", "f'GET {P}/export'", "export_links", True),
        ]
    ],
    (rules.operations_have_one_manner, SRC, "@service.operation('GET /a')\ndef a(): ...", True),
    (rules.scopes_have_names, STORE, "call.caller.allows('links:read')", False),
    (rules.scopes_have_names, STORE, "call.caller.allows(READ)\nlog('a: b', 'x:', ':y')", True),
    (rules.scopes_have_names, "src/mainspring/services/links/api.py", "READ = 'links:read'", True),
    (
        rules.scopes_have_names,
        "src/mainspring/services/links/api.py",
        "@service.event('links.link.created', scope='links:read')\nclass LinkCreated: ...",
        False,
    ),
    *[
        (
            rules.rows_are_presented_in_one_room,
            f"src/mainspring/services/links/{room}.py",
            f"def {name}(row): return Link(row.id)",
            accepted,
        )
        for room, name, accepted in [
            ("presenter", "present_link", True),
            ("presenter", "shown", False),
            ("operations", "present_link", False),
            ("operations/links", "_shown_link", False),
            ("model", "view", False),
            ("visibility", "shows", True),
        ]
    ],
    (rules.queries_are_called_so, STORE, "class ListLinks(PageQuery): ...", False),
    (rules.queries_are_called_so, STORE, "class Links(Input):\n limit: int\n cursor: str", False),
    (rules.queries_are_called_so, STORE, "class LinkQuery(PageQuery):\n host: str", True),
    (rules.queries_are_called_so, STORE, "class Redrive(Input):\n limit: int", True),
]


@pytest.mark.parametrize(
    ("rule", "path", "text", "accepted"),
    EXAMPLES,
    ids=[f"{e[0].__name__}-{'accepts' if e[3] else 'rejects'}-{i}" for i, e in enumerate(EXAMPLES)],
)
def test_the_rule_tells_right_from_wrong(rule: Rule, path: str, text: str, accepted: bool) -> None:
    assert (not found(rule, path, text)) is accepted


CALLED = "print(one_hit())"

TREE_EXAMPLES: list[tuple[TreeRule, dict[str, str], bool]] = [
    (nothing_is_dead, {SRC: "def one_hit(): ...", STORE: CALLED}, True),
    (nothing_is_dead, {SRC: "def one_hit(): ..."}, False),
    (nothing_is_dead, {SRC: "def one_hit(): ...", TEST: CALLED}, False),
    (nothing_is_dead, {SRC: "HITS_MAX = 5", TEST: "print(HITS_MAX)"}, False),
    (nothing_is_dead, {SRC: "class Hits:\n def __init__(self):\n  self.hits = 0\nHits()"}, False),
    (nothing_is_dead, {SRC: "def one_hit(): ...  # used by asyncio"}, True),
    (nothing_is_dead, {SRC: "class Hit(msgspec.Struct):\n hits: int\nHit(1)"}, True),
    (nothing_is_dead, {SRC: "@links.job()\ndef one_hit(): ..."}, True),
    (nothing_is_dead, {SRC: "class Hits:\n @property\n def one(self): ...\nHits()"}, False),
    (nothing_is_dead, {"src/mainspring/testing/hits.py": "def one_hit(): ..."}, True),
    (
        nothing_is_dead,
        {
            "src/mainspring/__init__.py": "from mainspring.kernel.hits import Hits\nprint(Hits)",
            "src/mainspring/kernel/hits.py": "class Hits:\n def one_hit(self): ...",
        },
        True,
    ),
    (one_class_has_a_name, {SRC: "class Lane: ...", STORE: "class Road: ..."}, True),
    (one_class_has_a_name, {SRC: "class Lane: ...", STORE: "class Lane: ..."}, False),
    (one_class_has_a_name, {SRC: "class Lane: ...", STORE: "Lane = Annotated[str, 1]"}, False),
    (one_class_has_a_name, {SRC: "class Lane: ...", CALLER: "class Lane: ..."}, True),
    (one_class_has_a_name, {CALLER: "class Lane: ...", f"{CALLER}.py": "class Lane: ..."}, False),
    (one_class_has_a_name, {SRC: "class _Lane: ...", STORE: "class _Lane: ..."}, True),
    (one_class_has_a_name, {SRC: "class Lane: ...", TEST: "class Lane: ..."}, True),
    (one_class_has_a_name, {SRC: "Lane = str", STORE: "Lane = str"}, True),
    (one_statement_has_a_name, {SRC: 'Query("a.b", "")', STORE: 'Query("a.c", "")'}, True),
    (one_statement_has_a_name, {SRC: 'Query("a.b", "")', STORE: 'Statement("a.b", "")'}, False),
    (
        nothing_private_is_tested,
        {SRC: "class A:\n def __init__(self): self._b = 1", TEST: "A()._replace(b=1)\nA().b"},
        True,
    ),
    (
        nothing_private_is_tested,
        {SRC: "def _b(): ...", TEST: "class C:\n def _b(self): self._b()\nC()._b()"},
        True,
    ),
    *(
        (nothing_private_is_tested, {SRC: defined, TEST: touched}, False)
        for defined, touched in (
            ("class A:\n def __init__(self): self._b = 1", "A()._b"),
            ("class A:\n def _b(self): ...", "monkeypatch.setattr(A, '_b', None)"),
            ("def _b(): ...", "from mainspring.x import _b"),
            ("_b = 1", "monkeypatch.setattr('mainspring.x._b', 2)"),
        )
    ),
]


@pytest.mark.parametrize(
    ("rule", "tree", "accepted"),
    TREE_EXAMPLES,
    ids=[
        f"{rule.__name__}-{'accepts' if accepted else 'rejects'}-{i}"
        for i, (rule, _, accepted) in enumerate(TREE_EXAMPLES)
    ],
)
def test_the_tree_rule_tells_right_from_wrong(
    rule: TreeRule, tree: dict[str, str], accepted: bool
) -> None:
    assert (not list(rule([Source(path, text) for path, text in tree.items()]))) is accepted


def test_every_rule_has_an_example_of_either_kind() -> None:
    shown = {(rule, accepted) for rule, _, _, accepted in EXAMPLES}
    assert shown == {(rule, accepted) for rule in rules.RULES for accepted in (True, False)}
    on_trees = {(rule, accepted) for rule, _, accepted in TREE_EXAMPLES}
    assert on_trees == {(rule, accepted) for rule in TREE_RULES for accepted in (True, False)}


@pytest.mark.parametrize(
    ("names", "accepted"),
    [
        (["0001_links.sql", "0002_clicks.sql"], True),
        (["0001_links.sqlite.sql", "0001_links.postgres.sql"], True),
        ([], True),
        (["links.sql"], False),
        (["0001_links.sql", "0001_clicks.sql"], False),
        (["0001_links.sqlite.sql"], False),
        (["0001_links.sql", "0003_clicks.sql"], False),
    ],
)
def test_migration_names(names: list[str], accepted: bool) -> None:
    assert (not rules.migrations_line_up(names)) is accepted


def test_a_file_of_a_service_may_grow_into_a_folder() -> None:
    assert not rules.missing_from_service({"__init__.py", "api.py", "operations"})
    assert not rules.missing_from_service({"__init__.py", "api.py", "operations.py"})
    assert rules.missing_from_service({"__init__.py", "operations.py"}) == ["api"]


def test_unfinished_lines_and_personal_paths_are_found() -> None:
    assert list(rules.unfinished("x = 1\n# TODO: later\nraise NotImplementedError")) == [2, 3]
    assert not list(rules.unfinished("a todo list is a fine thing"))
    assert list(rules.personal_paths("cd /home/ann/mainspring\nls /root/.cache")) == [1, 2]
    assert not list(rules.personal_paths("GET /v1/home/page\nhttps://h.example/root/x\n/home/"))


def test_links_are_read_from_prose_only() -> None:
    text = "[a](x.md#part) [b](https://b.example) [c](#c)\n```\n[d](y.md)\n```\n![e](z.png)"
    assert list(rules.links(text)) == ["x.md"]

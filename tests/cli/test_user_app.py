"""Finding the user's App: by module, by file, and one clear line when it is not there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.cli import EXIT_USAGE, main
from mainspring.cli.user_app import load_app
from mainspring.kernel.declaration import Misdeclared
from mainspring.ports.database import StartError

HEAD = "from mainspring.kernel.user_app import App\n"


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(HEAD + text)
    return file


def test_by_file_with_and_without_an_attribute(tmp_path: Path) -> None:
    file = write(tmp_path, "bakery.py", "shop = App('bakery')\nx = 1\n")
    assert load_app(str(file)).name == "bakery"
    assert load_app("bakery.py").name == "bakery"
    assert load_app("./bakery.py:shop").name == "bakery"


def test_by_module(tmp_path: Path) -> None:
    write(tmp_path, "millinery/__init__.py", "")
    write(tmp_path, "millinery/main.py", "shop = App('millinery')\n")
    assert load_app("millinery.main:shop").name == "millinery"
    assert load_app("millinery.main").name == "millinery"


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "deep/tailoring_names.py", "NAME = 'tailor'\n")
    write(tmp_path, "deep/tailoring.py", "from tailoring_names import NAME\na = App(NAME)\n")
    assert load_app("deep/tailoring.py").name == "tailor"


def test_app_is_preferred_among_several(tmp_path: Path) -> None:
    write(tmp_path, "several.py", "other = App('other')\napp = App('it')\n")
    assert load_app("several.py").name == "it"


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "absent.py", "absent.py: no such file"),
        ("", "no_such_module_at_all", "cannot be imported: ModuleNotFoundError"),
        ("", "empty_app.py", "holds no App; define one: app = App('shop')"),
        ("a = App('a')\nb = App('b')\n", "empty_app.py", "several Apps; choose one, as in "
         "empty_app.py:a"),
        ("a = 1\n", "empty_app.py:a", "a is a int, not an App"),
        ("a = 1\n", "empty_app.py:b", "b is nothing, not an App"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, name: str, expected: str) -> None:
    write(tmp_path, "empty_app.py", text)
    with pytest.raises(StartError) as caught:
        load_app(name)
    assert expected in str(caught.value)


DECLARED = """\
import msgspec
from mainspring import App, Call, Raw, Service, Table
links = Service("links", doc="Links.")
app = App("shop", services=[links])
class Link(msgspec.Struct, frozen=True):
    id: str
class Thing: pass
"""
LINE = DECLARED.count("\n") + 1
GET = '@links.operation("GET /v1/links", scope="links:read")\n'
POST = '@links.operation("POST /v1/links", scope="links:write")\n'
BY_ID = '@links.operation("GET /v1/links/{id}", scope=None)\n'
JOB = "@links.job()\n"
ON = '@links.on("records.record.created")\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1 / 0", "ZeroDivisionError: division by zero"),
        ("a = = 1", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        (BY_ID + "async def f(call: Call, id) -> Link: ...", "parameter 'id' has no type"),
        (BY_ID + "async def f(call: Call) -> Link: ...", "which the handler does not take: add id"),
        (GET + "async def f(call: Call, id: str) -> Link: ...", "'id' is bound to nothing"),
        (GET + "async def f() -> Link: ...", "takes no call"),
        (GET + "async def f(call: Call, *rest: str) -> Link: ...", "cannot be given by a name"),
        (GET + "async def f(call: Call): ...", "does not say what it answers"),
        (GET + "async def f(call: Call) -> Thing: ...", "is a Thing, which has no form"),
        (GET + "async def f(call: Call) -> 'Lnik': ...", "name 'Lnik' is not defined"),
        (GET + "def f(call: Call) -> Link: ...", "write async def f"),
        (GET + "async def f(call: Call) -> Link: yield", "without a yield"),
        (GET + "async def f(call: Call, query: str) -> Link: ...", "query must be a struct"),
        (POST + "async def f(call: Call, new: Thing) -> Link: ...", "new is a Thing, which has no"),
        (POST + "async def f(call: Call, new: Link) -> Link: ...", "must refuse unknown fields"),
        ("@links.raw('GET /x', scope=None)\nasync def f(call: Call) -> Link: ...", "write -> Raw"),
        ("@links.stream('GET /x', scope=None)\nasync def f(call: Call) -> Link: ...", "a yield in"),
        ("@links.operation('GET v1', scope=None)\nasync def f(call: Call) -> None: ...",
         "is not 'METHOD /path'"),
        ("@links.operation('FETCH /v1', scope=None)\nasync def f(call: Call) -> None: ...",
         "is not 'METHOD /path'"),
        ("@links.operation('GET /{userId}', scope=None)\n"
         "async def f(call: Call, userId: str) -> None: ...", "small letters and underscores"),
        ("@links.operation('GET /x', scope='links_read')\nasync def f(call: Call) -> None: ...",
         "'links_read' is not a scope"),
        ("@links.operation('GET /x')\nasync def f(call: Call) -> None: ...", "argument: 'scope'"),
        (JOB + "async def f(call: Call, id) -> None: ...", "parameter 'id' has no type"),
        (JOB + "async def f(call: Call, id: Thing) -> None: ...", "is a Thing, which has no form"),
        (JOB + "async def f(call: Call, id: str = 5) -> None: ...", "a default does not fit"),
        (JOB + "async def f(call: Call, id: str = object()) -> None: ...", "a default does not"),
        (JOB + "def f(call: Call) -> None: ...", "write async def f"),
        ("@links.on('orders..paid')\nasync def f(call: Call, e: Link) -> None: ...", "no events"),
        ("@links.on()\nasync def f(call: Call, e: Link) -> None: ...", "names no events"),
        (ON + "async def f(call: Call) -> None: ...", "takes the call and the event"),
        (ON + "def f(call: Call, event: Link) -> None: ...", "write async def f"),
        ("@links.event('links.made')\nclass Made(Link): ...", "is not 'links.thing.happened'"),
        ("@links.event('links.link.made', subject='slug')\nclass Made(Link): ...",
         "has no field 'slug': it has id"),
        ("links.every('0 4 * * *', print)", "takes a job"),
        ("Service('Links', doc='')", "cannot name a service"),
        ("Service('system', doc='')", "events name another caller so"),
        ("Service('anonymous', doc='')", "events name another caller so"),
        ("Service('shop')", "argument: 'doc'"),
        ("Service('shop', doc='', migrations=__import__('pathlib').Path('nowhere'))",
         "not a folder of migrations"),
        ("Service('shop', doc='', settings=Link)", "every setting needs a default"),
        ("Table('t', Link, key=())", "its key is one or more of id"),
        ("Table('t', Link, key=('slug',))", "its key is one or more of id"),
        ("app.add(links)", "a service named 'links' is there already"),
        ("app.mount('/v1/x', print)", "not a place to mount"),
        ("app.mount('/x', 5)", "is not an ASGI application"),
    ],
)  # fmt: skip
def test_what_is_misdeclared_is_told_in_a_line_of_the_users(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "shop.py").write_text(DECLARED + text + "\n")
    with pytest.raises(Misdeclared) as caught:
        load_app("shop.py")
    said = str(caught.value)
    assert re.match(rf"shop\.py:({LINE}|{LINE + 1}): ", said), said
    assert expected in said
    assert "\n" not in said


TWICE = "async def f(call: Call) -> None: ...\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GET + TWICE + GET + TWICE, "operation links.f is declared twice"),
        (JOB + TWICE + JOB + TWICE, "job links.f is declared twice"),
        (JOB + TWICE + "links.every('61 4 * * *', f)", "'61 4 * * *' is not a cron line"),
        (JOB + "async def f(call: Call, id: str) -> None: ...\nlinks.every('0 4 * * *', f)",
         "has no caller to give it arguments"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_too(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "shop.py").write_text(DECLARED + text + "\n")
    with pytest.raises(Misdeclared, match=rf"^shop\.py:\d+: .*{re.escape(expected)}"):
        load_app("shop.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BY_ID + "async def f(call: Call, id: str) -> Link: ...\n"
         '@links.operation("GET /v1/links/{slug}", scope=None)\n'
         "async def g(call: Call, slug: str) -> Link: ...\n",
         "links.g and links.f (shop.py:8) are both GET /v1/links/{slug}"),
        ("@links.on('records.record.craeted')\nasync def f(call: Call, e: Link) -> None: ...",
         "no service emits 'records.record.craeted'; did you mean records.record.created?"),
        ("app.add(Service('users', doc='Mine.'))", "names a service like a built-in one: users"),
        ("class S(msgspec.Struct, frozen=True): pass\n"
         "app.add(Service('server', doc='Mine.', settings=S))", "settings: rename that service"),
    ],
)  # fmt: skip
def test_what_the_whole_app_shows_exits_2_with_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    expected: str,
) -> None:
    (tmp_path / "shop.py").write_text(DECLARED + text + "\n")
    monkeypatch.setattr(sys, "argv", ["mainspring", "up", "shop.py", "--port", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == EXIT_USAGE
    assert expected in said
    assert said.count("\n") == 1

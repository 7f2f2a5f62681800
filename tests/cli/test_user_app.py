"""Finding the user's App: by module, by file, and one clear line when it is not there."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.cli.user_app import load_app
from mainspring.ports.database import StartError

HEAD = "from mainspring.kernel.app import App\n"


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
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
        ("a = 1 / 0\n", "empty_app.py", "ZeroDivisionError: division by zero (empty_app.py:2)"),
        ("a = = 1\n", "empty_app.py", "cannot be imported: SyntaxError"),
        ("raise SystemExit(0)\n", "empty_app.py", "cannot be imported: SystemExit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, name: str, expected: str) -> None:
    write(tmp_path, "empty_app.py", text)
    with pytest.raises(StartError) as caught:
        load_app(name)
    assert expected in str(caught.value)

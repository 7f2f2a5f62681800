"""The reference pages name everything there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer

from mainspring.app import BUILT_IN  # imports every service, and so every failure
from mainspring.cli.commands import app
from mainspring.kernel.errors import Failure

REFERENCE = Path(__file__).parents[2] / "docs/reference"


def failures(kind: type[Failure] = Failure) -> Iterator[type[Failure]]:
    for failure in kind.__subclasses__():
        if failure.__module__.startswith("mainspring.") and ".testing." not in failure.__module__:
            yield failure
            yield from failures(failure)


def test_every_error_code_is_explained_with_its_status() -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    listed = {(int(s), c) for s, c in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    assert listed == {(failure.status, failure.code) for failure in failures()}


def test_every_scope_is_explained() -> None:
    page = (REFERENCE / "scopes.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([a-z_]+:[a-z]+)`", page))
    operations = [o for s in BUILT_IN for o in s.operations.values()]
    assert {o.scope for o in operations if o.scope is not None} <= listed


def commands(group: typer.Typer, path: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{path} {command.name or command.callback.__name__.replace('_', '-')}"
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{path} {inner.name}")


def test_every_command_is_listed() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(mainspring [a-z -]+[a-z])", page, re.MULTILINE))
    assert listed == set(commands(app, "mainspring"))

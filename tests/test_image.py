"""The Dockerfile fits the checkout, and compose.yaml the command line and the settings.

No image is built here. Its steps were run by hand in a root of Debian's packages; see the docs.
"""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from mainspring.app import sections
from mainspring.cli.commands import app
from mainspring.settings import load

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def test_it_installs_with_the_uv_that_make_takes() -> None:
    (pinned,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert [found for run in instructions("RUN") for found in re.findall(r"uv==(\S+)", run)] == [
        pinned
    ]


def test_what_it_leaves_out_are_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for run in instructions("RUN"):
        left_out = re.findall(r"--no-extra (\S+)", run)
        assert set(left_out) <= set(project["optional-dependencies"])
        assert ("uv sync" in run) == bool(left_out)
        assert "uv sync" not in run or "--frozen" in run


def test_all_it_copies_is_there_and_nothing_else_is_sent() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = [
        source
        for copy in instructions("COPY")
        if not copy.startswith("--from=")
        for source in shlex.split(copy)[:-1]
    ]
    assert set(copied) == sent
    assert all((ROOT / source).exists() for source in copied)
    assert "*" in ignored
    assert any(fnmatch("src/a/__pycache__", pattern) for pattern in ignored)


def test_it_runs_as_nobody_in_particular_with_settings_that_exist() -> None:
    uid, _, gid = instructions("USER")[-1].partition(":")
    assert int(uid) > 1_000
    assert int(gid) > 1_000
    environ = dict(
        pair.partition("=")[::2] for env in instructions("ENV") for pair in shlex.split(env)
    )
    own = {name: value for name, value in environ.items() if name.startswith("MAINSPRING_")}
    assert len(own) == 2
    assert len(load(sections(None), environ=own).sources) == len(own)


def test_what_it_starts_is_a_command() -> None:
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["mainspring"]
    assert CliRunner().invoke(app, [*json.loads(instructions("CMD")[-1]), "--help"]).exit_code == 0


def compose() -> dict[str, Any]:
    """The services of compose.yaml, with a word in the place of each secret."""
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "secret", (ROOT / "deploy" / "compose.yaml").read_text())
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


PARTS = {name: part for name, part in compose().items() if part["image"] == "mainspring"}


def test_compose_runs_commands_that_there_are() -> None:
    run = typer.main.get_command(app).commands["run"]
    for name in PARTS.keys() - {"certificates"}:
        command, *arguments = PARTS[name]["command"]
        assert command == "run"
        assert run.make_context("run", arguments).params["parts"][0] == name
    issued = re.findall(r"certs (\w+)", PARTS["certificates"]["command"][0])
    assert set(issued) <= typer.main.get_command(app).commands["certs"].commands.keys()


@pytest.mark.parametrize("name", sorted(PARTS.keys() - {"certificates"}))
def test_compose_sets_what_there_is(name: str) -> None:
    environ = PARTS[name]["environment"]
    settings = load(sections(None), environ=environ)
    assert set(settings.sources.values()) == environ.keys()
    assert ("MAINSPRING_DATABASE__URL" in environ) == (name != "gateway")


def test_compose_keeps_secrets_elsewhere_and_pins_what_others_make() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    given = re.findall(r"(?:PASSWORD|SECRET\w*|KEY_ID): (.*)", text)
    assert given
    assert all(value.strip('"}').startswith("${") for value in given)
    images = [service["image"] for service in compose().values()]
    assert all(":" in image for image in images if image != "mainspring")

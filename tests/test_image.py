"""The Dockerfile fits the checkout: it installs what was locked, and all it copies is there.

No image is built here. Its steps were run by hand in a root of Debian's packages; see the docs.
"""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

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

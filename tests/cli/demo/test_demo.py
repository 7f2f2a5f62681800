"""The demo itself, with fewer orders, as a user runs it: on both engines every figure is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.cli.demo.process import environment
from mainspring.testing.servers import PostgresServer


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mainspring", "demo", *arguments],
        env=environment(), cwd=folder, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_every_figure_is_right_and_still_after_a_move_to_the_other_engine(
    engine: str, database_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    if engine == "sqlite":
        engines = ["--move-to", postgres_server.create_database()]
    else:
        engines = ["--database", database_url, "--move-to", f"sqlite:{tmp_path / 'moved.db'}"]
    ended = demo(tmp_path, "--orders", "300", "--json", *engines)
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    figures = {figure["name"]: figure for figure in shown["figures"]}
    assert shown["right"] is True
    assert shown["database"].startswith("SQLite" if engine == "sqlite" else "PostgreSQL")
    assert figures["orders"]["found"] == "300"
    assert figures["revenue"] == {
        "name": "revenue", "found": "$10,460.13", "expected": "$10,460.13", "right": True,
    }  # fmt: skip
    assert figures["audit log verified"]["found"].startswith("intact")
    other = "PostgreSQL" if engine == "sqlite" else "SQLite"
    assert figures["moved to"]["found"].startswith(other)
    assert figures["moved: orders"]["found"] == "300"
    assert figures["moved: revenue"]["found"] == "$10,460.13"
    assert figures["moved: audit log verified"]["found"].startswith("intact")
    assert int(figures["duplicates absorbed"]["found"]) > 0


def test_a_used_database_is_refused_in_one_line(tmp_path: Path, postgres_url: str) -> None:
    first = demo(tmp_path, "--orders", "20", "--database", postgres_url)
    assert first.returncode in (0, 1)  # so few orders may see no fault at all
    again = demo(tmp_path, "--orders", "20", "--database", postgres_url)
    assert again.returncode == 3
    assert "empty" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--orders", "0"], ["--database", "mysql://x"]])
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    ended = demo(tmp_path, *arguments)
    assert ended.returncode in (2, 3)
    assert "Traceback" not in ended.stderr

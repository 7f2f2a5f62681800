"""A stranger's first minute: a fresh clone, an empty home, only git, make and Python on PATH."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST_ANSWER_S = 60
TOOLS = (
    "git",
    "make",
    "sh",
    "bash",
    "awk",
    "cat",
    "echo",
    "env",
    "mkdir",
    "rm",
    "sed",
    "test",
    "touch",
)

pytestmark = [pytest.mark.more, pytest.mark.timeout(FIRST_ANSWER_S + 60)]


@pytest.fixture
def stranger(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing of the person who runs the tests but how to reach PyPI."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None, name
        (tools / name).symlink_to(found)
    # A link to an interpreter loses its home: a line of shell keeps it.
    python = tools / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 "$@"\n')
    python.chmod(0o755)
    (tmp_path / "home").mkdir()
    network = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or "CERT" in k}
    pip = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_INDEX", "UV_DEFAULT"))}
    return network | pip | {"PATH": str(tools), "HOME": str(tmp_path / "home")}


def test_make_up_answers_within_a_minute(tmp_path: Path, stranger: dict[str, str]) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    server = subprocess.Popen(
        ["make", "up", "ARGS=--port 0"],
        cwd=clone,
        env=stranger,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    killer = signal.signal(signal.SIGALRM, lambda *_: os.killpg(server.pid, signal.SIGKILL))
    signal.alarm(FIRST_ANSWER_S)
    try:
        assert server.stdout is not None
        printed = ""
        for line in server.stdout:
            printed += line
            if found := re.search(r"is up at (http://\S+)", line):
                with urllib.request.urlopen(f"{found[1]}/readyz", timeout=10) as answer:
                    assert answer.status == 200
                break
        else:
            pytest.fail(f"not up within {FIRST_ANSWER_S} s:\n{printed}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, killer)
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert not changed.stdout


def test_make_alone_explains(tmp_path: Path, stranger: dict[str, str]) -> None:
    done = subprocess.run(
        ["make"], cwd=ROOT, env=stranger, capture_output=True, text=True, check=True
    )
    for target in ("up", "test", "check", "test-all", "demo", "crash", "bench"):
        assert re.search(rf"^  make {target} +\S", done.stdout, re.MULTILINE), target


def test_an_old_python_is_told_in_one_line(tmp_path: Path, stranger: dict[str, str]) -> None:
    (tmp_path / "bin/python3").write_text("#!/bin/sh\nexit 1\n")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    done = subprocess.run(
        ["make", "up"], cwd=clone, env=stranger, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Mainspring needs Python 3.11 or newer" in done.stderr

"""The contracts of .importlinter hold, and each of them notices what it is there for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def contracts(directory: Path) -> str:
    """Check the contracts on the tree in ``directory``; return the lines that say how it went."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "*.sql", "*.js", "*.css", "*.html")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_the_tree_keeps_them(tree: Path) -> None:
    assert " 0 broken" in contracts(tree)


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("kernel/money.py", "import mainspring.runtime.events.log", "A layer knows only"),
        ("gateway/limit.py", "import mainspring.services.users.api", "A layer knows only"),
        ("interfaces/http/server.py", "import mainspring.services.users.api", "A layer knows only"),
        (
            "cli/config.py",
            "import mainspring.adapters.http_client.aiohttp",
            "Only the composition root",
        ),
        (
            "services/users/api/__init__.py",
            "import mainspring.services.webhooks.api",
            "do not know each",
        ),
        (
            "services/records/store/__init__.py",
            "import mainspring.runtime.tables",
            "Services stand on closed",
        ),
        (
            "services/jobs/operations.py",
            "import mainspring.gateway.limit",
            "Services stand on closed",
        ),
        ("services/records/model.py", "import asyncpg", "Drivers stay inside"),
        ("gateway/limit.py", "import httptools", "The HTTP server and the terminal"),
        ("kernel/money.py", "import asyncio", "The kernel's words"),
    ],
)
def test_what_breaks_one_is_noticed(tree: Path, file: str, line: str, contract: str) -> None:
    path = tree / "src/mainspring" / file
    path.write_text(f"{line}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    if "each" in contract:  # a circle takes two
        other = tree / "src/mainspring/services/webhooks/api.py"
        other.write_text("import mainspring.services.users.api\n" + other.read_text("utf-8"))
    broken = [said for said in contracts(tree).splitlines() if said.endswith(" BROKEN")]
    assert any(contract in said for said in broken), broken

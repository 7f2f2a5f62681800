"""The servers that tests run against start wherever the checkout lies, or say once why not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.testing.servers import PostgresServer, embedded_postgres

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_root_runs_a_server_out_of_a_private_directory(tmp_path: Path) -> None:
    binaries = embedded_postgres()
    if binaries is None:
        pytest.skip("no embedded-postgres here")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    package = binaries.parents[1]
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, home / part.name)
    for path in home.rglob("*"):  # as a checkout under umask 077 is
        path.chmod(path.stat().st_mode & 0o700)

    server = PostgresServer(home / binaries.relative_to(package.parent))
    try:
        assert server.psql("SELECT 6 * 7") == "42\n"
    finally:
        server.close()
    assert not server.directory.exists()


def test_a_broken_server_is_one_error(tmp_path: Path) -> None:
    """And every other test that wanted it is skipped with a pointer to that one."""
    empty = tmp_path / "embedded_postgres"
    empty.mkdir()
    (empty / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist",
         "tests/migrations", "tests/adapters/database/test_postgres.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert re.search(r"\b1 error\b", done.stdout), done.stdout
    assert re.search(r"\b[1-9]\d* skipped\b", done.stdout), done.stdout
    assert "no PostgresServer starts from" in done.stdout

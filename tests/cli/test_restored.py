"""A database that is put back from a copy: it is not signed until somebody says that it is one."""

import io
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainspring.app import build, sections
from mainspring.cli import checks, offline
from mainspring.kernel.call import SYSTEM
from mainspring.services.audit.api import CheckpointRefused
from mainspring.services.audit.verify import verify
from mainspring.settings import Flag, Settings, load
from mainspring.testing.servers import PostgresServer
from tests.services.log_platform import Written, app


class Kept:
    """The database of a platform that is not running, to be put back to how it was."""

    def __init__(self, url: str, server: PostgresServer | None) -> None:
        self._url, self._server = url, server
        self._file = Path(url.removeprefix("sqlite://")) if url.startswith("sqlite") else None
        self._name = url.split("?")[0].rsplit("/", 1)[1]

    def keep(self) -> None:
        if self._file is not None:
            shutil.copy(self._file, self._file.with_suffix(".kept"))
        elif self._server is not None:
            self._server.psql(f"CREATE DATABASE {self._name}_kept TEMPLATE {self._name}")

    def put_back(self) -> None:
        if self._file is not None:
            for file in self._file.parent.glob("mainspring.db*"):
                file.unlink()
            self._file.with_suffix(".kept").rename(self._file)
        elif self._server is not None:
            self._server.drop_database(self._url)
            self._server.psql(f"ALTER DATABASE {self._name}_kept RENAME TO {self._name}")


@pytest.fixture
def kept(engine: str, database_url: str, request: pytest.FixtureRequest) -> Kept:
    """The database of the test, on the server that has it."""
    if engine == "sqlite":
        return Kept(database_url, None)
    server = "postgres_server" if engine == "postgres" else "oldest_postgres_server"
    return Kept(database_url, request.getfixturevalue(server))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    flags = [
        Flag("data_dir", "platform.data_dir", str(tmp_path)),
        Flag("url", "database.url", database_url),
    ]
    return load(sections(None), flags=flags)


async def run_once(settings: Settings, text: str) -> None:
    """Start over the database, have something happen, and end."""
    platform = await build(settings, app)
    await platform.open()
    try:
        runtime = platform.runtime
        await runtime.prepare()
        call = runtime.dispatcher.call(SYSTEM, request_id="req")
        call.emit(Written("note_1", text))
        await runtime.dispatcher.commit(call)
        await runtime.run_due()
    finally:
        await platform.close()


async def exported(settings: Settings) -> tuple[list[bytes], str]:
    """Export the log as ``mainspring audit export`` does; return its lines and verifier key."""
    out = io.BytesIO()
    key = await offline.export_log(settings, out)
    return out.getvalue().splitlines(keepends=True), key


async def test_a_restored_copy_is_not_signed_until_it_is_said_to_be_one(
    settings: Settings, kept: Kept
) -> None:
    await run_once(settings, "first")
    kept.keep()
    await run_once(settings, "lost")
    _, noted = await exported(settings)
    check = await checks.check_audit_log(offline.compare_log(settings))
    assert (check.verdict, "events signed for" in check.found) == (checks.Verdict.OK, True)

    kept.put_back()
    await run_once(settings, "instead of it")
    with (
        capture_logs() as lines,
        pytest.raises(CheckpointRefused, match="are not those that were signed for"),
    ):
        await exported(settings)
    assert [line["log_level"] for line in lines] == ["error"]
    check = await checks.check_audit_log(offline.compare_log(settings))
    assert check.verdict is checks.Verdict.FAIL
    assert "mainspring admin restored" in check.advice

    epoch, key = await offline.note_restore(settings)
    found, named = await exported(settings)
    assert (epoch, named) == (2, key)
    assert verify(found, key).ok
    assert "signature" in [problem.kind for problem in verify(found, noted).problems]
    await run_once(settings, "and on")
    check = await checks.check_audit_log(offline.compare_log(settings))
    assert check.verdict is checks.Verdict.OK

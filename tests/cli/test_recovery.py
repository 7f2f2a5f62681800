"""The administrator's key comes back on the machine, with the platform running and stopped."""

import asyncio
import json
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mainspring.cli.demo.process import environment, run
from mainspring.cli.remote import Remote
from mainspring.ports.database import StartError
from tests.cli.test_up import Up, up


async def keys(running: Up, file: Path) -> list[dict[str, str]]:
    """List the keys with the one in the file. Raises StartError when it does not hold."""
    remote = Remote(running.shown["url"], file.read_text().strip())
    listed = await asyncio.to_thread(remote.call, "GET", "/v1/api_keys")
    found: list[dict[str, str]] = listed["items"]
    return found


async def recover(folder: Path) -> None:
    code, said = await run("admin", "key", "--recover", environ=environment(), folder=folder)
    assert (code, Path(said).name) == (0, "admin.key")


async def test_a_lost_administrators_key_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "mainspring-data/admin.key"
    async with up(tmp_path) as running:
        await running.announced()
        (first,) = await keys(running, file)
        remote = Remote(running.shown["url"], file.read_text().strip())
        await asyncio.to_thread(remote.call, "DELETE", f"/v1/api_keys/{first['id']}")
        with pytest.raises(StartError, match="401"):
            await keys(running, file)
        file.chmod(0o644)
        await recover(tmp_path)
        assert file.stat().st_mode & 0o777 == 0o600
        (second,) = await keys(running, file)
        assert second["id"] != first["id"]
    file.unlink()
    await recover(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    async with up(tmp_path) as running:
        await running.announced()
        assert next(key["id"] for key in await keys(running, file)) == second["id"]
    with closing(apsw.Connection(str(tmp_path / "mainspring-data/mainspring.db"))) as database:
        rows = database.execute(
            "SELECT body FROM events WHERE type = 'users.api_key.recovered' ORDER BY id"
        ).fetchall()
    assert [json.loads(body)["actor"] for (body,) in rows] == ["machine", "system"]

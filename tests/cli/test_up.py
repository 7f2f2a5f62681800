"""``mainspring up`` as a process: it says where it is, takes signals well, and others find it."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainspring.cli import EXIT_START
from mainspring.cli.demo.process import environment, run
from mainspring.cli.instance_file import RUNNING_FILE, Running
from tests.certificates import Files, pair
from tests.deadline import DEADLINE_S


class Up:
    """A process of ``mainspring up``."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.shown: dict[str, Any] = {}

    async def announced(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            self.shown = json.loads(await self.process.stdout.readline())

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    async def get(self, path: str) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.shown["url"] + path) as answer,
        ):
            return answer.status

    async def metric(self, name: str) -> float:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.shown["url"] + "/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        # What was not counted yet, a moment after it was answered, has no line.
        return float(next((line for line in lines if line.startswith(name)), "0").split()[-1])


@asynccontextmanager
async def up(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Up]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainspring", "up", "--port", "0", "--json", *arguments,
        env=environment(**settings), cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield Up(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_and_drains_on_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with up(tmp_path) as running:
        await running.announced()
        data = tmp_path / "mainspring-data"
        assert running.shown["data_dir"] == str(data)
        assert Path(running.shown["admin_key"]).stat().st_mode & 0o777 == 0o600
        assert running.shown["database"].startswith("SQLite 3.")
        assert json.loads((data / RUNNING_FILE).read_text()) == running.shown
        assert await running.get("/readyz") == 200
        assert await running.get("/docs") == 200
        running.process.send_signal(number)
        assert await running.ended() == 0
        assert not (data / RUNNING_FILE).exists()


async def test_what_it_writes_is_for_its_own_user(tmp_path: Path) -> None:
    data = tmp_path / "shared"
    data.mkdir(mode=0o755)
    async with up(tmp_path, "--data-dir", str(data)) as running:
        await running.announced()
        open_to_others = [p.name for p in data.rglob("*") if p.stat().st_mode & 0o077]
        assert open_to_others == []


async def test_what_a_killed_platform_left_gets_no_key(tmp_path: Path) -> None:
    """Its port may be another's now, and its process id too."""
    with socket.create_server(("127.0.0.1", 0)) as thief:
        thief.settimeout(0)
        async with up(tmp_path) as running:
            await running.announced()
            running.process.kill()
            await running.ended()
        file = tmp_path / "mainspring-data" / RUNNING_FILE
        left = json.loads(file.read_text())
        left |= {"url": f"http://127.0.0.1:{thief.getsockname()[1]}", "pid": os.getpid()}
        file.write_text(json.dumps(left))
        code, said = await run("admin", "key", "x", environ=environment(), folder=tmp_path)
        assert (code, "no platform runs" in said) == (3, True)
        with pytest.raises(BlockingIOError):
            thief.accept()


async def test_a_new_platform_is_told(tmp_path: Path) -> None:
    for expected in (True, False):
        async with up(tmp_path) as running:
            await running.announced()
            assert running.shown["new"] is expected
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
    shown = Running("http://h", "", "/data", "", "SQLite", 1, "0.1.0", new=True)
    assert "New platform in /data" in shown.text(as_json=False)


async def test_without_its_keyring_it_does_not_start(tmp_path: Path) -> None:
    """And with a new one, made knowingly, it does: its keys hold, and what was sealed is gone."""
    data = tmp_path / "mainspring-data"

    async def command(*arguments: str) -> tuple[int, str]:
        return await run(*arguments, environ=environment(), folder=tmp_path)

    async with up(tmp_path) as running:
        await running.announced()
        assert (await command("admin", "key", "x"))[0] == 0
        code, verifier = await command("audit", "export", "before.ndjson")
        running.process.send_signal(signal.SIGTERM)
        await running.ended()
    (data / "keyring.json").rename(tmp_path / "backup.json")

    code, said = await command("up", "--port", "0")
    assert (code, said.count("\n")) == (3, 0)
    assert said.startswith("mainspring: keyring.json is missing")
    assert not (data / "keyring.json").exists()
    assert (await command("audit", "export", "x.ndjson"))[0] == 3

    code, said = await command("admin", "new-keyring")
    assert (code, "every session" in said) == (2, True)
    assert not (data / "keyring.json").exists()
    assert (await command("admin", "new-keyring", "--accept-loss"))[0] == 0
    async with up(tmp_path) as running:
        await running.announced()
        assert (await command("admin", "key", "y"))[0] == 0
        code, other = await command("audit", "export", "after.ndjson")
        assert code == 0
        assert other.rpartition(": ")[2] != verifier.rpartition(": ")[2]
        running.process.send_signal(signal.SIGTERM)
        await running.ended()

    (tmp_path / "backup.json").replace(data / "keyring.json")
    code, said = await command("up", "--port", "0")
    assert (code, said.count("\n")) == (3, 0)
    assert said.startswith("mainspring: keyring.json is not the keyring of this database")


async def test_a_rotation_is_followed_by_who_noted_the_old_key(tmp_path: Path) -> None:
    async def command(*arguments: str) -> tuple[int, str]:
        return await run(*arguments, environ=environment(), folder=tmp_path)

    async with up(tmp_path) as running:
        await running.announced()
        _, said = await command("audit", "export", "before.ndjson")
        noted = said.rpartition("verifier key: ")[2]
        code, said = await command("admin", "rotate-keyring")
        assert code == 0
        later = said.rpartition("from then on: ")[2]
        assert (await command("admin", "key", "x"))[0] == 0  # it goes on with the old key
        new = {"url": "https://example.com/", "types": ["records.*"]}  # its secret makes a data key
        admin = {"Authorization": f"Bearer {Path(running.shown['admin_key']).read_text().strip()}"}
        async with (
            aiohttp.ClientSession(headers=admin) as session,
            session.post(f"{running.shown['url']}/v1/webhooks", json=new) as answer,
        ):
            assert answer.status == 201
        running.process.send_signal(signal.SIGTERM)
        await running.ended()
    async with up(tmp_path) as running:
        await running.announced()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{running.shown['url']}/.well-known/jwks.json") as answer,
        ):
            assert len((await answer.json())["keys"]) == 2
        async with (
            aiohttp.ClientSession(headers=admin) as session,
            session.get(f"{running.shown['url']}/v1/jobs") as answer,
        ):
            names = {job["name"] for job in (await answer.json())["items"]}
        assert "runtime.rewrap" in names, "what is stored follows the new key"
        _, said = await command("audit", "export", "after.ndjson")
        assert said.rpartition("verifier key: ")[2] == later != noted
    for key, *older in ((noted, "--older", "before.ndjson"), (later,)):
        code, said = await command("audit", "verify", "after.ndjson", "--key", key, *older)
        assert code == 0, said


async def test_a_second_signal_quits_at_once(tmp_path: Path) -> None:
    app = tmp_path / "slow.py"
    app.write_text(
        "import asyncio\n"
        "from mainspring import App, Call, Service\n"
        "slow = Service('slow', doc='Slow.')\n"
        "app = App('slow', services=[slow])\n"
        "@slow.operation('GET /v1/slow', scope=None)\n"
        "async def wait(call: Call) -> str:\n"
        "    print('waiting', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "    return ''\n"
    )
    async with up(tmp_path, str(app)) as running:
        await running.announced()
        call = asyncio.create_task(running.get("/v1/slow"))
        assert running.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await running.process.stdout.readline() == b"waiting\n"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while b"draining" not in await running.process.stderr.readline():
                pass
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 128 + signal.SIGTERM
        with pytest.raises(aiohttp.ClientError):
            await call


async def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = await run("up", "--port", port, environ=environment(), folder=tmp_path)
    assert code == 3
    assert said.splitlines()[-1].startswith(f"mainspring: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in said
    (tmp_path / "file").touch()
    code, said = await run(
        "up", "--port", "0", "--data-dir", "file/data", environ=environment(), folder=tmp_path
    )
    assert code == 3
    assert said.splitlines()[-1].startswith("mainspring: cannot make the data directory file/data")
    assert "Traceback" not in said
    nowhere = environment(database__url="postgresql://127.0.0.1:1/nowhere")
    code, said = await run("up", "--port", "0", environ=nowhere, folder=tmp_path)
    assert code == 3
    assert said.splitlines()[-1].startswith("mainspring: ")
    assert "Traceback" not in said


async def test_two_over_one_data_directory_are_refused(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        await running.announced()
        code, said = await run("up", "--port", "0", environ=environment(), folder=tmp_path)
        assert code == 3
        assert "another process uses" in said.splitlines()[-1]
        assert await running.get("/healthz") == 200


async def test_other_commands_find_the_platform_that_runs(tmp_path: Path) -> None:
    environ = environment()
    async with up(tmp_path) as running:
        await running.announced()

        async def command(*arguments: str) -> tuple[int, str]:
            return await run(*arguments, environ=environ, folder=tmp_path)

        code, key = await command("admin", "key", "reader", "--scope", "audit:read", "--days", "1")
        assert (code, key[:4]) == (0, "msk_")
        (tmp_path / "reader.key").write_text(key)
        code, said = await command("admin", "key", "more", "--key-file", "reader.key")
        assert code == 3
        assert "refused: 403" in said
        code, said = await command("admin", "key", "odd", "--scope", "audit")
        assert (code, said.count("/scopes/0")) == (3, 1)
        assert "refused: 422 invalid: /scopes/0: Expected `records:read`" in said
        code, said = await command("doctor", "--json")
        assert (code, json.loads(said)[5]["name"]) == (0, "port")
        code, said = await command("audit", "export", "a.ndjson", "--key-file", "reader.key")
        assert code == 0
        verifier = said.rpartition("verifier key: ")[2]
    assert (tmp_path / "a.ndjson").stat().st_mode & 0o777 == 0o600
    code, said = await command("audit", "verify", "a.ndjson", "--key", verifier)
    assert code == 1  # the reader may see that things happened, and not what
    assert "withheld" in said
    verify = ("audit", "verify", "a.ndjson", "--key", verifier, "--allow-withheld")
    assert (await command(*verify))[0] == 0
    lines = (tmp_path / "a.ndjson").read_bytes().splitlines(keepends=True)
    (tmp_path / "a.ndjson").write_bytes(b"".join([*lines[:1], *lines[2:]]))
    code, said = await command("audit", "verify", "a.ndjson")
    assert code == 1
    assert said.startswith("NOT INTACT")
    code, said = await command("audit", "export", "late.ndjson")
    assert code == 0
    assert said.endswith(verifier)
    code, said = await command("audit", "verify", "late.ndjson", "--key", verifier)
    assert (code, said[:7]) == (0, "intact:")
    code, said = await command("audit", "verify", "late.ndjson")
    assert (code, said[:26]) == (0, "consistent, signer unknown")
    code, said = await command("audit", "export", "late.ndjson")
    assert (code, said) == (3, "mainspring: late.ndjson exists: choose another name")
    code, said = await command("admin", "key", "late")
    assert code == 3
    assert "no platform runs" in said


async def test_several_processes_share_an_address_on_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    async with up(tmp_path, "--workers", "2", database__url=postgres_url) as running:
        await running.announced()
        pid = int(running.shown["pid"])
        assert pid == running.process.pid
        first = children(pid)
        assert len(first) == 2
        assert {await running.get("/readyz") for _ in range(20)} == {200}
        os.kill(first[0], signal.SIGKILL)
        assert running.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while b"process_restarted" not in await running.process.stderr.readline():
                pass
        assert len(children(pid)) == 2
        assert {await running.get("/readyz") for _ in range(20)} == {200}
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert children(pid) == []


async def test_commands_find_the_process_that_serves(tmp_path: Path, postgres_url: str) -> None:
    """Beside one that works, whichever of them was started or stopped last."""
    environ = environment(database__url=postgres_url)
    async with AsyncExitStack() as stack:
        where = {"database__url": postgres_url}
        serving = await stack.enter_async_context(up(tmp_path, "--role", "serve", **where))
        await serving.announced()  # it makes the keyring and the tables
        working = await stack.enter_async_context(up(tmp_path, "--role", "work", **where))
        await working.announced()
        assert (serving.shown["role"], working.shown["role"]) == ("serve", "work")
        code, said = await run("admin", "key", "x", environ=environ, folder=tmp_path)
        assert (code, said[:4]) == (0, "msk_")
        code, said = await run("doctor", "--json", environ=environ, folder=tmp_path)
        found = {check["name"]: check["found"] for check in json.loads(said)}
        assert found["role"].startswith("all: ")  # as the settings here say
        assert found["platform"] == f"ready at {serving.shown['url']}"
        working.process.send_signal(signal.SIGTERM)
        assert await working.ended() == 0
        assert (await run("admin", "key", "y", environ=environ, folder=tmp_path))[0] == 0


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid) and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


async def test_commands_trust_the_very_certificate_of_the_platform_that_runs(
    tmp_path: Path,
) -> None:
    """Its name is that of callers, and no authority of this machine has signed it."""
    files = Files(tmp_path).put(*pair(name="shop.example"))
    tls = {"server__tls_certificate": "site.crt", "server__tls_key": "site.key"}
    async with up(tmp_path, **tls) as running:
        await running.announced()
        assert running.shown["url"].startswith("https://")
        settings = environment(**tls)
        assert (await run("admin", "key", "x", environ=settings, folder=tmp_path))[0] == 0
        _, said = await run("doctor", "--json", environ=settings, folder=tmp_path)
        found = {check["name"]: check for check in json.loads(said)}
        assert found["certificate"]["verdict"] == "ok"
        assert found["platform"]["found"].startswith("ready at https://")
        files.put(pair(name="shop.example")[0], files.key.read_bytes())
        code, said = await run("admin", "key", "z", environ=settings, folder=tmp_path)
        assert code == EXIT_START, "what answers does not have that certificate"
        assert "certificate verify failed" in said

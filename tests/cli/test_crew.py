"""Several processes on one address: who dies is started again, and who is stopped loses no call."""

import asyncio
import json
import os
import select
import signal
import socket
from pathlib import Path

import pytest

from mainspring.cli.cores import chosen
from mainspring.cli.demo.process import environment, run
from mainspring.settings import PlatformSettings
from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.cli.test_shutdown import CLIENTS, Asker
from tests.cli.test_up import Up, children, up
from tests.deadline import DEADLINE_S

PRIVATE_BYTES_MAX = 25 << 20  # of a process that has just begun to serve

# The second process that makes it is killed: the first is there by then.
KILLED_ONCE = """
import os, signal
from pathlib import Path
from mainspring import App, Service

tools = Service("tools", doc="What a process has.")

class Tool:
    def __init__(self):
        made = len(list(Path().glob("made-*")))
        Path(f"made-{made}").touch()
        if made == 1:
            os.kill(os.getpid(), signal.SIGKILL)

tools.provide(Tool)
app = App("tools", services=[tools])
"""


async def said(running: Up, *messages: str) -> list[dict[str, object]]:
    """Read what the processes say until each of these was said; return them all."""
    found: list[dict[str, object]] = []
    assert running.process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while not set(messages) <= {str(line["message"]) for line in found}:
            line = await running.process.stderr.readline()
            assert line, found
            found.append(json.loads(line))
    return found


async def ended(*descriptors: int) -> None:
    """Wait for the end of processes, which need not be children."""
    for descriptor in descriptors:
        found, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], DEADLINE_S)
        assert found
        os.close(descriptor)


async def test_who_dies_while_the_database_is_away_is_started_again(tmp_path: Path) -> None:
    binaries = embedded_postgres()
    assert binaries is not None
    server = PostgresServer(binaries, durable=True)
    try:
        where = server.create_database()
        async with up(tmp_path, "--workers", "2", database__url=where) as running:
            await running.announced()
            pid = int(running.shown["pid"])
            victim, other = children(pid)
            await asyncio.to_thread(server.stop)
            os.kill(victim, signal.SIGKILL)
            deaths: list[dict[str, object]] = []
            while len(deaths) < 3:
                lines = await said(running, "process_died")
                deaths += [line for line in lines if line["message"] == "process_died"]
            assert deaths[0]["exit_code"] == -signal.SIGKILL
            assert [line["restart_s"] for line in deaths[:3]] == [1, 2, 4]
            assert all(line["error"] for line in deaths[1:])
            assert await running.get("/healthz") == 200
            assert other in children(pid)
            await asyncio.to_thread(server.start)
            await said(running, "process_restarted")
            assert len(children(pid)) == 2
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
    finally:
        server.close()


async def test_both_may_die_at_once(tmp_path: Path, database_url: str) -> None:
    async with up(tmp_path, "--workers", "2", database__url=database_url) as running:
        await running.announced()
        for child in children(running.process.pid):
            os.kill(child, signal.SIGKILL)
        restarted = 0
        while restarted < 2:
            lines = await said(running, "process_restarted")
            restarted += [line["message"] for line in lines].count("process_restarted")
        assert await running.get("/readyz") == 200
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


async def test_who_is_killed_while_the_others_start_is_started_again(tmp_path: Path) -> None:
    """Only what the first says, or another says of itself, ends the whole."""
    (tmp_path / "app.py").write_text(KILLED_ONCE)
    async with up(tmp_path, "app.py", "--workers", "2") as running:
        await running.announced()
        lines = await said(running, "process_restarted")
        (died,) = [line for line in lines if line["message"] == "process_died"]
        assert died["error"] == "a process ended before it served"
        assert await running.get("/readyz") == 200
        assert len(children(running.process.pid)) == 2
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


async def test_a_killed_parent_leaves_nobody_on_its_port(tmp_path: Path, database_url: str) -> None:
    async with up(tmp_path, "--workers", "2", database__url=database_url) as running:
        await running.announced()
        port = int(running.shown["url"].rpartition(":")[2])
        # One that was started later has inherited more of its parent than the first two.
        os.kill(children(running.process.pid)[0], signal.SIGKILL)
        await said(running, "process_restarted")
        open_ends = [os.pidfd_open(child) for child in children(running.process.pid)]
        assert len(open_ends) == 2
        running.process.kill()
        await running.ended()
        await ended(*open_ends)
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_all_of_them_is_one_signal(
    tmp_path: Path, database_url: str, number: signal.Signals
) -> None:
    """A terminal signals the whole group, systemd all of a service; the parent passes it on."""
    async with up(tmp_path, "--workers", "2", database__url=database_url) as running:
        await running.announced()
        askers = [await Asker.to(running) for _ in range(CLIENTS)]
        asking = [asyncio.create_task(asker.until_told()) for asker in askers]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(asker.warmed.wait() for asker in askers))
        os.killpg(running.process.pid, number)
        await asyncio.gather(*asking)
        assert await running.ended() == 0
        assert children(running.process.pid) == []
        assert running.process.stderr is not None
        lines = [json.loads(line) for line in (await running.process.stderr.read()).splitlines()]
        assert {line["process"] for line in lines if line["message"] == "stopped"} == {0, 1}


@pytest.mark.more
async def test_a_crew_ends_although_one_of_it_is_frozen(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", "2") as running:
        await running.announced()
        pid = int(running.shown["pid"])
        frozen = children(pid)[0]
        os.kill(frozen, signal.SIGSTOP)
        running.process.send_signal(signal.SIGTERM)
        lines = await said(running, "process_frozen")
        assert lines[-1]["pid"] == frozen
        assert lines[-1]["why"] == "nothing in it ran for 10 s"
        assert await running.ended() == 0


async def test_there_is_one_for_each_core_by_default(tmp_path: Path, database_url: str) -> None:
    """And it is one platform: it is announced once, and says nothing else when it starts."""
    size, default = chosen().processes, PlatformSettings().workers
    assert default == "auto"
    async with up(tmp_path, platform__workers=default, database__url=database_url) as running:
        await running.announced()
        assert len(children(running.process.pid)) == (size if size > 1 else 0)
        assert running.shown.get("processes", 1) == size
        assert await running.get("/readyz") == 200
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
        told, log = await running.process.communicate()
        assert told == b""
        lines = [json.loads(line) for line in log.splitlines()]
        few = "postgres_connections_divided"  # while other tests have many
        assert {line["message"] for line in lines} - {few} == {"draining", "stopped"}


async def test_what_a_killed_process_counted_stays_counted(
    tmp_path: Path, database_url: str
) -> None:
    """Whichever of them is scraped: no counter goes back, and none is told by one alone."""
    name = "http_server_request_duration_seconds_count"
    route = f'{name}{{http_request_method="GET",http_response_status_code="200"'
    async with up(tmp_path, "--workers", "2", database__url=database_url) as running:
        await running.announced()
        for asked in range(1, 21):
            assert await running.get("/healthz") == 200
            # It may be counted a moment after it was answered.
            while (counted := await running.metric(route + ',http_route="/healthz"}')) < asked:
                assert counted == asked - 1
            assert counted == asked
            if asked % 10 == 0:
                os.kill(children(running.process.pid)[0], signal.SIGKILL)
                await said(running, "process_restarted")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


async def test_doctor_counts_the_processes(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", "2") as running:
        await running.announced()
        _, told = await run("doctor", "--json", environ=environment(), folder=tmp_path)
        (found,) = [each for each in json.loads(told) if each["name"] == "platform"]
        assert found["verdict"] == "ok", told
        assert found["found"] == f"ready at {running.shown['url']}, 2 processes"


async def test_a_crew_has_its_file_alone_and_each_member_takes_little_memory(
    tmp_path: Path,
) -> None:
    """Until the last of its processes has ended, also where the parent was killed."""
    async with up(tmp_path, "--workers", "3") as running:
        await running.announced()
        crew = children(running.process.pid)
        assert len(crew) == 3
        assert {await running.get("/readyz") for _ in range(30)} == {200}
        for member in crew:
            assert private_bytes(member) <= PRIVATE_BYTES_MAX
        second = "up", "--port", "0"
        code, said = await run(*second, environ=environment(), folder=tmp_path)
        assert (code, "another process uses" in said) == (3, True), said
        os.kill(crew[0], signal.SIGSTOP)  # it will not have heard of its parent's end
        open_ends = [os.pidfd_open(member) for member in crew]
        running.process.kill()
        await ended(*open_ends[1:])
        code, said = await run(*second, environ=environment(), folder=tmp_path)
        assert (code, "another process uses" in said) == (3, True), said
        os.kill(crew[0], signal.SIGCONT)
        await ended(open_ends[0])
    async with up(tmp_path) as running:
        await running.announced()
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


def private_bytes(pid: int) -> int:
    """Return how much memory a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(kilobytes) << 10

"""Whom a command beside the platform sends a key to: only who proves to have the same keyring."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from mainspring.cli.demo.process import environment, run
from mainspring.cli.instance_file import RUNNING_FILE, Running, find_running, told
from tests.cli.test_up import up


class Thief(BaseHTTPRequestHandler):
    """Answers 200 to everything, and notes what it is told."""

    said = b'{"proof": "0000"}'
    heard: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers["Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.said)))
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


ANSWERS = (b'{"proof": "0000"}', b'{"proof": 1}', b"[]", b"<html>", b"")
COMMANDS = (["key", "mine"], ["key", "--recover"], ["user", "a@example.com"])


@pytest.fixture
def thief() -> Iterator[tuple[str, type[Thief]]]:
    handler = type("Handler", (Thief,), {"heard": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_processes_that_start_over_one_directory_do_not_meet(tmp_path: Path) -> None:
    """As those with parts of the work over PostgreSQL do: none spoils what another writes."""

    def running(pid: int) -> Running:
        return Running("http://h", "", str(tmp_path), "", "PostgreSQL", pid, "0.1.0")

    def start_and_end(pid: int) -> None:
        for _ in range(50):
            with told(tmp_path, running(pid)):
                found = find_running(tmp_path)
                assert found is None or found.url == "http://h"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(start_and_end, range(8)))
    assert list(tmp_path.iterdir()) == []
    with told(tmp_path, running(1)) as _, ExitStack() as ends_first:
        ends_first.enter_context(told(tmp_path, running(2)))
        assert find_running(tmp_path) == running(2)
        with told(tmp_path, running(3)):
            ends_first.close()
            assert find_running(tmp_path) == running(3)


async def test_who_has_the_port_elsewhere_is_sent_no_key(
    tmp_path: Path, thief: tuple[str, type[Thief]]
) -> None:
    url, handler = thief
    file = tmp_path / "mainspring-data" / RUNNING_FILE
    tries = [(ANSWERS[0], command) for command in COMMANDS]
    tries += [(answer, COMMANDS[0]) for answer in ANSWERS[1:]]
    async with up(tmp_path) as running:
        await running.announced()
        where = msgspec.json.decode(file.read_bytes())
        with file.open("r+b") as held:  # the lock stays with the file
            held.write(msgspec.json.encode({**where, "url": url}))
            held.truncate()
        for answer, command in tries:
            handler.said = answer
            code, said = await run("admin", *command, environ=environment(), folder=tmp_path)
            assert code == 3, answer
            assert url in said
            assert "Traceback" not in said
        with file.open("r+b") as held:
            held.write(msgspec.json.encode(where))
            held.truncate()
        code, said = await run("admin", "key", "mine", environ=environment(), folder=tmp_path)
        assert (code, said[:4]) == (0, "msk_")
    assert [authorization for _, authorization in handler.heard] == [None] * len(tries)
    assert all(path.startswith("/v1/proof?nonce=") for path, _ in handler.heard)


async def test_a_proof_is_good_at_its_own_address_alone(tmp_path: Path) -> None:
    """So nobody has a platform elsewhere answer the nonce for them."""
    file = tmp_path / "mainspring-data" / RUNNING_FILE
    async with up(tmp_path) as running:
        await running.announced()
        where = msgspec.json.decode(file.read_bytes())
        other = where["url"].replace("127.0.0.1", "localhost")
        file.write_bytes(msgspec.json.encode({**where, "url": other}))
        code, said = await run("admin", "key", "mine", environ=environment(), folder=tmp_path)
        assert code == 3
        assert "is not it" in said

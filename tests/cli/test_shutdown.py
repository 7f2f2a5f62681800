"""The end of a process: who keeps a connection open loses no call, and no process is left over."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.cli.test_up import Up, up
from tests.deadline import DEADLINE_S

CLIENTS = 32


class Asker:
    """A client that asks over one connection as long as it may."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.answers = 0
        self.warmed = asyncio.Event()

    @classmethod
    async def to(cls, running: Up) -> "Asker":
        port = int(running.shown["url"].rpartition(":")[2])
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, path: str = "/healthz") -> tuple[int, bool, bytes]:
        """Return status, whether it was said to be the last, and the body."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        body = await self.reader.readexactly(int(lines["content-length"]))
        return int(head.split(" ")[1]), lines.get("connection") == "close", body

    async def until_told(self) -> None:
        """Ask until an answer is said to be the last, or the end came before a question.

        Raises IncompleteReadError or ConnectionResetError for a question that was lost.
        """
        async with asyncio.timeout(DEADLINE_S):
            last = False
            while not (last or self.reader.at_eof()):
                status, last, _ = await self.ask()
                assert status == 200
                self.answers += 1
                self.warmed.set()
            assert await self.reader.read() == b""
        self.writer.close()


@pytest.mark.parametrize(
    ("number", "lame_duck_s"),
    [(signal.SIGTERM, "1"), (signal.SIGTERM, "0"), (signal.SIGINT, "600")],
)
async def test_no_call_on_an_open_connection_is_lost(
    tmp_path: Path, number: signal.Signals, lame_duck_s: str
) -> None:
    async with up(tmp_path, platform__lame_duck_s=lame_duck_s) as running:
        await running.announced()
        askers = [await Asker.to(running) for _ in range(CLIENTS)]
        asking = [asyncio.create_task(asker.until_told()) for asker in askers]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(asker.warmed.wait() for asker in askers))
        running.process.send_signal(number)
        await asyncio.gather(*asking)
        assert await running.ended() == 0
        assert min(asker.answers for asker in askers) > 0


async def test_a_process_that_is_about_to_end_says_so_and_serves_on(tmp_path: Path) -> None:
    async with up(tmp_path, platform__lame_duck_s="3") as running:
        await running.announced()
        open_before, idle = await Asker.to(running), await Asker.to(running)
        assert (await open_before.ask("/readyz"))[:2] == (200, False)
        assert (await idle.ask())[:2] == (200, False)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while b"draining" not in await running.process.stderr.readline():
                pass
        status, last, said = await open_before.ask("/readyz")
        assert (status, last) == (503, True)
        assert json.loads(said)["failing"] == ["process: it is about to end"]
        new = await Asker.to(running)
        assert (await new.ask())[:2] == (200, True)
        for asker in (open_before, idle, new):
            assert await asker.reader.read() == b""
            asker.writer.close()
        assert await running.ended() == 0

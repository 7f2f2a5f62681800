"""A wire to a PostgreSQL server that breaks when it is told to."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET = ".s.PGSQL.5432"  # in the folder that the URL names as its host
READY = b"Z\x00\x00\x00\x05"  # ReadyForQuery: what came before it is done


class Wire:
    """Passes bytes both ways; ``lose_answer`` and ``lose_request`` say to what it breaks, once.

    A connection that sends one of them is cut: behind the server's answer, which nobody gets, or
    before the server hears of it.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self.lose_answer = self.lose_request = b""

    async def carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        answers, there = await asyncio.open_unix_connection(self._server)
        lost = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(near, there, back, lost))
                both.create_task(self._answers(answers, back, there, lost))
        except* ConnectionError:
            pass
        finally:
            back.close()
            there.close()

    async def _requests(
        self,
        near: asyncio.StreamReader,
        there: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        lost: asyncio.Event,
    ) -> None:
        while sent := await near.read(1 << 16):
            if self.lose_request and self.lose_request in sent:
                self.lose_request = b""
                break
            if self.lose_answer and self.lose_answer in sent:
                self.lose_answer = b""
                lost.set()
            there.write(sent)
        there.close()
        back.close()

    async def _answers(
        self,
        answers: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamWriter,
        lost: asyncio.Event,
    ) -> None:
        while said := await answers.read(1 << 16):
            if not lost.is_set():
                back.write(said)
            elif READY in said:
                break
        back.close()
        there.close()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[tuple[Wire, str]]:
    """Lay a wire to the server of this URL; yield it, and the URL that leads through it."""
    (server,) = parse_qs(urlsplit(url).query)["host"]
    wire = Wire(Path(server) / SOCKET)
    with tempfile.TemporaryDirectory(prefix="mainspring-wire-") as folder:
        listening = await asyncio.start_unix_server(wire.carry, Path(folder) / SOCKET)
        try:
            yield wire, url.replace(quote(server, safe=""), quote(folder, safe=""))
        finally:
            listening.close()

"""A connection ends with a FIN: what its peer still sends takes no answer away from it."""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest

from mainspring.interfaces.http import lingering
from mainspring.interfaces.http.lingering import LINGER_S, UNREAD_S, Lingering
from mainspring.interfaces.http.server import Server
from mainspring.interfaces.http.server_settings import ServerSettings
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import Site, Start

GET = b"GET /v1/public HTTP/1.1\r\nHost: x\r\n"
BODY = (
    b"POST /v1/public HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\nConnection: close\r\n\r\n"
)


class Peer:
    """A plain socket that reads when it is told to, and not before."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(10)

    async def say(self, data: bytes) -> None:
        await asyncio.to_thread(self.socket.sendall, data)

    async def until(self, event: int) -> None:
        """Wait until the kernel tells this of the connection."""
        poll = select.poll()
        poll.register(self.socket, event)
        found = await asyncio.to_thread(poll.poll, 10_000)
        assert found
        assert found[0][1] & event

    async def rest(self) -> bytes:
        """Read to the end. Raises ConnectionResetError where that is none."""
        said = b""
        while part := await asyncio.to_thread(self.socket.recv, 65_536):
            said += part
        self.socket.close()
        return said


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"this is no request\r\n\r\n", b"400"),
        (GET + b"Connection: close\r\n\r\n", b"200"),
        (GET.replace(b"1.1", b"1.0") + b"\r\n", b"200"),
        (GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (BODY, b"405"),
    ],
)
async def test_an_answer_survives_what_its_peer_sends_after_it(
    site: Site, asked: bytes, status: bytes
) -> None:
    peer = Peer(site.port)
    await peer.say(asked)
    await peer.until(select.POLLRDHUP)
    for _ in range(3):
        await peer.say(b"x" * 10_000)
    assert (await peer.rest()).startswith(b"HTTP/1.1 " + status)


async def test_who_does_not_close_is_closed_upon(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "LINGER_S", 0.05)
    site = await start(server={"connections_max": 1})
    peer = Peer(site.port)
    await peer.say(GET + b"Connection: close\r\n\r\n")
    await peer.until(select.POLLRDHUP)
    async with asyncio.timeout(DEADLINE_S):
        while True:  # until its place is free
            other = Peer(site.port)
            await other.say(GET + b"Connection: close\r\n\r\n")
            try:
                if (await other.rest()).startswith(b"HTTP/1.1 200"):
                    break
            except ConnectionResetError:
                continue
    assert (await peer.rest()).startswith(b"HTTP/1.1 200")


async def test_who_sends_without_an_end_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "LINGER_BYTES_MAX", 100_000)
    peer = Peer(site.port)
    await peer.say(GET + b"Connection: close\r\n\r\n")
    await peer.until(select.POLLRDHUP)
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        await peer.say(b"x" * 10_000_000)
    peer.socket.close()


class Late(socket.socket):
    """A listener to which somebody connects at the moment it is about to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.peer.done():
            self.peer.set_result(Peer(self.getsockname()[1]))
        return super().accept()


async def test_who_connects_at_the_very_end_is_answered(site: Site) -> None:
    """What waits at a listener is reset when that is closed."""
    listener = Late()
    listener.bind(("127.0.0.1", 0))
    server = Server(site.rest, ServerSettings(), ids=site.runtime.ids, sockets=[listener])
    await server.start()
    draining = asyncio.create_task(server.drain(10))
    async with asyncio.timeout(DEADLINE_S):
        peer = await listener.peer
    await peer.say(GET + b"\r\n")
    said = await peer.rest()
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in said
    await draining


class Stuck(asyncio.Transport):
    """A transport whose peer takes nothing but what ``left`` says, one look after the other."""

    def __init__(self, *left: int) -> None:
        super().__init__()
        self.left = list(left)
        self.end = ""

    def get_write_buffer_size(self) -> int:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def write(self, data: Any) -> None:
        raise AssertionError("nothing is written after the end")

    def is_closing(self) -> bool:
        return bool(self.end)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write_eof(self) -> None: ...

    def abort(self) -> None:
        self.end = "aborted"

    def close(self) -> None:
        self.end = "closed"


class Ticking:
    """A loop whose time passes at once."""

    def __init__(self) -> None:
        self.waited_s = 0.0
        self.due: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, delay_s: float, then: Callable[..., None], *given: Any) -> None:
        self.waited_s += delay_s
        self.due.append((then, given))


@pytest.mark.parametrize(
    ("left", "waited_s", "end"),
    [
        ((0,), LINGER_S, "closed"),
        ((9, 5, 3, 0), 3 * LINGER_S, "closed"),
        ((9, 9), UNREAD_S, "aborted"),
        ((9, 5, 5), LINGER_S + UNREAD_S, "aborted"),
    ],
)
def test_a_closing_connection_stays_while_its_peer_takes_something(
    left: tuple[int, ...], waited_s: float, end: str
) -> None:
    stuck, loop = Stuck(*left), Ticking()
    Lingering(stuck, loop).close()  # type: ignore[arg-type]
    while loop.due:
        then, given = loop.due.pop()
        then(*given)
    assert (loop.waited_s, stuck.end) == (waited_s, end)

"""HTTP on the wire: bounds on headers, bodies, time; connections; draining."""

import asyncio
import contextlib
import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from mainspring.interfaces.http import exchange
from mainspring.interfaces.http.server import Server, bind
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.ports.database import StartError
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import Site, Start

KEY = b"Authorization: Bearer msk_writer\r\n"
GET = b"GET /v1/public HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/anything HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Wire:
    """A connection to a site, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, site: Site) -> "Wire":
        return cls(*await asyncio.open_connection("127.0.0.1", site.port))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a Content-Length."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split(" ")[1]), headers, body

    async def closed(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True


async def test_a_connection_serves_many_requests_also_pipelined(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say((GET + b"\r\n") * 5)
    assert [(await wire.answer())[0] for _ in range(5)] == [200] * 5
    await wire.say(POST + b"Content-Length: 1\r\n\r\n1" + GET + b"\r\n")
    assert (await wire.answer())[2] == b"1"
    assert (await wire.answer())[0] == 200
    await wire.say(GET + b"Connection: close\r\n\r\n")
    assert (await wire.answer())[1]["connection"] == "close"
    assert await wire.closed()


async def test_space_around_a_header_is_none_of_it(site: Site) -> None:
    wire = await Wire.to(site)
    spaced = b"Authorization: \t Bearer msk_reader \t \r\n"
    await wire.say(b"GET /v1/notes HTTP/1.1\r\nHost: x \r\n" + spaced + b"\r\n")
    assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
        GET + b"X: " + b"x" * 400_000,
        GET + b"".join(b"X%d: y\r\n" % i for i in range(6_000)) + b"\r\n",
        b"GET /" + b"x" * 60_000,
        b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_headers_are_bounded(site: Site, head: bytes) -> None:
    wire = await Wire.to(site)
    with contextlib.suppress(ConnectionError):
        await wire.say(head)
    status, headers, body = await wire.answer()
    assert (status, headers["connection"]) == (431, "close")
    assert b'"headers_too_large"' in body
    assert b'"request_id":"%b"' % headers["request-id"].encode() in body
    assert await wire.closed()


async def test_headers_below_the_bound_pass_with_a_large_body_in_the_same_packet(
    site: Site,
) -> None:
    wire = await Wire.to(site)
    body = b'"' + b"x" * 100_000 + b'"'
    await wire.say(POST + b"X: " + b"x" * 30_000 + b"\r\nContent-Length: 100002\r\n\r\n" + body)
    assert (await wire.answer())[2] == body


@pytest.mark.parametrize(
    "head",
    [b"nonsense\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
     POST + b"Content-Length: x\r\n\r\n", POST + b"Content-Length: -1\r\n\r\n",
     POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
     POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", GET + b"X Y: z\r\n\r\n",
     GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
     b"GET /v1/public HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"],
)  # fmt: skip
async def test_what_is_no_request_is_refused(site: Site, head: bytes) -> None:
    wire = await Wire.to(site)
    await wire.say(head)
    status, headers, body = await wire.answer()
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert b'"malformed"' in body
    assert b'"request_id":"%b"' % headers["request-id"].encode() in body


async def test_an_upgrade_is_not_made(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    status, headers, _ = await wire.answer()
    assert (status, headers["connection"]) == (200, "close")


async def test_a_head_that_drips_is_cut_off(start: Start) -> None:
    site = await start(server={"header_timeout_s": 0.2})
    silent, slow, kept = await Wire.to(site), await Wire.to(site), await Wire.to(site)
    await slow.say(GET)
    status, headers, _ = await slow.answer()
    assert (status, headers["connection"]) == (408, "close")
    assert await slow.closed()
    assert await silent.closed()
    assert await kept.closed()


async def test_the_second_request_of_a_connection_is_timed_too(start: Start) -> None:
    site = await start(server={"header_timeout_s": 0.2})
    wire = await Wire.to(site)
    await wire.say(GET + b"\r\n" + GET)
    assert (await wire.answer())[0] == 200
    assert (await wire.answer())[0] == 408
    assert await wire.closed()


async def test_a_body_that_stalls_is_cut_off(start: Start) -> None:
    site = await start(server={"body_timeout_s": 0.2})
    wire = await Wire.to(site)
    await wire.say(POST + b"Content-Length: 10\r\n\r\n12")
    status, _, body = await wire.answer()
    assert status == 408
    assert b"request_timeout" in body


async def test_a_body_over_its_limit_is_refused_unread(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(POST + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
    assert (await wire.answer())[0] == 413


async def test_a_chunked_body_is_counted(site: Site) -> None:
    wire = await Wire.to(site)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    await wire.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            await wire.say(chunk)
    assert (await wire.answer())[0] == 413


async def test_a_chunked_body_is_read(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n")
    await wire.say(b"3\r\n1,2\r\n1\r\n]\r\n0\r\n\r\n")
    assert (await wire.answer())[2] == b"[1,2]"


async def test_continue_is_said_once_the_body_is_wanted(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(POST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await wire.say(b"1")
    assert (await wire.answer())[0] == 200


async def test_connections_are_bounded(start: Start) -> None:
    site = await start(server={"connections_max": 2})
    wires = [await Wire.to(site) for _ in range(2)]
    for wire in wires:
        await wire.say(GET + b"\r\n")
        assert (await wire.answer())[0] == 200
    late = await Wire.to(site)
    status, headers, _ = await late.answer()
    assert (status, headers["connection"]) == (503, "close")
    wires[0].writer.close()
    assert await wires[0].closed()
    again = await Wire.to(site)
    await again.say(GET + b"\r\n")
    assert (await again.answer())[0] == 200


async def test_draining_finishes_what_runs_and_takes_nothing_new(start: Start) -> None:
    site = await start()
    idle, busy = await Wire.to(site), await Wire.to(site)
    body = b'{"title":"x"}'
    await busy.say(
        b"POST /v1/gated HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + KEY
        + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        await site.gates.entered.wait()
    draining = asyncio.create_task(site.server.drain(5))
    assert await idle.closed()
    with pytest.raises(OSError, match="Connect call failed"):
        await Wire.to(site)
    assert not draining.done()
    site.gates.opened.set()
    assert (await busy.answer())[0] == 201
    await draining


async def test_draining_ends_in_time(start: Start) -> None:
    site = await start()
    busy = await Wire.to(site)
    body = b'{"title":"x"}'
    await busy.say(
        b"POST /v1/gated HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + KEY
        + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        await site.gates.entered.wait()
    async with asyncio.timeout(DEADLINE_S):
        await site.server.drain(0.2)
    status, headers, problem = await busy.answer()
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(problem)["code"] == "outcome_unknown"
    assert await busy.closed()


async def test_an_address_in_use_is_one_clear_line() -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: "):
        bind("127.0.0.1", port)
    taken.close()


async def test_it_serves_sockets_it_is_given(site: Site) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(site.rest, ServerSettings(), ids=site.runtime.ids, sockets=[listener])
    await server.start()
    answer = await site.http.get(f"{server.url}/v1/public")
    assert answer.status == 200
    await server.drain(1)


class Stuck(asyncio.Transport):
    """The end of a connection whose peer takes nothing of what it asked for."""

    aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return 1_000

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def test_a_peer_that_takes_no_answer_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SEND_IDLE_S", 0.01)
    for body in ([], [b"x"]):
        stuck = Stuck()
        connection = site.server.connection()
        connection.connection_made(stuck)
        connection.pause_writing()
        asked = exchange.Exchange(connection, "GET", b"/", b"", "/", [])
        asked.started = bool(body)
        with pytest.raises(exchange.PeerGone):
            await (asked.write(b"x") if body else asked.answer(200, [], b"x"))
        assert stuck.aborted
        connection.connection_lost(None)


async def test_an_answer_names_its_date(site: Site) -> None:
    """RFC 9110, section 6.6.1: an origin server with a clock says it."""
    wire = await Wire.to(site)
    await wire.say(GET + b"\r\n")
    _, headers, _ = await wire.answer()
    sent = parsedate_to_datetime(headers["date"])
    assert abs(sent.timestamp() - time.time()) < 60

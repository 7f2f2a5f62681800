"""What the outermost edge lets in: trailers, framing, versions, hosts, shares, and its end."""

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring.interfaces.http import connection, responses, server, streams
from mainspring.interfaces.http.compression import THREAD_BYTES_MIN
from mainspring.interfaces.http.open_files import connections_for, raise_open_files
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.errors import RateLimited, Unavailable
from mainspring.kernel.invocation import Opened
from mainspring.kernel.pool import Pool
from mainspring.ports.blobs import Blobs
from mainspring.runtime.invoke.invoker import LARGE_BODIES_SHARE, LARGE_BODY_BYTES
from mainspring.runtime.invoke.validate import Inputs
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import READER, WRITER, OverGrpc, Site, Start
from tests.interfaces.http.test_protocol import GET, KEY, POST, Wire
from tests.interfaces.notes import put_file

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def beat(site: Site) -> None:
    """Let the server, which is in this process, go on by one call."""
    (await site.http.get("/healthz")).close()


# Trailers and framing


@pytest.mark.parametrize("path", [b"/v1/notes", b"/v1/slow"])
async def test_a_trailer_authenticates_nobody(site: Site, path: bytes) -> None:
    wire = await Wire.to(site)
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % path + CHUNKED
    await wire.say(head + b'd\r\n{"title":"x"}\r\n0\r\n' + KEY + b"\r\n")
    assert (await wire.answer())[0] == 401
    assert await site.count() == 0


async def test_a_trailer_that_comes_late_is_no_header_either(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(POST + CHUNKED + b"1\r\n1\r\n0\r\n")
    await wire.say(b"Idempotency-Key: \xff\r\nExpect: 100-continue\r\nHost: y\r\n\r\n")
    status, _, body = await wire.answer()
    assert (status, body) == (200, b"1")
    await wire.say(GET + b"\r\n")
    assert (await wire.answer())[0] == 200


async def test_a_trailer_says_nothing_about_an_address(start: Start) -> None:
    site = await start(server={"trusted_proxies": ("127.0.0.0/8",)}, limits={"anonymous": "1/m"})
    head = POST + b"X-Forwarded-For: 198.51.100.1\r\n" + CHUNKED + b"1\r\n1\r\n0\r\n"
    statuses = []
    for number in range(3):
        wire = await Wire.to(site)
        await wire.say(head + b"X-Forwarded-For: 198.51.100.%d\r\n\r\n" % (number + 2))
        statuses.append((await wire.answer())[0])
    assert statuses == [200, 429, 429]


@pytest.mark.parametrize(
    "flood",
    [
        b"0\r\n" + b"X: " + b"y" * 64_000 + b"\r\n",  # trailers, one after the other
        b"0\r\nX: " + b"y" * 64_000,  # one that never ends
        b"1;" + b"x" * 64_000,  # an extension that never ends
        (b"1;" + b"x" * 30_000 + b"\r\n1\r\n") * 2,  # an extension for every byte
    ],
)
async def test_what_follows_a_head_is_bounded(site: Site, flood: bytes) -> None:
    wire = await Wire.to(site)
    await wire.say(POST + CHUNKED)
    first, rest = flood[:3], flood[3:]
    await wire.say(first)
    with contextlib.suppress(ConnectionError):
        for _ in range(64):
            await wire.say(rest if b"\r\n1\r\n" not in flood else flood)
    # What was on its way to a connection that is closed may take the answer with it.
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (431, "close")
    assert await wire.closed()


async def test_what_follows_an_answer_is_bounded_too(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(b"POST /nowhere HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"0\r\nX: ")
    assert (await wire.answer())[0] == 404
    with contextlib.suppress(ConnectionError):
        for _ in range(64):
            await wire.say(b"y" * 64_000)
    assert await wire.closed()


async def test_small_chunks_are_no_flood(site: Site) -> None:
    wire = await Wire.to(site)
    body = b"[" + b"1," * 20_000 + b"1]"
    await wire.say(POST + CHUNKED)
    for at in range(0, len(body), 1_000):
        await wire.say(b"".join(b"0001\r\n%c\r\n" % byte for byte in body[at : at + 1_000]))
    await wire.say(b"0\r\n\r\n")
    assert (await wire.answer())[2] == body


# Versions and hosts


@pytest.mark.parametrize(
    "head",
    [b"GET /v1/public\r\n\r\n", b"GET /v1/public HTTP/0.9\r\n\r\n",
     b"GET /v1/public HTTP/0.9\r\nHost: x\r\n\r\n", b"GET /v1/public HTTP/2.0\r\nHost: x\r\n\r\n",
     b"GET /v1/public HTTP/1.2\r\nHost: x\r\n\r\n", b"GET /v1/public HTTP/9.9\r\nHost: x\r\n\r\n",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)  # fmt: skip
async def test_another_version_of_http_is_refused(site: Site, head: bytes) -> None:
    wire = await Wire.to(site)
    await wire.say(head)
    status, headers, _ = await wire.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert await wire.closed()


@pytest.mark.parametrize(
    ("target", "hosts", "status"),
    [
        (b"/v1/public", [b"example.org"], 200), (b"/v1/public", [b"EXAMPLE.org:8080"], 200),
        (b"/v1/public", [b"[::1]:8080"], 200), (b"/v1/public", [b"127.0.0.1:"], 200),
        (b"/v1/public", [b"a_b-c.example."], 200), (b"/v1/public", [], 400),
        (b"/v1/public", [b""], 400), (b"/v1/public", [b"a", b"a"], 400),
        (b"/v1/public", [b"a", b"b"], 400), (b"/v1/public", [b"a b"], 400),
        (b"/v1/public", [b"a/b"], 400), (b"/v1/public", [b"u@a"], 400),
        (b"/v1/public", [b"a:b"], 400), (b"/v1/public", [b"a:99999"], 400),
        (b"/v1/public", [b"[::1"], 400), (b"/v1/public", [b"a, b"], 400),
        (b"/v1/public", [b"a\xe9"], 400), (b"/v1/public", [b"x" * 400], 400),
        (b"/v1/public", [b"http://a"], 400), (b"/v1/public", [b"a?b"], 400),
        (b"http://example.org/v1/public", [b"other"], 200),
        (b"http://example.org/v1/public", [], 400), (b"http://u:p@a/v1/public", [b"a"], 400),
    ],
)  # fmt: skip
async def test_a_host_is_named_once_and_well(
    site: Site, target: bytes, hosts: list[bytes], status: int
) -> None:
    wire = await Wire.to(site)
    named = b"".join(b"Host: %b\r\n" % host for host in hosts)
    await wire.say(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, named))
    assert (await wire.answer())[0] == status


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"/v1/public", b"example.org", 200), (b"/v1/public", b"Example.ORG.:80", 200),
        (b"/v1/public", b"a.b.example.net", 200), (b"/v1/public", b"example.net", 421),
        (b"/v1/public", b"evil.org", 421), (b"/v1/public", b"evilexample.net", 421),
        (b"/v1/public", b"[::1]:1", 200), (b"/v1/public", b"127.0.0.1", 421),
        (b"/nowhere", b"evil.org", 421), (b"http://evil.org/v1/public", b"example.org", 421),
        (b"http://example.org/v1/public", b"evil.org", 200),
    ],
)  # fmt: skip
async def test_only_hosts_of_ours_are_answered_for(
    start: Start, target: bytes, host: bytes, status: int
) -> None:
    site = await start(server={"hosts": ("example.org", "*.example.net", "[::1]")})
    wire = await Wire.to(site)
    await wire.say(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))
    assert (await wire.answer())[0] == status


@pytest.mark.parametrize(
    "headers",
    [{"Host": "example.org"}, {"Via": "1.1 x"}, {"X-Real-IP": "203.0.113.9"},
     {"Forwarded": "for=x"},
     {"X-Forwarded-Host": "x"}, {"X-Forwarded-Proto": "https"},
     {"CF-Connecting-IP": "203.0.113.9"}],
)  # fmt: skip
async def test_metrics_take_a_scope_when_it_is_not_the_operator_who_asks(
    site: Site, headers: dict[str, str]
) -> None:
    assert (await site.http.get("/metrics", headers=headers)).status == 401
    for host in ("localhost:1", "127.0.0.1", "[::1]"):
        assert (await site.http.get("/metrics", headers={"Host": host})).status == 200


async def test_a_proxy_that_speaks_an_older_http_is_no_operator(site: Site) -> None:
    wire = await Wire.to(site)
    await wire.say(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await wire.answer())[0] == 401


# Shares


def test_nobody_takes_more_than_a_share_of_a_pool() -> None:
    pool = Pool("places", 3, 2)
    with pool.place("a"), pool.place("a"):
        with pytest.raises(RateLimited, match="one caller may have 2 places at once"):
            pool.take("a")
        with pool.place("b"), pytest.raises(Unavailable, match="too many places"):
            pool.take("c")
        with pool.place("b"):  # what was given back is free again
            assert pool.taken == 3
    assert pool.taken == 0


async def test_one_address_has_a_share_of_the_connections(start: Start) -> None:
    site = await start(server={"connections_per_address_max": 2})
    wires = [await Wire.to(site) for _ in range(2)]
    for wire in wires:
        await wire.say(GET + b"\r\n")
        assert (await wire.answer())[0] == 200
    status, headers, body = await (await Wire.to(site)).answer()
    assert (status, headers["retry-after"], headers["connection"]) == (429, "1", "close")
    assert b'"rate_limited"' in body
    wires[0].writer.close()
    assert await wires[0].closed()
    again = await Wire.to(site)
    await again.say(GET + b"\r\n")
    assert (await again.answer())[0] == 200


async def test_connections_of_a_trusted_proxy_are_other_peoples(start: Start) -> None:
    site = await start(
        server={"connections_per_address_max": 1, "trusted_proxies": ("127.0.0.0/8",)}
    )
    for wire in [await Wire.to(site) for _ in range(3)]:
        await wire.say(GET + b"\r\n")
        assert (await wire.answer())[0] == 200


async def test_open_files_are_raised_and_connections_stay_below(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    try:
        assert raise_open_files() == (1 << 30 if hard == resource.RLIM_INFINITY else hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [connections_for(files) for files in (64, 256, 1_024, 65_536)] == [16, 128, 768, 49_152]
    monkeypatch.setattr(server, "raise_open_files", lambda: 130)
    site = await start(server={"trusted_proxies": ("127.0.0.0/8",)})
    wires = [await Wire.to(site) for _ in range(16)]
    for wire in wires:
        await wire.say(GET + b"\r\n")
        assert (await wire.answer())[0] == 200
    assert (await (await Wire.to(site)).answer())[0] == 503


async def test_one_caller_has_a_share_of_the_uploads(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.runtime.owner.intake is not None
    monkeypatch.setattr(site.runtime.owner.intake.places, "share", 2)
    head = (
        b"PUT /v1/files/a HTTP/1.1\r\nHost: x\r\n%bContent-Length: 2\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    slow = [await Wire.to(site) for _ in range(2)]
    async with asyncio.timeout(DEADLINE_S):
        for wire in slow:
            await wire.say(head % KEY)
            assert b"100 Continue" in await wire.reader.readuntil(b"\r\n\r\n")
    third = await Wire.to(site)
    await third.say(head % KEY)
    assert (await third.answer())[0] == 429
    for wire in slow:
        await wire.say(b"ab")
        assert (await wire.answer())[0] == 201
    answer, _ = await site.ask("PUT", "/v1/files/a", b"ab")
    assert answer.status == 201
    assert put_file.scope == "notes:write"


async def test_one_caller_has_a_share_of_the_streams(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.rest.streams, "share", 1)
    first = await site.http.get("/v1/ticks?wait=true", headers=READER)
    assert first.status == 200
    assert (await site.http.get("/v1/ticks?wait=true", headers=READER)).status == 429
    other = await site.http.get("/v1/ticks?wait=true", headers=WRITER)
    assert other.status == 200
    site.gates.opened.set()
    await first.read()
    async with asyncio.timeout(DEADLINE_S):
        while (await site.http.get("/v1/ticks", headers=READER)).status == 429:
            pass  # the place is free once the server has let go of the first


async def test_one_caller_has_a_share_of_the_memory_for_bodies(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.rest.memory, "share", 1_500)
    part = b"[" + b"1," * 500
    slow, other = await Wire.to(site), await Wire.to(site)
    await slow.say(POST + b"Content-Length: 1004\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert b"100 Continue" in await slow.reader.readuntil(b"\r\n\r\n")
        await slow.say(part)
        while not site.rest.memory.taken:
            await beat(site)
    await other.say(POST + b"Content-Length: 1004\r\n\r\n" + part)
    status, headers, body = await other.answer()
    assert (status, headers["retry-after"]) == (429, "1")
    assert b"bytes of bodies" in body
    whole, _ = await site.ask("POST", "/v1/anything", part + b"1]")
    assert whole.status == 200  # what comes at once waits for nobody
    await slow.say(b"11]")
    assert (await slow.answer())[0] == 200
    async with asyncio.timeout(DEADLINE_S):
        while site.rest.memory.taken:
            await beat(site)


async def test_requests_behind_a_running_one_are_held_as_they_came(
    site: Site,
) -> None:
    listener = server.bind("127.0.0.1", 0)
    second = server.Server(site.rest, ServerSettings(), ids=site.runtime.ids, sockets=[listener])
    await second.start()
    wire = Wire(*await asyncio.open_connection("127.0.0.1", listener.getsockname()[1]))
    request, count = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 8_000
    saying = asyncio.create_task(wire.say(request * count))
    waiting, statuses = [], set()
    for _ in range(count):
        statuses.add((await wire.answer())[0])
        waiting += [each.waiting for each in second.shared.connections]
    await saying
    assert statuses == {200}
    assert 0 < max(waiting) <= connection.PIECE_BYTES // len(request) + 1
    wire.writer.close()
    await second.drain(1)


async def test_an_address_that_reads_nothing_is_answered_nothing_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNSENT_BYTES_SHARE", 100_000)
    listener = server.bind("127.0.0.1", 0)
    second = server.Server(site.rest, ServerSettings(), ids=site.runtime.ids, sockets=[listener])
    await second.start()
    body = b'"' + b"x" * 900_000 + b'"'
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    deaf = [socket.create_connection(("127.0.0.1", int(second.url.rpartition(":")[2])))
            for _ in range(8)]  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        for peer in deaf:
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(peer, request * 6)
            if second.shared.unsent.taken > 100_000:
                break
        while second.shared.unsent.taken <= 100_000:
            await beat(site)
        refused = await site.http.get(f"{second.url}/v1/public")
        assert refused.status == 429
        for peer in deaf:
            peer.close()
        while second.shared.unsent.taken:
            await beat(site)
        assert (await site.http.get(f"{second.url}/v1/public")).status == 200
    await second.drain(1)


async def test_a_machine_without_room_is_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(site.runtime.resources[Blobs], "put", full)
    answer, problem = await site.ask("PUT", "/v1/files/a", b"ab")
    assert (answer.status, problem["code"], answer.headers["Retry-After"]) == (
        503, "unavailable", "1",
    )  # fmt: skip


async def test_large_bodies_go_as_they_are_while_too_many_are_packed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'"' + b"x" * THREAD_BYTES_MIN + b'"'
    answer, _ = await site.ask("POST", "/v1/anything", body, Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    monkeypatch.setattr(responses.packing, "size", 0)
    answer, plain = await site.ask("POST", "/v1/anything", body, Accept_Encoding="gzip")
    assert "Content-Encoding" not in answer.headers
    assert plain == body[1:-1].decode()


# The end


async def test_draining_ends_open_streams_at_once(start: Start) -> None:
    site = await start()
    events = await site.http.get("/v1/ticks?wait=true", headers=READER)
    lines = await site.http.get(
        "/v1/ticks?wait=true", headers={**READER, "Accept": "application/x-ndjson"}
    )
    async with asyncio.timeout(DEADLINE_S):
        await events.content.readuntil(b'id: 2\nevent: tick\ndata: {"n": 2}\ndata: {}\n\n')
        await lines.content.readuntil(b'{"n": 2} {}\n')
        draining = asyncio.create_task(site.server.drain(60))
        assert await events.content.read() == streams.FAREWELL
        assert await lines.content.read() == b""
        await draining
    assert b"retry: 1000\n" in streams.FAREWELL


async def test_draining_does_not_wait_for_a_follower_that_reads_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FAREWELL_S", 0.05)
    site = await start()
    stuck = asyncio.Event()

    async def endless(*_: Any, **__: Any) -> Opened:
        async def items() -> AsyncIterator[streams.StreamItem]:
            while True:
                yield streams.StreamItem(b"x" * 1_000_000)
                stuck.set()

        return Opened(items())

    monkeypatch.setattr(site.runtime.owner, "open", endless)
    wire = await Wire.to(site)
    await wire.say(b"GET /v1/ticks HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
    async with asyncio.timeout(DEADLINE_S):
        await stuck.wait()
        await site.server.drain(60)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", site.port)
    wire.writer.close()


@pytest.mark.parametrize("share", [1 << 30, 1])
async def test_a_stream_that_nobody_reads_makes_nothing_more(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    share: int,
) -> None:
    if isinstance(site.invoker, OverGrpc):
        pytest.skip("what gRPC has on its way, within its window, is made while it is paused")
    monkeypatch.setattr(connection, "UNSENT_BYTES_SHARE", share)
    listener = server.bind("127.0.0.1", 0)
    second = server.Server(site.rest, ServerSettings(), ids=site.runtime.ids, sockets=[listener])
    await second.start()
    made_while_paused: list[bool] = []

    async def endless(*_: Any, **__: Any) -> Opened:
        async def items() -> AsyncIterator[streams.StreamItem]:
            while True:
                yield streams.StreamItem(b"x" * 1_000_000)
                paused = [each.writing_paused for each in second.shared.connections]
                made_while_paused.append(any(paused))

        return Opened(items())

    monkeypatch.setattr(site.runtime.owner, "open", endless)
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as deaf:
        deaf.sendall(b"GET /v1/ticks HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n")
        async with asyncio.timeout(DEADLINE_S):
            while not second.shared.connections:
                await beat(site)
            (taken,) = second.shared.connections
            while not (taken.writing_paused or taken.transport.is_closing()):
                await beat(site)
            for _ in range(10):
                await beat(site)
        assert not any(made_while_paused)
        # Beyond its share it is cut off: it resumes where it was.
        assert taken.transport.is_closing() is (share == 1)
    await second.drain(1)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/ticks?wait=true"])
async def test_who_has_left_does_not_wait_for_the_garbage_collector(site: Site, path: str) -> None:
    """After thousands of short connections it would stop everybody for as long as it takes."""
    gc.disable()
    try:
        wire = await Wire.to(site)
        await wire.say(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path.encode(), KEY))
        async with asyncio.timeout(DEADLINE_S):
            assert (await wire.reader.readline()).startswith(b"HTTP/1.1 200 ")
            me = wire.writer.get_extra_info("sockname")
            (left,) = [weakref.ref(c) for c in site.server.shared.connections if c.peer == me]
            wire.writer.close()
            while left() is not None:
                await beat(site)
    finally:
        gc.enable()


# What is logged, and other origins


async def test_a_request_is_logged_by_its_route(
    start: Start, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await start(server={"access_log": True})
    with caplog.at_level(logging.INFO):
        await site.ask("GET", "/v1/notes/anna@example.org?email=anna@example.org")
        await site.ask("GET", "/v1/anna@example.org")
        await site.ask("POST", "/v1/broken?email=anna@example.org")
        await site.ask("POST", "/v1/broken")
    logged = caplog.text + capsys.readouterr().out
    assert "anna" not in logged
    assert "/v1/notes/{id}" in logged
    defect = next(line for line in logged.splitlines() if "defect" in line)
    assert "/v1/broken" in defect
    assert "POST" in defect


async def test_a_refused_origin_leaves_a_line_and_not_many(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await start(cors={"origins": ("https://*.example.com",)})
    for number in range(40):
        answer = await site.http.get("/v1/public", headers={"Origin": f"https://{number}.evil.com"})
        assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await site.http.get("/v1/public", headers={"Origin": "https://a.b.example.com"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.b.example.com"
    logged = capsys.readouterr().out
    assert logged.count("origin_refused") == 10
    assert "https://0.evil.com" in logged


async def test_an_upload_can_be_named_from_another_origin(start: Start) -> None:
    site = await start(
        cors={"origins": ("https://app.example",), "headers": ("X-Mine",),
              "exposed_headers": ("X-Yours",)}
    )  # fmt: skip
    preflight = await site.http.options(
        "/v1/files/a",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"},
    )
    allowed = preflight.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"content-disposition", "authorization", "x-mine"} <= set(allowed)
    answer = await site.http.get("/v1/public", headers={"Origin": "https://app.example"})
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"content-disposition", "etag", "x-yours"} <= set(exposed)


async def test_a_weak_tag_guards_no_change(site: Site) -> None:
    created, note = await site.ask("POST", "/v1/notes", {"title": "x"})
    tag = created.headers["ETag"]
    path = f"/v1/notes/{note['id']}"
    for wrong in (f"W/{tag}", f'W/{tag}, "9"', f'W/{tag[:-1]}-gzip"', tag.strip('"')):
        answer, _ = await site.ask("PATCH", path, {"title": "y"}, If_Match=wrong)
        assert answer.status == 412
    answer, _ = await site.ask("PATCH", path, {"title": "y"}, If_Match=f'{tag[:-1]}-gzip"')
    assert answer.status == 200


async def test_a_body_that_may_be_missing_needs_no_media_type(site: Site) -> None:
    answer, read = await site.ask("POST", "/v1/optional", b"", Content_Type="text/plain")
    assert (answer.status, read) == (200, {"limit": 7})
    async with site.http.post("/v1/optional", headers=WRITER) as bare:
        assert (bare.status, await bare.json()) == (200, {"limit": 7})
    async with site.http.post("/v1/notes", headers=WRITER) as missing:
        assert (missing.status, (await missing.json())["code"]) == (400, "malformed")


async def test_a_large_body_is_read_beside_the_loop_and_within_a_share(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, threads, go_on = Inputs.read, [], threading.Event()

    def slowly(self: Inputs, *parts: Any) -> Any:
        threads.append(threading.get_ident())
        if threads[-1] != threading.main_thread().ident:
            assert go_on.wait(20)
        return read(self, *parts)

    monkeypatch.setattr(Inputs, "read", slowly)
    large = ["x" * LARGE_BODY_BYTES]
    asked = [
        asyncio.create_task(site.ask("POST", "/v1/anything", large))
        for _ in range(LARGE_BODIES_SHARE + 1)
    ]
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result()[0].status for task in done] == [429]
    answer, body = await site.ask("POST", "/v1/anything", ["small"])  # while a large one is read
    assert (answer.status, body) == (200, ["small"])
    go_on.set()
    for answer, body in await asyncio.gather(*waiting):
        assert (answer.status, body) == (200, large)
    assert threads.count(threading.get_ident()) == 1

"""TLS at the edge: what is spoken, what is refused, and certificates that are replaced."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mainspring.interfaces.http import connection
from mainspring.interfaces.http import server as http_server
from mainspring.interfaces.http.server import Server, bind
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.interfaces.http.tls import EdgeCertificate
from mainspring.kernel.clock import SystemClock
from mainspring.ports.database import StartError
from tests.certificates import ENCRYPTED, Files, pair
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import Site
from tests.interfaces.http.test_protocol import GET, KEY, POST, Wire


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers drain at the end of a test: nobody of it is about to ask again."""
    monkeypatch.setattr(http_server, "PARTING_S", 0.05)
    monkeypatch.setattr(connection, "PARTING_S", 0.05)


GOOD, OTHER = pair(), pair()
EXPIRED = pair(days=-1)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path).put(*GOOD)


class Edge:
    """A server that speaks TLS, in front of a site."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = int(server.url.rpartition(":")[2])

    async def wire(self, certificate: bytes = GOOD[0], **versions: ssl.TLSVersion) -> Wire:
        """Connect as a client that believes this certificate. Raises OSError."""
        trust = ssl.create_default_context(cadata=certificate.decode())
        trust.set_alpn_protocols(["h2", "http/1.1"])
        for bound, version in versions.items():
            setattr(trust, bound, version)
        async with asyncio.timeout(DEADLINE_S):
            return Wire(*await asyncio.open_connection("127.0.0.1", self.port, ssl=trust))

    async def plain(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))


@asynccontextmanager
async def edge(site: Site, settings: ServerSettings) -> AsyncIterator[Edge]:
    listener = bind("127.0.0.1", 0)
    server = Server(site.rest, settings, ids=site.runtime.ids, sockets=[listener])
    await server.start()
    try:
        yield Edge(server)
    finally:
        await server.drain(DEADLINE_S)


def spoken(wire: Wire) -> ssl.SSLObject:
    found: ssl.SSLObject = wire.writer.get_extra_info("ssl_object")
    return found


async def test_it_serves_over_tls_1_3_and_says_so(site: Site, files: Files) -> None:
    async with edge(site, files.settings(hsts_subdomains=True)) as tls:
        wire = await tls.wire()
        assert tls.server.url == f"https://127.0.0.1:{tls.port}"
        assert (spoken(wire).version(), spoken(wire).selected_alpn_protocol()) == (
            "TLSv1.3", "http/1.1",
        )  # fmt: skip
        await wire.say((GET + b"\r\n") * 3)
        answers = [await wire.answer() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200] * 3
        assert answers[0][1]["strict-transport-security"] == "max-age=31536000"
        body = b"[%s]" % b",".join([b"1"] * 200_000)
        await wire.say(POST + KEY + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert (await wire.answer())[2] == body
        await wire.say(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await wire.answer())[2] == body, "the end of a connection takes nothing along"
        assert await wire.closed()
        first = await tls.wire()
        await first.say(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000)
        assert (await first.answer())[0] == 431
        assert await first.closed()


async def test_older_tls_and_none_are_refused(site: Site, files: Files) -> None:
    """Without an answer, and without a place that stays taken."""
    async with edge(site, files.settings()) as tls:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await tls.wire(maximum_version=ssl.TLSVersion.TLSv1_2)
        wire = await tls.plain()
        await wire.say(GET + b"\r\n")
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in await wire.reader.read()
        await (last := await tls.wire()).say(GET + b"\r\n")
        assert (await last.answer())[0] == 200
        assert tls.server.shared.places.taken == 1
        assert not tls.server.shared.handshakes
    async with edge(site, files.settings(tls_minimum="1.2")) as tls:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            wire = await tls.wire(maximum_version=version)
            await wire.say(GET + b"\r\n")
            assert (await wire.answer())[0] == 200


async def test_a_replaced_pair_is_shown_and_a_bad_one_is_not(site: Site, files: Files) -> None:
    async with edge(site, files.settings()) as tls:
        open_before = await tls.wire(GOOD[0])
        with capture_logs() as logs:
            for bad in ((OTHER[0], GOOD[1]), (b"", OTHER[1]), (OTHER[0], b"x"), EXPIRED):
                files.put(*bad)
                for _ in range(2):
                    await tls.wire(GOOD[0])
                (said,) = tls.server.degraded()
                assert said.startswith(f"certificate: {files.certificate.parent}/site.")
            files.key.unlink()
            await tls.wire(GOOD[0])
            assert [line["event"] for line in logs] == ["certificate_not_taken"] * 5
        Files(files.key.parent).put(*OTHER)
        await tls.wire(OTHER[0])
        assert tls.server.degraded() == []
        with pytest.raises(ssl.SSLError):
            await tls.wire(GOOD[0])
        await open_before.say(GET + b"\r\n")
        assert (await open_before.answer())[0] == 200


@pytest.mark.parametrize(
    ("certificate", "key", "mode", "why"),
    [
        (OTHER[0], GOOD[1], 0o600, r"site\.key: is not the key of .*site\.crt"),
        (b"", GOOD[1], 0o600, r"site\.crt: does not begin with a certificate in PEM"),
        (GOOD[0], b"", 0o600, r"site\.key: does not hold a key in PEM that goes with"),
        (*EXPIRED, 0o600, r"site\.crt: the certificate expired at 20"),
        (*GOOD, 0o644, "mode 0644 lets others in; it is a key: chmod 600"),
        (*GOOD, 0o660, "mode 0660 lets others in"),
        (*pair(encryption=ENCRYPTED), 0o600, r"site\.key: is encrypted"),
        (b"x" * 300_000, GOOD[1], 0o600, "so no certificate chain"),
    ],
)
def test_a_pair_that_is_no_good_stops_the_start(
    files: Files, certificate: bytes, key: bytes, mode: int, why: str
) -> None:
    files.put(certificate, key).key.chmod(mode)
    with pytest.raises(StartError, match=why) as refused:
        EdgeCertificate(files.settings(), SystemClock())
    assert "\n" not in str(refused.value)
    files.key.unlink()
    with pytest.raises(
        StartError, match=r"cannot be read: No such file|certificate (in PEM|chain)|expired"
    ):
        EdgeCertificate(files.settings(), SystemClock())


def test_half_a_pair_is_no_setting() -> None:
    with pytest.raises(ValueError, match="go together"):
        ServerSettings(tls_key="site.key")


async def test_who_shakes_no_hand_holds_a_place_for_a_while(site: Site, files: Files) -> None:
    async with edge(site, files.settings(connections_per_address_max=2)) as tls:
        shared = tls.server.shared
        silent = [await tls.plain() for _ in range(2)]
        assert await (await tls.plain()).closed(), "one too many"
        assert (len(shared.handshakes), shared.places.taken) == (2, 2)
        for wire in silent:
            wire.writer.close()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait(shared.handshakes)
        assert shared.places.taken == 0
        wire = await tls.wire()
        await wire.say(GET + b"\r\n")
        assert (await wire.answer())[0] == 200
        assert shared.places.taken == 1
    async with edge(site, files.settings(header_timeout_s=0.05)) as tls:
        assert await (await tls.plain()).closed(), "too slow"


class Late(socket.socket):
    """A listener to which somebody connects at the moment it is about to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.peer.done():
            self.peer.set_result(socket.create_connection(self.getsockname()))
        return super().accept()


async def test_who_connects_at_the_very_end_shakes_hands(site: Site, files: Files) -> None:
    """What waits at a listener is reset when that is closed."""
    listener = Late()
    listener.bind(("127.0.0.1", 0))
    server = Server(site.rest, files.settings(), ids=site.runtime.ids, sockets=[listener])
    await server.start()
    draining = asyncio.create_task(server.drain(DEADLINE_S))
    async with asyncio.timeout(DEADLINE_S):
        peer = await listener.peer
        trust = ssl.create_default_context(cadata=GOOD[0].decode())
        wire = Wire(*await asyncio.open_connection(
            sock=peer, ssl=trust, server_hostname="127.0.0.1"
        ))  # fmt: skip
    assert spoken(wire).version() == "TLSv1.3"
    await draining


async def test_a_drain_does_not_wait_for_who_shakes_no_hand(site: Site, files: Files) -> None:
    async with edge(site, files.settings()) as tls:
        silent, idle = await tls.plain(), await tls.wire()
        await idle.say(GET + b"\r\n")
        assert (await idle.answer())[0] == 200
        await tls.server.drain(DEADLINE_S)
        assert await silent.closed()
        assert await idle.closed()
        assert not tls.server.shared.handshakes

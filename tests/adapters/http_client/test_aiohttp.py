import asyncio
import datetime
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainspring.adapters.http_client.aiohttp import AiohttpWeb, LookUp
from mainspring.ports.http_client import ANSWER_BYTES_MAX, WebAnswer, WebError

PUBLIC = "93.184.216.34"


class Names:
    """A resolver whose answers change: each look-up takes the next one, the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Receiver:
    """A real HTTP server that keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.peers: list[Any] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b"thanks"
        self.held = asyncio.Event()
        self.held.set()
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.peers.append(request.transport and request.transport.get_extra_info("peername"))
        self.bodies.append(await request.read())
        await self.held.wait()
        return web.Response(status=self.status, headers=self.headers, body=self.body)

    async def start(self, tls: ssl.SSLContext | None = None) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server(ssl=tls)
        assert server.port is not None
        self.port = server.port
        return server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    server = await found.start()
    yield found
    found.held.set()
    await server.close()


@asynccontextmanager
async def client(
    look_up: LookUp | None = None, *, allow_private: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[AiohttpWeb]:
    found = AiohttpWeb(
        allow_private=allow_private, tls=tls, look_up=look_up or Names(["127.0.0.1"])
    )
    await found.open()
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> "Wire":
    """Catches connections where they leave: no packet goes to a public address."""
    return Wire(monkeypatch, asyncio.get_running_loop())


class Wire:
    def __init__(self, patch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop) -> None:
        self.connected: list[str] = []
        self.leads_to: int | None = None
        self._connect = loop.sock_connect
        patch.setattr(loop, "sock_connect", self.connect)

    async def connect(self, sock: socket.socket, address: Any) -> None:
        self.connected.append(address[0])
        if self.leads_to is None:
            raise OSError(101, "Network is unreachable")
        await self._connect(sock, ("127.0.0.1", self.leads_to))


async def failure(sender: AiohttpWeb, url: str, *, timeout_s: float = 5.0) -> WebError:
    with pytest.raises(WebError) as caught:
        await sender.post(url, b"{}", {}, timeout_s=timeout_s)
    # Shown to whoever chose the URL, who is not to learn where its name leads.
    assert not re.search(r"([0-9]+\.){3}|:[0-9]|::|\[|Errno", caught.value.detail)
    return caught.value


async def test_a_post_arrives_as_it_was_given(receiver: Receiver) -> None:
    receiver.headers = {"X-Thing": "yes"}
    async with client() as sender:
        answer = await sender.post(
            f"http://hooks.example:{receiver.port}/in?a=b%20c", b'{"a":1}',
            {"Content-Type": "application/json", "webhook-id": "evt_1"}, timeout_s=5,
        )  # fmt: skip
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (200, b"thanks", "yes")
    (request,) = receiver.requests
    assert request.method == "POST"
    assert request.raw_path == "/in?a=b%20c"
    assert request.host == f"hooks.example:{receiver.port}"
    assert request.headers["webhook-id"] == "evt_1"
    assert "Cookie" not in request.headers
    assert receiver.bodies == [b'{"a":1}']


async def test_connections_are_reused_and_a_name_is_looked_up_once(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])
    async with client(names) as sender:
        for _ in range(5):
            await sender.post(f"http://hooks.example:{receiver.port}/", b"", {}, timeout_s=5)
    assert names.asked == ["hooks.example"]
    assert len(set(receiver.peers)) == 1


async def test_a_name_that_rebinds_is_looked_up_once_and_never_reached_inside(
    receiver: Receiver, wire: Wire
) -> None:
    """The first answer is public and passes the check; a second look-up would lead inside."""
    names = Names([PUBLIC], ["127.0.0.1"])
    url = f"http://rebind.example:{receiver.port}/"
    async with client(names, allow_private=False) as sender:
        error = await failure(sender, url)
        assert error.code == "connect_failed"
        assert names.asked == ["rebind.example"]
        assert wire.connected == [PUBLIC]
    # A later connection looks again, and is refused: nothing is connected at all.
    async with client(names, allow_private=False) as sender:
        error = await failure(sender, url)
        assert error.code == "name_not_resolved"
    assert wire.connected == [PUBLIC]
    assert receiver.requests == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, wire: Wire
) -> None:
    wire.leads_to = receiver.port
    async with client(Names([PUBLIC]), allow_private=False) as sender:
        answer = await sender.post("http://hooks.example/", b"", {}, timeout_s=5)
    assert answer.status == 200
    assert wire.connected == [PUBLIC]
    assert receiver.requests[0].host == "hooks.example"


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1"], ["::ffff:169.254.169.254"], ["fe80::1%eth0"],
        ["64:ff9b::7f00:1"], ["100.64.0.1"],
    ],
)  # fmt: skip
async def test_a_name_with_any_private_address_is_like_one_that_is_not_there(
    answer: list[str], wire: Wire
) -> None:
    async def unknown(host: str) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    told = []
    for look_up in (Names(answer), unknown, Names([])):
        async with client(look_up, allow_private=False) as sender:
            error = await failure(sender, "http://hooks.example/")
        told.append((error.code, error.detail))
    assert told == [("name_not_resolved", told[0][1])] * 3
    assert wire.connected == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://2130706433"]
)
async def test_an_address_in_the_url_is_checked_too(url: str, wire: Wire) -> None:
    async with client(allow_private=False) as sender:
        assert (await failure(sender, url)).code in {"address_refused", "url_refused"}
    assert wire.connected == []


async def test_the_last_gate_holds_when_all_before_it_fail(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the resolver to let a private address through, the socket is still never made."""
    from mainspring.adapters.http_client import aiohttp as adapter

    original = adapter.CheckedResolver.__init__

    def careless(self: Any, look_up: LookUp, *, allow_private: bool) -> None:
        original(self, look_up, allow_private=True)

    monkeypatch.setattr(adapter.CheckedResolver, "__init__", careless)
    async with client(Names(["127.0.0.1"]), allow_private=False) as sender:
        assert (await failure(sender, "http://hooks.example/")).code == "address_refused"
    assert wire.connected == []


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"Location": "http://127.0.0.1:1/"}
    async with client() as sender:
        answer = await sender.post(f"http://a.example:{receiver.port}/", b"", {}, timeout_s=5)
    assert answer.status == 302
    assert len(receiver.requests) == 1


async def test_proxies_of_the_environment_are_ignored(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with client() as sender:
        answer = await sender.post(f"http://a.example:{receiver.port}/", b"", {}, timeout_s=5)
    assert answer.status == 200


async def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.headers = {"Set-Cookie": "a=b; Path=/"}
    async with client() as sender:
        for _ in range(2):
            await sender.post(f"http://a.example:{receiver.port}/", b"", {}, timeout_s=5)
    assert all("Cookie" not in request.headers for request in receiver.requests)


async def test_a_long_answer_is_cut_and_costs_its_connection(receiver: Receiver) -> None:
    receiver.body = b"x" * (ANSWER_BYTES_MAX * 3)
    async with client() as sender:
        url = f"http://a.example:{receiver.port}/"
        answers = [await sender.post(url, b"", {}, timeout_s=5) for _ in range(2)]
    assert [len(answer.body) for answer in answers] == [ANSWER_BYTES_MAX] * 2
    assert len(set(receiver.peers)) == 2


async def test_a_compressed_answer_is_not_unpacked(receiver: Receiver) -> None:
    receiver.headers, receiver.body = {"Content-Encoding": "gzip"}, b"\x1f\x8b not gzip"
    async with client() as sender:
        answer = await sender.post(f"http://a.example:{receiver.port}/", b"", {}, timeout_s=5)
    assert answer.body == b"\x1f\x8b not gzip"
    assert receiver.requests[0].headers["Accept-Encoding"] == "identity"


async def test_a_slow_answer_times_out(receiver: Receiver) -> None:
    receiver.held.clear()
    async with client() as sender:
        error = await failure(sender, f"http://a.example:{receiver.port}/", timeout_s=0.2)
    assert error.code == "timed_out"


async def test_a_look_up_that_hangs_times_out() -> None:
    async def hang(host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with client(hang) as sender:
        assert (await failure(sender, "http://a.example/", timeout_s=0.2)).code == "timed_out"


async def test_a_name_that_does_not_exist() -> None:
    async def unknown(host: str) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    async with client(unknown) as sender:
        assert (await failure(sender, "http://a.example/")).code == "name_not_resolved"
    async with client(Names([])) as sender:
        assert (await failure(sender, "http://a.example/")).code == "name_not_resolved"


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
        async with client() as sender:
            error = await failure(sender, f"http://a.example:{taken.getsockname()[1]}/")
    assert error.code == "connect_failed"


async def test_an_answer_that_is_not_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 smtp ready\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, client() as sender:
        port = server.sockets[0].getsockname()[1]
        assert (await failure(sender, f"http://a.example:{port}/")).code == "connection_lost"


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a self-signed certificate: the server's context, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    trusting = ssl.create_default_context(cadata=pem.read_text())
    return server, trusting


async def test_tls_is_verified_for_the_name_and_not_the_address(tmp_path: Path) -> None:
    served, trusting = certificates(tmp_path, "hooks.example")
    asked: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: asked.append(name)
    receiver = Receiver()
    server = await receiver.start(served)
    try:
        async with client(tls=trusting) as sender:
            url = f"https://hooks.example:{receiver.port}/"
            answer: WebAnswer = await sender.post(url, b"", {}, timeout_s=5)
            assert answer.status == 200
            assert asked == ["hooks.example"]
            other = await failure(sender, f"https://other.example:{receiver.port}/")
            assert other.code == "tls_failed"
        async with client() as sender:  # with the system's own trust
            assert (await failure(sender, url)).code == "tls_failed"
    finally:
        await server.close()
    assert len(receiver.requests) == 1

"""A real SMTP server on loopback, with certificates of its own, that does what a test tells it."""

import asyncio
import datetime
import email
import email.policy
import ipaddress
import re
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainspring.ports.mail import MailMessage

USER, SECRET = "shop", "p@ss/wörd"
SENDER = "The Shop <shop@example.com>"


class SmtpServer:
    """Use it as ``async with SmtpServer(folder) as server``; ``server.mail`` is what it took.

    ``replies`` are given instead of taking what comes: by command (``RCPT``, ``DATA``), the first
    first. With ``loses_answers`` it takes as many messages and hangs up instead of saying so.
    """

    def __init__(self, folder: Path, way: str = "smtp+starttls", host: str = "127.0.0.1") -> None:
        self.way = way
        self.host = host
        self.mail: list[EmailMessage] = []
        self.replies: dict[str, list[str]] = {}
        self.loses_answers = 0
        self.logins = 0
        self.connections = self.connections_most = 0
        self.encrypted: list[bool] = []
        self.ca = folder / f"ca-{id(self)}.pem"
        self._context = certified(self.ca, host)
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self.way}://{USER}@{self.host}:{self.port}?ca={self.ca}"

    async def __aenter__(self) -> Self:
        tls = self._context if self.way == "smtps" else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, self.host, self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def _protocol(self) -> SMTP:
        starttls = self.way == "smtp+starttls"
        plain = self.way == "smtp+plain"
        return _Counted(
            self,
            hostname="mail.example.com",
            enable_SMTPUTF8=True,
            tls_context=self._context if starttls else None,
            require_starttls=starttls,
            authenticator=self._authenticate,
            auth_required=not plain,
            auth_require_tls=starttls,
        )

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        self.logins += 1
        right = isinstance(given, LoginPassword) and given == LoginPassword(
            USER.encode(), SECRET.encode()
        )
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self._reply("RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if reply := self._reply("DATA"):
            return reply
        assert isinstance(envelope.content, bytes)
        found = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
        assert isinstance(found, EmailMessage)
        self.mail.append(found)
        self.encrypted.append(session.ssl is not None or self.way == "smtps")
        if self.loses_answers:
            self.loses_answers -= 1
            server.transport.abort()
        return "250 OK"

    def _reply(self, command: str) -> str:
        waiting = self.replies.get(command, [])
        return waiting.pop(0) if waiting else ""

    async def sent(self) -> list[MailMessage]:
        """What it took, as the port's messages."""
        return [_read(mail) for mail in self.mail]


class _Counted(SMTP):
    """Says how many connections there are at a time."""

    event_handler: SmtpServer

    def connection_made(self, transport: Any) -> None:
        # TLS that begins later makes a connection of the same protocol once more.
        if self.transport is None:
            server = self.event_handler
            server.connections += 1
            server.connections_most = max(server.connections, server.connections_most)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.connections -= 1
        super().connection_lost(error)


def _read(mail: EmailMessage) -> MailMessage:
    def part(kind: str) -> str:
        found = mail.get_body((kind,))
        return "" if found is None else found.get_content().replace("\r\n", "\n")

    name = re.fullmatch(r"<(.+)@example\.com>", mail["Message-ID"])
    assert name is not None
    return MailMessage(name[1], mail["To"], mail["Subject"], part("plain"), html=part("html"))


def certified(ca: Path, host: str) -> ssl.SSLContext:
    """Make a certificate for the host that vouches for itself, and what serves with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(host))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    keyfile = ca.with_suffix(".key")
    keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, keyfile)
    return context

"""Mail over SMTP (RFC 5321), encrypted unless the URL says otherwise.

``smtp+starttls://user:password@host:587?from=shop@example.com`` upgrades before anything is said,
``smtps://`` is TLS from the first byte, ``smtp+plain://`` is for a relay on a network of one's own.
``ca`` names a file of certificates to trust instead of the system's.

A connection for each message: mails are few, and a pool would have to notice when a server hung up.
"""

import asyncio
import contextlib
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, parseaddr
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
import msgspec
from aiosmtplib import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from mainspring.adapters.outage import Outage
from mainspring.kernel.clock import Clock
from mainspring.ports.database import StartError
from mainspring.ports.mail import MailError, MailMessage, MailRefused
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

STARTTLS, TLS, PLAIN = "smtp+starttls", "smtps", "smtp+plain"
PORTS = {STARTTLS: 587, TLS: 465, PLAIN: 25}
REPLY_S = 20.0  # for a server to answer one command
SEND_S = 45.0  # for one message from the first packet on; a job has a minute
CONNECTIONS_MAX = 8  # at a time and process: providers hang up on those who open more
REPLY_CHARS_MAX = 300  # of what a server says that is passed on

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class MailServer(msgspec.Struct, frozen=True):
    """Where mails go, and as whom."""

    way: str
    host: str
    port: int
    user: str
    password: str
    sender: str
    ca: str = ""


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "SmtpMail":
    """Send through the server that a URL names. Raises StartError."""
    return SmtpMail(server_of(url), sources.clock)


def server_of(url: str) -> MailServer:
    """Read a URL. Raises StartError, which shows no password."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if unknown := query.keys() - {"from", "ca"}:
        raise StartError(f"mail: the URL takes ca and from behind its '?', not {min(unknown)!r}")
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise StartError("mail: the port in the URL must be a number from 1 to 65535") from None
    if not parts.hostname or parts.path.strip("/"):
        raise StartError(f"mail: which server? Write {parts.scheme}://user@host:{port}")
    server = MailServer(
        way=parts.scheme,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=query.get("from", [""])[0],
        ca=query.get("ca", [""])[0],
    )
    if "@" not in parseaddr(server.sender)[1] or _UNPRINTABLE.search(server.sender):
        raise StartError('mail: who are mails from? Set [mail] from = "Shop <shop@example.com>"')
    if server.user and not server.password:
        raise StartError(f"mail: {server.user} has no password: set [mail] password")
    if server.way == PLAIN and server.user and not _is_loopback(server.host):
        raise StartError(
            f"mail: {PLAIN} would send the password to {server.host} unencrypted: "
            f"use {STARTTLS} or {TLS}"
        )
    return server


class SmtpMail:
    """Fills the mail port from an SMTP server. Nothing is kept here of what was sent."""

    def __init__(self, server: MailServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._tls = None if server.way == PLAIN else _context(server)
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._outage = Outage("mail")

    async def send(self, message: MailMessage) -> None:
        """Return once the server has taken the message. Raises MailError, MailRefused.

        What is sent again bears the same ``Message-ID``: a server that took it the first time, and
        whose answer was lost, can tell.
        """
        mail = composed(message, self._server.sender, self._clock.now_ms())
        async with self._turns, self._connected(message.to) as client:
            try:
                await client.send_message(mail)
            except (SMTPSenderRefused, SMTPDataError, SMTPRecipientsRefused) as error:
                raise _verdict(error, message.to) from None
            except SMTPNotSupported:
                raise MailRefused(
                    "the server takes no address with letters beyond ASCII (SMTPUTF8)"
                ) from None

    async def forget(self, person: str) -> None:
        """Do nothing: what was sent is kept by whoever received it."""

    async def check(self) -> str:
        """Connect and log in; say where mails go. Raises MailError."""
        async with self._connected("") as client:
            await client.noop()
        server = self._server
        return f"{server.way}://{server.host}:{server.port}, from {parseaddr(server.sender)[1]}"

    @contextlib.asynccontextmanager
    async def _connected(self, to: str) -> AsyncIterator[aiosmtplib.SMTP]:
        """Connect, encrypt and log in. Whatever fails is a MailError and worth another try."""
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            # What the machine is called is nobody's business, and asking DNS for it may hang.
            local_hostname=parseaddr(server.sender)[1].rpartition("@")[2],
            timeout=REPLY_S,
            use_tls=server.way == TLS,
            start_tls=server.way == STARTTLS,
            tls_context=self._tls,
        )
        try:
            async with asyncio.timeout(SEND_S):
                await client.connect()
                yield client
                with contextlib.suppress(SMTPException, OSError):  # it was taken all the same
                    await client.quit()
        except (SMTPException, OSError, TimeoutError) as error:
            told = f"{server.host}:{server.port}: {_said(error, to)}"
            self._outage.failed(told)
            raise MailError(told) from None
        finally:
            client.close()
        self._outage.worked()


def composed(message: MailMessage, sender: str, now_ms: int) -> EmailMessage:
    """Write a message as it is sent. Raises MailRefused for what would be another message."""
    if _ID.fullmatch(message.id) is None:
        raise ValueError(f"{message.id!r} cannot name a message")
    for name, value in (("subject", message.subject), ("address", message.to)):
        if _UNPRINTABLE.search(value):
            raise MailRefused(f"the {name} holds a line break or another control character")
    name, address = parseaddr(sender)
    mail = EmailMessage(policy=SMTP_POLICY)
    local, _, domain = message.to.rpartition("@")
    mail["From"] = Address(name, addr_spec=address)
    mail["To"] = Address(username=local, domain=domain)
    mail["Subject"] = message.subject
    mail["Date"] = formatdate(now_ms / 1000, usegmt=True)
    mail["Message-ID"] = f"<{message.id}@{address.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
        mail.set_boundary(f"=_{message.id}")
    return mail


def _context(server: MailServer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=server.ca or None)
    except OSError as error:
        raise StartError(f"mail: ca={server.ca}: {error.strerror or error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _verdict(error: SMTPException, to: str) -> MailError:
    """5xx about the message itself is final (RFC 5321, 4.2.1); everything else is not."""
    reason: SMTPException = error
    if isinstance(error, SMTPRecipientsRefused):
        reason = error.recipients[0]
    final = isinstance(reason, SMTPResponseException) and 500 <= reason.code < 600
    return (MailRefused if final else MailError)(_said(reason, to))


def _said(error: BaseException, to: str) -> str:
    """What went wrong, without the address: it is written where erasing a person does not reach."""
    if isinstance(error, SMTPResponseException):
        text = f"{error.code} {error.message}"
    elif isinstance(error, TimeoutError):
        text = "did not answer in time"
    else:
        text = str(error) or type(error).__name__
    if to:
        text = re.sub(re.escape(to), "<address>", text, flags=re.IGNORECASE)
    return _UNPRINTABLE.sub(" ", text)[:REPLY_CHARS_MAX]

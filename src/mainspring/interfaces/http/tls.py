"""TLS at the edge: the server's certificate, and each connection's handshake.

The certificate and its key are files. They are looked at again at every handshake, and read when
they were replaced: renewing them takes no restart and no signal. A pair that is not good is not
taken, and the last good one is shown on.
"""

import asyncio
import os
import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509

from mainspring.interfaces.http.connection import HttpConnection, Shared
from mainspring.interfaces.http.lingering import UNREAD_S
from mainspring.interfaces.http.server_settings import ServerSettings
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure
from mainspring.ports.database import StartError

CHAIN_BYTES_MAX = 1 << 18
ACCEPTED_AT_ONCE = 64  # before others have their turn
ACCEPT_AGAIN_S = 1.0  # after no file could be opened
PROTOCOLS = ("http/1.1",)  # what it says it speaks (ALPN, RFC 7301)
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

log = structlog.get_logger("mainspring.http")


class EdgeCertificate:
    """The pair of files that the server shows: the newest that is good, or the last that was."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        """Take what the settings name. Raises StartError where it is no good."""
        self._certificate = Path(settings.tls_certificate)
        self._key = Path(settings.tls_key)
        self._minimum = _VERSIONS[settings.tls_minimum]
        self._clock = clock
        self._failed = ""
        self._looked_at = self._version()
        self._context, self.not_after = self._read()

    @property
    def context(self) -> ssl.SSLContext:
        """What a handshake that begins now goes by."""
        self._look()
        return self._context

    def failing(self) -> str | None:
        """Say what is wrong with the files that lie there now, or that the certificate ended."""
        self._look()
        if self._clock.now_ms() >= self.not_after.timestamp() * 1000:
            return f"{self._certificate}: the certificate expired at {self.not_after:%F %T} UTC"
        return self._failed or None

    def _look(self) -> None:
        version = self._version()
        if version == self._looked_at:
            return
        self._looked_at = version
        try:
            self._context, self.not_after = self._read()
        except StartError as error:
            self._failed = str(error)
            log.error("certificate_not_taken", error=self._failed)
        else:
            self._failed = ""
            log.info("certificate_taken", not_after=self.not_after.isoformat())

    def _version(self) -> tuple[int, ...]:
        """Tell one version of the pair from the next."""
        version: list[int] = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:  # whoever reads it is told why
                version.append(0)
            else:
                version += (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return tuple(version)

    def _read(self) -> tuple[ssl.SSLContext, datetime]:
        not_after = _not_after(self._certificate)
        if self._clock.now_ms() >= not_after.timestamp() * 1000:
            raise StartError(
                f"{self._certificate}: the certificate expired at {not_after:%F %T} UTC: renew it"
            )
        _require_private(self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum  # used by OpenSSL
        context.set_alpn_protocols(list(PROTOCOLS))
        try:
            context.load_cert_chain(self._certificate, self._key, self._no_password)
        except ssl.SSLError as error:
            why = (
                "is not the key of"
                if error.reason == "KEY_VALUES_MISMATCH"
                else "does not hold a key in PEM that goes with"
            )
            raise StartError(f"{self._key}: {why} {self._certificate}") from None
        except OSError as error:
            raise StartError(f"{self._key}: cannot be read: {error.strerror}") from None
        return context, not_after

    def _no_password(self) -> str:
        raise StartError(
            f"{self._key}: is encrypted, and nobody is there to type its password: decrypt it "
            "(openssl pkey) and let nobody else read the file"
        )


def _not_after(path: Path) -> datetime:
    """Return when the first certificate of a chain ends. Raises StartError."""
    try:
        with path.open("rb") as file:
            chain = file.read(CHAIN_BYTES_MAX + 1)
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from None
    if len(chain) > CHAIN_BYTES_MAX:
        raise StartError(f"{path}: larger than {CHAIN_BYTES_MAX} bytes, so no certificate chain")
    try:
        return x509.load_pem_x509_certificate(chain).not_valid_after_utc.astimezone(UTC)
    except ValueError:
        raise StartError(
            f"{path}: does not begin with a certificate in PEM: the server's own stands first, "
            "then those that lead to the authority's"
        ) from None


def _require_private(path: Path) -> None:
    """Refuse a key that others may read. Root's may be shown to a group, as secrets are mounted."""
    try:
        status = path.stat()
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from None
    group = 0 if status.st_uid == 0 and os.geteuid() != 0 else stat.S_IRWXG
    if status.st_mode & (stat.S_IRWXO | group):
        mode = stat.S_IMODE(status.st_mode)
        raise StartError(f"{path}: mode {mode:04o} lets others in; it is a key: chmod 600 {path}")


class TlsListener:
    """Accepts who comes to a listening socket; each holds a place before it shakes hands.

    One too many is hung up on: there is no way yet to tell it why. It is the socket that is
    accepted from, and no server of the event loop, which counts nobody before the handshake.
    """

    def __init__(
        self, shared: Shared, listener: socket.socket, certificate: EdgeCertificate
    ) -> None:
        self._shared = shared
        self._listener = listener
        self._certificate = certificate
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Begin to accept."""
        self._listener.listen(backlog)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept nobody any more; those who shake hands by now go on."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                peer, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file is left to open: others are closed meanwhile
                log.error("not_accepted", error=str(error))
                self._loop.remove_reader(self._listener)
                self._again = self._loop.call_later(
                    ACCEPT_AGAIN_S, self._loop.add_reader, self._listener, self._accept
                )
                return
            self.take(peer)

    def take(self, peer: socket.socket) -> asyncio.Task[None] | None:
        """Shake hands with who has connected. Returns None for one too many."""
        peer.setblocking(False)
        connection = HttpConnection(self._shared)
        try:
            connection.meet(peer.getpeername(), peer.getsockname())
        except (Failure, OSError):
            peer.close()
            return None
        task = self._loop.create_task(self._shake(peer, connection))
        self._shared.handshakes.add(task)
        task.add_done_callback(self._shaken)
        return task

    async def _shake(self, peer: socket.socket, connection: HttpConnection) -> None:
        timeout_s = self._shared.bounds.header_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._loop.connect_accepted_socket(
                    lambda: connection,
                    peer,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=UNREAD_S,
                )
        except (OSError, TimeoutError) as error:  # not TLS, an older one, or it went away
            log.debug("handshake_failed", error=str(error), address=connection.address)
            connection.give_back_place()
        except BaseException:
            connection.give_back_place()
            raise

    def _shaken(self, task: asyncio.Task[None]) -> None:
        self._shared.handshakes.discard(task)
        self._shared.left()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handshake_failed", exc_info=error)

"""Who a process is to its peers over gRPC: its certificate at each handshake, and who the other is.

Both ends show certificates that lead to the same roots. A listener learns who calls from the one
URI of its caller's certificate (SPIFFE); whoever calls has the host name in the certificate of the
service that it wants compared, since gRPC looks at no URI there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import structlog

from mainspring.adapters.peers import certificate_files
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.certificates import (
    NotValid,
    dns_name_of,
    verify,
    verify_shown,
)
from mainspring.kernel.clock import Clock
from mainspring.kernel.lru_cache import LruCache
from mainspring.ports.certificates import LeafCertificate
from mainspring.ports.database import StartError

LOOK_EVERY_S = 1.0  # whether the files were replaced
VERIFIED_S = 5.0  # after which what a caller showed is verified again
CALLERS_MAX = 256  # whose certificates are remembered as verified


class OwnCertificate:
    """The files of this process, read again when they were replaced; the last good ones hold."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._failed = ""
        self._files = certificate_files.read(folder)
        self.leaf = self._verified(self._files)
        self._looked_s = clock.monotonic_s()
        self._callers: LruCache[bytes, _Caller] = LruCache(CALLERS_MAX)

    def _verified(self, files: CertificateFiles) -> LeafCertificate:
        """Return what the files say. Raises StartError where no peer would take them."""
        try:
            return verify(files, self._clock.now_ms())
        except NotValid as error:
            raise StartError(f"{self._folder}: {error}") from error

    @property
    def files(self) -> CertificateFiles:
        """The newest files that are good, or the last ones that were: the same while they are."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            try:
                files = certificate_files.read(self._folder)
                if files != self._files:
                    self.leaf = self._verified(files)
                    self._files = files
                self._failed = ""
            except StartError as error:
                if not self._failed:
                    structlog.get_logger().error("certificate_not_taken", error=str(error))
                self._failed = str(error)
        return self._files

    @property
    def trust_domain(self) -> str:
        """Whose services these are."""
        return self.leaf.identity.removeprefix("spiffe://").partition("/")[0]

    def expires_s(self) -> float:
        """Return when the certificate that is shown ends, in seconds since the Unix epoch."""
        self.files  # noqa: B018 - looks again
        return self.leaf.not_after.timestamp()

    def failing(self) -> str | None:
        """Say what is wrong with the files that lie there now, or that they have ended."""
        self.files  # noqa: B018 - looks again
        if self.leaf.not_after.timestamp() * 1000 <= self._clock.now_ms():
            return f"the certificate of {self.leaf.identity} has expired"
        return self._failed or None

    # What gRPC takes

    def server_credentials(self) -> Any:
        """Return what a server takes, which asks for the files at every handshake."""
        return reloaded_credentials(self.files, lambda: self.files)

    def channel_credentials(self) -> Any:
        """Return what a channel takes: these files, and no later ones."""
        files = self.files
        return grpc.ssl_channel_credentials(files.roots, files.key, files.chain)

    def channel_options(self, service: str) -> list[tuple[str, Any]]:
        """Return the options of a channel that wants this service and no other."""
        return [
            ("grpc.ssl_target_name_override", dns_name_of(self.trust_domain, service)),
            # A pool that channels share would answer with a connection of another certificate.
            ("grpc.use_local_subchannel_pool", 1),
        ]

    # Who calls

    def shown_by(self, context: Any) -> bytes:
        """Return the certificates, PEM, that whoever calls showed when it connected."""
        told = context.auth_context()
        shown: list[bytes] = told.get("x509_pem_cert_chain") or told.get("x509_pem_cert") or [b""]
        return shown[0]

    def caller(self, shown: bytes) -> str | None:
        """Return which service of this trust domain showed this; None where it is none of it.

        A connection outlives what was shown at its beginning, so that is verified again: by the
        roots there are now, and whether it has ended. What was found holds for seconds.
        """
        now_s, files = self._clock.monotonic_s(), self.files
        known = self._callers.get(shown)
        if known is not None and known.files is files and now_s < known.until_s:
            return known.service
        service = self._verified_caller(shown, files)
        self._callers.put(shown, _Caller(service, files, now_s + VERIFIED_S))
        return service

    def _verified_caller(self, shown: bytes, files: CertificateFiles) -> str | None:
        try:
            identity = verify_shown(shown, files.roots, self._clock.now_ms()).identity
        except NotValid as error:
            structlog.get_logger("mainspring.peers").warning("peer_not_taken", why=str(error))
            return None
        own = f"spiffe://{self.trust_domain}/"
        return identity.removeprefix(own) if identity.startswith(own) else None


class _Caller(NamedTuple):
    """Which service showed a certificate, by these files and for so long."""

    service: str | None
    files: CertificateFiles
    until_s: float


def reloaded_credentials(first: CertificateFiles, newest: Callable[[], CertificateFiles]) -> Any:
    """Return what a server takes that asks for its files at every handshake.

    It is told of those that changed only: gRPC frees what it had, also under a handshake that
    another thread is at (https://github.com/grpc/grpc/issues/36693), and ends the process then.
    """
    shown = first

    def configuration(files: CertificateFiles) -> Any:
        return grpc.ssl_server_certificate_configuration([(files.key, files.chain)], files.roots)

    def changed() -> Any:
        nonlocal shown
        files = newest()
        if files == shown:
            return None
        shown = files
        return configuration(files)

    return grpc.dynamic_ssl_server_credentials(
        configuration(first), changed, require_client_authentication=True
    )

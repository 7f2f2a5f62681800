"""Who a process is to its peers over gRPC: its certificate at each handshake, and who the other is.

Both ends show certificates that lead to the same roots. A listener learns who calls from the one
URI of its caller's certificate (SPIFFE); whoever calls has the host name in the certificate of the
service that it wants compared, since gRPC looks at no URI there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import structlog

from mainspring.adapters.peers import certificate_files
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.certificates import NotValid, dns_name_of, verify
from mainspring.kernel.clock import Clock
from mainspring.ports.certificates import LeafCertificate
from mainspring.ports.database import StartError

LOOK_EVERY_S = 1.0  # whether the files were replaced


class OwnCertificate:
    """The files of this process, read again when they were replaced; the last good ones hold."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._failed = ""
        self._files = certificate_files.read(folder)
        self.leaf = self._verified(self._files)
        self._looked_s = clock.monotonic_s()

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

    def caller_of(self, context: Any) -> str | None:
        """Return which service of this trust domain calls; None where it is none of it."""
        names: list[bytes] = context.auth_context().get("x509_subject_alternative_name", [])
        own = f"spiffe://{self.trust_domain}/"
        found = [name.decode() for name in names if name.startswith(b"spiffe://")]
        if len(found) != 1 or not found[0].startswith(own):
            return None
        return found[0].removeprefix(own)


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

"""An authority for development: a root whose key stays in one file, and certificates it signs.

``authority.json`` holds the root that signs and, while one takes the place of another, the other.
Renewing a root is three steps with time between them for every process to read its files again:
*add* the next root, which is trusted and signs nothing yet; *switch*, so that it signs and the one
before is still trusted; *drop* the one before. In each step, whoever has read the new files and
whoever has not take each other's certificates.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography import x509

from mainspring.adapters import private_file
from mainspring.adapters.peers import certificate_files
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.certificates import (
    SERVICE,
    TRUST_DOMAIN,
    NotValid,
    Pair,
    identity_of,
    make_leaf,
    make_root,
    verify,
)
from mainspring.kernel.clock import Clock
from mainspring.ports.certificates import CertificateState, RootStep
from mainspring.ports.database import StartError

FILE = "authority.json"
HOURS = 24
HOURS_MAX = 24 * 366
SERVICES_MAX = 200  # in one directory


class AuthorityRoots(msgspec.Struct, frozen=True):
    """What ``authority.json`` holds: whose it is, and its roots with their keys."""

    trust_domain: str
    signing: Pair
    next: Pair | None = None
    previous: bytes | None = None

    @property
    def roots(self) -> bytes:
        """Every root that is trusted now, PEM."""
        after = self.next.certificate if self.next is not None else b""
        return self.signing.certificate + after + (self.previous or b"")


class DevelopmentAuthority:
    """The authority over one directory. One process at a time changes what is in it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def init(self, trust_domain: str) -> None:
        """Make the root. Raises StartError: there is one, or the trust domain does not fit."""
        if not TRUST_DOMAIN.fullmatch(trust_domain):
            raise StartError(
                f"{trust_domain!r} does not fit as a trust domain: a name of at most 200 "
                "lower-case letters, digits, hyphens and full stops, such as shop.internal"
            )

        def make(found: bytes | None) -> bytes:
            if found is not None:
                raise StartError(f"{self._folder}: there is an authority in it already")
            return _encode(
                AuthorityRoots(trust_domain, make_root(trust_domain, self._clock.now_ms()))
            )

        private_file.change(self._folder / FILE, make)

    def issue(self, services: Iterable[str], hours: int) -> list[str]:
        """Give services new certificates and keys; return their identities. Raises StartError.

        A service that has one gets another, all its files at once. Every name is looked at before
        the first is made.
        """
        life = _life(hours)
        wanted = sorted(set(services))
        for name in wanted:
            if not SERVICE.fullmatch(name):
                raise StartError(
                    f"{name!r} does not fit as a service: a name of at most 50 lower-case letters, "
                    "digits and underscores, which begins with a letter"
                )
        if len({*wanted, *self._services()}) > SERVICES_MAX:
            raise StartError(f"{self._folder}: {SERVICES_MAX} services at most have their place")
        return self._publish((name, life) for name in wanted)

    def renew(self, services: Iterable[str], hours: int | None) -> list[str]:
        """Replace certificates of services, or all when none is named; return their identities.

        Each is good for as long as the one before, or for ``hours``. Raises StartError, also when
        a service has no certificate here.
        """
        known = self._services()
        wanted = sorted(set(services)) or known
        for name in wanted:
            if name not in known:
                raise StartError(
                    f"{self._folder}: {name} has no certificate to renew: mainspring certs issue "
                    f"{self._folder} {name}"
                )
        given = _life(hours) if hours is not None else None
        return self._publish((name, given or self._life_of(name)) for name in wanted)

    def change_root(self, step: RootStep) -> list[str]:
        """Take a step of giving the authority another root, and renew every certificate.

        Raises StartError when it is the turn of another step.
        """

        def change(found: bytes | None) -> bytes:
            now = self._decode(found)
            if step == "add" and now.next is None and now.previous is None:
                root = make_root(now.trust_domain, self._clock.now_ms())
                return _encode(msgspec.structs.replace(now, next=root))
            if step == "switch" and now.next is not None:
                return _encode(
                    AuthorityRoots(now.trust_domain, now.next, previous=now.signing.certificate)
                )
            if step == "drop" and now.previous is not None:
                return _encode(msgspec.structs.replace(now, previous=None))
            turn = "switch" if now.next else "drop" if now.previous else "add"
            raise StartError(
                f"{self._folder}: the step to take is {turn}, not {step}: a root is added, "
                "switched to, and the one before dropped"
            )

        # The roots are kept before anything is signed by them: a crash here leaves certificates
        # that are as good as before, and renewing them goes on.
        private_file.change(self._folder / FILE, change)
        return self.renew((), None)

    def show(self) -> list[CertificateState]:
        """Tell of each service whether a peer would take its certificate now. Raises StartError."""
        self._read()
        states = []
        for name in self._services():
            try:
                files = certificate_files.read(self._folder / name)
                states.append(CertificateState(name, verify(files, self._clock.now_ms())))
            except (NotValid, StartError) as error:
                states.append(CertificateState(name, None, str(error)))
        return states

    def _services(self) -> list[str]:
        try:
            folders = [each.name for each in self._folder.iterdir() if each.is_dir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in folders if SERVICE.fullmatch(name))

    def _life_of(self, service: str) -> timedelta:
        """How long the certificate there was made for, whether it is still good or not."""
        try:
            files = certificate_files.read(self._folder / service)
            leaf = x509.load_pem_x509_certificate(files.chain)
        except (StartError, ValueError):  # whatever is broken there is replaced
            return timedelta(hours=HOURS)
        hours = round((leaf.not_valid_after_utc - leaf.not_valid_before_utc) / timedelta(hours=1))
        return timedelta(hours=min(max(hours, 1), HOURS_MAX))

    def _publish(self, lives: Iterable[tuple[str, timedelta]]) -> list[str]:
        self._read()  # before a directory is made where there is no authority
        with private_file.held(self._folder / FILE):
            return list(self._published(self._read(), lives))

    def _published(
        self, authority: AuthorityRoots, lives: Iterable[tuple[str, timedelta]]
    ) -> Iterator[str]:
        for name, life in lives:
            domain, now_ms = authority.trust_domain, self._clock.now_ms()
            try:
                pair = make_leaf(authority.signing, domain, name, life, now_ms)
            except NotValid as error:
                raise StartError(f"{self._folder}: {name}: {error}") from None
            files = CertificateFiles(pair.certificate, pair.key, authority.roots)
            serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
            certificate_files.publish(self._folder / name, files, f"{serial:x}")
            yield identity_of(domain, name)

    def _read(self) -> AuthorityRoots:
        try:
            found: bytes | None = private_file.read(self._folder / FILE)
        except FileNotFoundError:
            found = None
        return self._decode(found)

    def _decode(self, found: bytes | None) -> AuthorityRoots:
        if found is None:
            raise StartError(
                f"{self._folder}: there is no authority in it: mainspring certs init "
                f"{self._folder} --trust-domain NAME"
            )
        try:
            return msgspec.json.decode(found, type=AuthorityRoots)
        except msgspec.MsgspecError as error:
            raise StartError(f"{self._folder / FILE}: is damaged: {error}") from None


def _life(hours: int) -> timedelta:
    if not 1 <= hours <= HOURS_MAX:
        raise StartError(f"--hours {hours} does not fit: 1 to {HOURS_MAX}")
    return timedelta(hours=hours)


def _encode(authority: AuthorityRoots) -> bytes:
    return msgspec.json.format(msgspec.json.encode(authority), indent=2) + b"\n"

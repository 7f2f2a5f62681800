"""The certificate authority port: who gives services certificates that say which one they are."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

RootStep = Literal["add", "switch", "drop"]  # of giving an authority another root


class LeafCertificate(msgspec.Struct, frozen=True):
    """What a service's certificate says of itself."""

    identity: str
    not_after: datetime
    life: timedelta


class CertificateState(msgspec.Struct, frozen=True):
    """What is known of a service's certificate: what it says, or why no peer would take it."""

    service: str
    shown: LeafCertificate | None
    problem: str = ""


class CertificateAuthority(Protocol):
    """Signs the certificates of one trust domain. Every method raises StartError in plain words."""

    def init(self, trust_domain: str) -> None:
        """Make the root. Raises StartError: there is one, or the trust domain does not fit."""
        ...

    def issue(self, services: Iterable[str], hours: int) -> list[str]:
        """Give services new certificates and keys, in place of any before; return identities."""
        ...

    def renew(self, services: Iterable[str], hours: int | None) -> list[str]:
        """Replace certificates of services, or all when none is named; return their identities."""
        ...

    def change_root(self, step: RootStep) -> list[str]:
        """Take a step of giving the authority another root, and renew every certificate."""
        ...

    def show(self) -> list[CertificateState]:
        """Tell of each service whether a peer would take its certificate now."""
        ...

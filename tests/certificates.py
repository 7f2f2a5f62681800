"""Certificates for servers in tests, signed by themselves, and the files they lie in."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from mainspring.interfaces.http.server_settings import ServerSettings

PLAIN = PrivateFormat.PKCS8, NoEncryption()
ENCRYPTED = PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")


def pair(
    *, days: float = 30, encryption: Any = PLAIN, name: str = "127.0.0.1"
) -> tuple[bytes, bytes]:
    """A certificate for a host, signed by itself, and its key: PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    named: x509.GeneralName = x509.DNSName(name)
    if name == "127.0.0.1":
        named = x509.IPAddress(ip_address(name))
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(min(now, end) - timedelta(days=1))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([named]), critical=False)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, *encryption)


class Files:
    """Where the server's pair lies."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "site.crt", folder / "site.key"
        self.key.touch(0o600)

    def put(self, certificate: bytes, key: bytes) -> "Files":
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)
        return self

    def settings(self, **more: Any) -> ServerSettings:
        return ServerSettings(tls_certificate=str(self.certificate), tls_key=str(self.key), **more)

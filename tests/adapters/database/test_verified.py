"""Which connections to PostgreSQL are made sure to be the server's."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mainspring.adapters.database.postgres_pool import PostgresTarget
from mainspring.ports.database import StartError
from mainspring.testing.servers import PostgresServer, system_postgres

OLDEST_POSTGRES = 15
NOT_THERE = "postgresql://192.0.2.7/shop"  # an address for documentation: nobody answers


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGSSLMODE", "PGHOST", "PGSERVICE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where ~/.postgresql/root.crt may be


@pytest.mark.parametrize(
    ("url", "sslmode", "unverified"),
    [
        ("postgresql://app:secret@db.internal/shop", "verify-full", False),
        ("postgresql://192.0.2.7:5433/shop", "verify-full", False),
        ("postgresql://[2001:db8::7]/shop", "verify-full", False),
        ("postgresql://localhost,db.internal:5433/shop", "verify-full", False),
        ("postgresql:///shop?host=localhost,db.internal", "verify-full", False),
        ("postgresql:///shop?service=shop", "verify-full", False),
        ("postgresql://app:secret@db.internal/shop?sslmode=require", "require", True),
        ("postgresql://app:secret@192.0.2.7/shop?sslmode=disable", "disable", True),
        ("postgresql://db.internal/shop?sslmode=verify-ca&sslrootcert=/ca.pem", "verify-ca", False),
        ("postgresql://localhost/shop", "prefer", False),
        ("postgresql://127.0.0.1/shop", "prefer", False),
        ("postgresql://[::1]:5433/shop", "prefer", False),
        ("postgresql:///shop?host=/run/postgresql", "prefer", False),
        ("postgresql:///shop", "prefer", False),
    ],
)
def test_a_server_elsewhere_is_verified_unless_the_url_says_otherwise(
    url: str, sslmode: str, unverified: bool
) -> None:
    target = PostgresTarget(url)
    assert (target.trust.sslmode, target.trust.unverified) == (sslmode, unverified)
    assert ("sslmode=verify-full" in target.dsn) is (sslmode == "verify-full")
    assert "secret" not in target.shown


def test_the_environment_counts_as_libpq_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.internal")
    assert PostgresTarget("postgresql:///shop").trust.sslmode == "verify-full"
    monkeypatch.setenv("PGSSLMODE", "require")
    assert PostgresTarget("postgresql:///shop").trust.unverified


async def test_without_an_authority_the_start_says_what_to_do() -> None:
    with pytest.raises(StartError, match=r"root\.crt.*sslrootcert=FILE.*sslmode=require") as raised:
        await PostgresTarget(NOT_THERE).probe()
    assert len(str(raised.value).splitlines()) == 1


class Authority:
    """Signs certificates, and is not asked by anybody who does not know it."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(
            self._name, self._key, x509.BasicConstraints(ca=True, path_length=0)
        )

    def server(self, host: x509.GeneralName) -> tuple[bytes, bytes]:
        """Make key and certificate of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._sign(name, key, x509.SubjectAlternativeName([host]))
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return text, certificate

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
        )
        return made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


class Secure:
    """A PostgreSQL that takes TLS connections on a loopback address of its own."""

    def __init__(self, binaries: Path) -> None:
        self.address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"
        self._server = PostgresServer(binaries, settings={"listen_addresses": self.address})
        self._data = self._server.directory / "data"
        with (self._data / "pg_hba.conf").open("a") as hba:
            hba.write("hostssl all all 127.0.0.0/8 trust\n")

    def show(self, key: bytes, certificate: bytes) -> None:
        """Take this key and certificate from now on."""
        for name, text in (("server.key", key), ("server.crt", certificate)):
            path = self._data / name
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(text)
            if self._server.as_user:
                shown = self._server.as_user
                os.chown(path, shown["user"], shown["group"])
        self._server.psql("ALTER SYSTEM SET ssl = on")
        self._server.stop()
        self._server.start()

    def url(self, **query: str) -> str:
        said = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://postgres@{self.address}/postgres?{said}"

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def secure() -> Iterator[Secure]:
    binaries = system_postgres(OLDEST_POSTGRES)
    if binaries is None:
        pytest.skip("needs a PostgreSQL that is built with TLS")
    server = Secure(binaries)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.more
async def test_only_the_server_that_the_authority_names_is_taken(
    secure: Secure, tmp_path: Path
) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    known, foreign = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    known.write_bytes(ours.certificate)
    foreign.write_bytes(theirs.certificate)

    async def refusal(**query: str) -> str:
        with pytest.raises(StartError) as raised:
            await PostgresTarget(secure.url(**query)).probe()
        (line,) = str(raised.value).splitlines()
        return line

    secure.show(*ours.server(x509.IPAddress(ip_address(secure.address))))
    assert (
        await PostgresTarget(secure.url(sslmode="verify-full", sslrootcert=str(known))).probe()
    ).startswith("PostgreSQL 15")
    said = await refusal(sslmode="verify-full", sslrootcert=str(foreign))
    assert "its certificate is not accepted" in said
    assert "sslrootcert=FILE" in said
    assert "root.crt" in await refusal(sslmode="verify-full")
    assert await PostgresTarget(secure.url(sslmode="require")).probe()

    secure.show(*ours.server(x509.DNSName("db.internal")))
    said = await refusal(sslmode="verify-full", sslrootcert=str(known))
    assert f"not valid for '{secure.address}'" in said
    assert await PostgresTarget(secure.url(sslmode="verify-ca", sslrootcert=str(known))).probe()

"""X.509 for peers: roots, and leaves that say which service of which trust domain somebody is.

The identity is a URI, ``spiffe://TRUST-DOMAIN/SERVICE``, as in SPIFFE's X.509-SVID; beside it
stands the DNS name ``SERVICE.TRUST-DOMAIN`` for clients that can only compare host names.
Extensions are those that RFC 5280 asks for, so that OpenSSL's strict verification takes them, which
Python 3.13 has on by default.
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.ports.certificates import LeafCertificate

TRUST_DOMAIN = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
SERVICE = re.compile(r"[a-z][a-z0-9_]{0,49}")
BACKDATE = timedelta(minutes=5)  # clocks of two machines may differ by so much
ROOT_LIFE = timedelta(days=3_652)


class NotValid(Exception):
    """Why a certificate would be refused by a peer, in words."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def make_root(trust_domain: str, now_ms: int) -> Pair:
    """Make the certificate of an authority, signed by itself, good for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
        # Roots of one domain differ by name, so that a chain is built to the right one at once.
        x509.NameAttribute(NameOID.COMMON_NAME, f"Mainspring development root {serial:x}"[:60]),
    ])  # fmt: skip
    start = _moment(now_ms) - BACKDATE
    made = (
        _builder(name, name, key.public_key(), key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return Pair(made.public_bytes(Encoding.PEM), _pem(key))


def make_leaf(root: Pair, trust_domain: str, service: str, life: timedelta, now_ms: int) -> Pair:
    """Make a service's certificate with a key of its own.

    It begins five minutes ago and ends ``life`` from now. Raises NotValid when the root begins
    later or ends before.
    """
    authority = x509.load_pem_x509_certificate(root.certificate)
    signer = load_pem_private_key(root.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    end = _moment(now_ms) + life
    if end > authority.not_valid_after_utc:
        raise NotValid(
            f"the root ends {authority.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, before the "
            "certificate would: take fewer --hours, or give the authority another root: "
            "mainspring certs renew DIR --root add"
        )
    if _moment(now_ms) < authority.not_valid_before_utc:
        raise NotValid(
            f"the root begins {authority.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, which this "
            "machine's clock has yet to reach: set the clock"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(identity_of(trust_domain, service)),
        x509.DNSName(dns_name_of(trust_domain, service)),
    ]
    made = (
        _builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)]),
            authority.subject, key.public_key(), signer.public_key(),
        )
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now_ms) - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )  # fmt: skip
    return Pair(made.public_bytes(Encoding.PEM), _pem(key))


def identity_of(trust_domain: str, service: str) -> str:
    """Return the SPIFFE ID of a service."""
    return f"spiffe://{trust_domain}/{service}"


def dns_name_of(trust_domain: str, service: str) -> str:
    """Return the host name in a service's certificate; host names have no underscores."""
    return f"{service.replace('_', '-')}.{trust_domain}"


def verify(files: CertificateFiles, now_ms: int) -> LeafCertificate:
    """Tell what a leaf says of itself, if a peer with these roots would take it now.

    Raises NotValid: a file that is not PEM, a key of another certificate, no identity or several,
    a chain that leads to none of the roots, or a time before its begin or after its end.
    """
    try:
        leaf = x509.load_pem_x509_certificates(files.chain)[0]
        key = load_pem_private_key(files.key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NotValid(f"a file is damaged or is not PEM: {error}") from None
    if _raw(key) != _raw(leaf.public_key()):
        raise NotValid("tls.key is the key of another certificate")
    return verify_shown(files.chain, files.roots, now_ms)


def verify_shown(chain: bytes, trusted: bytes, now_ms: int) -> LeafCertificate:
    """Tell what a leaf says of itself, if who trusts these roots would take it now.

    Raises NotValid as ``verify`` does.
    """
    try:
        leaf, *between = x509.load_pem_x509_certificates(chain)
        roots = x509.load_pem_x509_certificates(trusted)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise NotValid("the certificate names nobody: it has no subject alternative name") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NotValid(f"a file is damaged or is not PEM: {error}") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        said = ", ".join(uris) or "none"
        raise NotValid(
            f"the certificate has to name one URI that starts with spiffe://, not {said}"
        )
    now = _moment(now_ms)
    if now >= leaf.not_valid_after_utc:
        raise NotValid(f"{uris[0]} expired {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    policy = verification.PolicyBuilder().store(verification.Store(roots)).time(now)
    try:
        policy.build_client_verifier().verify(leaf, between)
    except verification.VerificationError as error:
        raise NotValid(f"{uris[0]} leads to none of the roots in ca.crt: {error}") from None
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc - BACKDATE
    return LeafCertificate(uris[0], leaf.not_valid_after_utc, life)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _raw(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _moment(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1_000, UTC)

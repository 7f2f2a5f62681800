"""Which bucket, where, and as whom: read from a URL that the settings make."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from mainspring.adapters.blobs.sigv4 import Credentials, Signer
from mainspring.ports.database import StartError

TIMEOUT_S, CONNECTIONS_MAX = 15.0, 64
_TAKEN = {"endpoint", "region", "public_endpoint", "ca", "timeout_s", "connections_max", "token"}


class Place(msgspec.Struct, frozen=True):
    """A part of a bucket: every key in it begins with ``prefix``, which ends in ``/`` or is empty.

    The bucket stands in the path of its URLs, which every store takes. Clients reach the store at
    ``public_endpoint``. ``timeout_s`` is for one request, what is tried again included.
    """

    bucket: str
    prefix: str
    endpoint: str
    region: str
    credentials: Credentials
    public_endpoint: str
    ca: str = ""  # PEM, of authorities to trust beside the system's
    timeout_s: float = TIMEOUT_S
    connections_max: int = CONNECTIONS_MAX

    @property
    def signer(self) -> Signer:
        """Signs what the platform asks itself."""
        return Signer(self.endpoint, self.region, self.credentials)

    @property
    def public_signer(self) -> Signer:
        """Signs what clients ask."""
        return Signer(self.public_endpoint, self.region, self.credentials)

    def path(self, key: str) -> str:
        """The path of a key's URL, not yet quoted."""
        return f"/{self.bucket}/{self.prefix}{key}"


def place_of(url: str, environ: Mapping[str, str] = os.environ) -> Place:
    """Read ``s3://ID:SECRET@bucket/prefix?endpoint=…&region=…``. Raises StartError.

    Without credentials in it those of the environment count, by the names that AWS gave them. What
    is raised shows none.
    """
    parts = urlsplit(url)
    user, _, bucket = parts.netloc.rpartition("@")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := query.keys() - _TAKEN:
        raise StartError(f"blobs: the URL does not take {min(unknown)!r} behind its '?'")
    if not bucket:
        raise StartError("blobs: which bucket? Write s3://BUCKET, or s3://BUCKET/PREFIX")
    region = query.get("region") or environ.get("AWS_REGION") or "us-east-1"
    endpoint = (query.get("endpoint") or f"https://s3.{region}.amazonaws.com").rstrip("/")
    prefix = parts.path.strip("/")
    return Place(
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=region,
        credentials=_credentials(user, query.get("token", ""), environ),
        public_endpoint=(query.get("public_endpoint") or endpoint).rstrip("/"),
        ca=_certificates(query.get("ca", "")),
        timeout_s=float(query.get("timeout_s", TIMEOUT_S)),
        connections_max=int(query.get("connections_max", CONNECTIONS_MAX)),
    )


def _certificates(file: str) -> str:
    """Read a file of certificates. Raises StartError."""
    if not file:
        return ""
    try:
        text = Path(file).read_text(encoding="ascii")
        ssl.create_default_context().load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        raise StartError(f"blobs: ca={file}: cannot be read as PEM certificates: {error}") from None
    return text


def _credentials(user: str, token: str, environ: Mapping[str, str]) -> Credentials:
    key_id, _, secret = user.partition(":")
    if key_id and secret:
        return Credentials(unquote(key_id), unquote(secret), token)
    found = Credentials(
        environ.get("AWS_ACCESS_KEY_ID", ""),
        environ.get("AWS_SECRET_ACCESS_KEY", ""),
        environ.get("AWS_SESSION_TOKEN", ""),
    )
    if not (found.key_id and found.secret):
        raise StartError(
            "blobs: s3: needs credentials: set [blobs] access_key_id and secret_access_key, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        )
    return found

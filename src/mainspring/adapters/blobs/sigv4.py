"""URLs that carry their own right: AWS Signature Version 4 in the query string, for one request.

``https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html``. Of our own, since
botocore takes half a second to import and holds back other packages, and obstore signs no headers
and no parameters.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import msgspec

_UNRESERVED = "-_.~"


class Credentials(msgspec.Struct, frozen=True):
    """Who asks the store. ``token`` comes with those that are lent for a while."""

    key_id: str
    secret: str
    token: str = ""


class Signer(msgspec.Struct, frozen=True):
    """Signs requests to one endpoint (``https://host:port``, no path) in one region."""

    endpoint: str
    region: str
    credentials: Credentials

    def url(
        self,
        method: str,
        path: str,
        *,
        now_ms: int,
        life_s: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that is good for this method, path and query, with exactly these headers.

        ``path`` begins with a slash and is not yet quoted. Whoever uses it sends ``headers`` as
        they are; others it may add.
        """
        moment = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        host = urlsplit(self.endpoint).netloc
        signed = {"host": host, **{n.lower(): v.strip() for n, v in (headers or {}).items()}}
        parameters = {
            **(query or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.credentials.key_id}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(life_s),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
        }
        if self.credentials.token:
            parameters["X-Amz-Security-Token"] = self.credentials.token
        wanted = "&".join(f"{_quoted(n)}={_quoted(v)}" for n, v in sorted(parameters.items()))
        path = quote(path, safe="/" + _UNRESERVED)
        request = "\n".join((
            method, path, wanted, *(f"{name}:{signed[name]}" for name in sorted(signed)), "",
            parameters["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD",
        ))  # fmt: skip
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, digest))
        signature = _hmac(self._key(moment[:8]), text).hex()
        return f"{self.endpoint}{path}?{wanted}&X-Amz-Signature={signature}"

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.credentials.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = _hmac(key, part)
        return key


def _quoted(text: str) -> str:
    return quote(text, safe=_UNRESERVED)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")

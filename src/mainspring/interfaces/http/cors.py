"""Cross-origin requests (the Fetch standard): which origins may read answers, and preflights."""

from mainspring.interfaces.http.origins import Origins
from mainspring.interfaces.http.server_settings import CorsSettings

Headers = tuple[tuple[bytes, bytes], ...]

ALLOWED_HEADERS = (
    "authorization", "content-disposition", "content-type", "idempotency-key", "if-match",
    "if-none-match", "if-range", "last-event-id", "mcp-method", "mcp-name",
    "mcp-protocol-version", "range", "read-after", "traceparent",
)  # fmt: skip
EXPOSED_HEADERS = (
    "content-disposition", "etag", "idempotency-replayed", "link", "location", "ratelimit",
    "ratelimit-policy", "read-after", "request-id", "retry-after", "stream-position",
    "traceparent", "www-authenticate",
)  # fmt: skip
_VARY = (b"vary", b"Origin")


class Cors:
    """Answers for the origins of ``[cors] origins``; every other origin gets no word."""

    __slots__ = ("_allowed_headers", "_exposed", "_max_age", "_origins", "on")

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = Origins(settings.origins)
        self._allowed_headers = _listed(ALLOWED_HEADERS, settings.headers)
        self._exposed = _listed(EXPOSED_HEADERS, settings.exposed_headers)
        self._max_age = str(settings.max_age_s).encode()
        self.on = bool(settings.origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Headers of an ordinary answer to this origin."""
        allowed = self._allowed(origin)
        if allowed is None:
            return () if self._origins.any or not self.on else (_VARY,)
        named = (
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", self._exposed),
        )
        return named if self._origins.any else (*named, _VARY)

    def preflight(self, origin: bytes | None, methods: bytes) -> Headers:
        """Headers of the answer to a preflight; ``methods`` is what the resource allows."""
        allowed = self._allowed(origin)
        if allowed is None:
            return (_VARY,)
        return (
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", self._allowed_headers),
            (b"access-control-max-age", self._max_age),
            _VARY,
        )

    def refuses(self, origin: bytes | None) -> bool:
        """Tell whether a browser will keep the answer from whoever asks from this origin."""
        return origin is not None and self._allowed(origin) is None

    def _allowed(self, origin: bytes | None) -> bytes | None:
        if self._origins.any:
            return b"*"
        if origin is not None and origin.decode("latin-1") in self._origins:
            return origin
        return None


def _listed(ours: tuple[str, ...], further: tuple[str, ...]) -> bytes:
    return ", ".join(dict.fromkeys([*ours, *(name.lower() for name in further)])).encode()

"""Cross-origin requests (the Fetch standard): which origins may read answers, and preflights."""

from mainspring.gateway.settings import CorsSettings

Headers = tuple[tuple[bytes, bytes], ...]

ALLOWED_HEADERS = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, "
    b"traceparent"
)
EXPOSED_HEADERS = (
    b"etag, idempotency-replayed, link, location, ratelimit, ratelimit-policy, request-id, "
    b"retry-after, traceparent, www-authenticate"
)
_VARY = (b"vary", b"Origin")


class Cors:
    """Answers for the origins of ``[cors] origins``; every other origin gets no word."""

    __slots__ = ("_any", "_max_age", "_origins", "on")

    def __init__(self, settings: CorsSettings) -> None:
        self._any = "*" in settings.origins
        self._origins = frozenset(o.encode().lower() for o in settings.origins if o != "*")
        self._max_age = str(settings.max_age_s).encode()
        self.on = bool(settings.origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Headers of an ordinary answer to this origin."""
        allowed = self._allowed(origin)
        if allowed is None:
            return () if self._any or not self.on else (_VARY,)
        named = (
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
        )
        return named if self._any else (*named, _VARY)

    def preflight(self, origin: bytes | None, methods: bytes) -> Headers:
        """Headers of the answer to a preflight; ``methods`` is what the resource allows."""
        allowed = self._allowed(origin)
        if allowed is None:
            return (_VARY,)
        return (
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", self._max_age),
            _VARY,
        )

    def _allowed(self, origin: bytes | None) -> bytes | None:
        if self._any:
            return b"*"
        if origin is not None and origin.lower() in self._origins:
            return origin
        return None

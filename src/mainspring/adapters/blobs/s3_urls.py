"""URLs at which clients reach an S3 store themselves: signed by us, held to by the store."""

from mainspring.adapters.blobs.s3_place import Place
from mainspring.kernel.clock import SystemClock
from mainspring.ports.blobs import require_key


class S3Urls:
    """Signs for clients what the store then does, or refuses."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = SystemClock()  # the store compares: a clock that a test holds is not its own

    def to_get(self, key: str, *, life_s: int, media_type: str, disposition: str) -> str:
        """Return where a blob is to be had, under these headers, and a ``Range`` of it."""
        require_key(key)
        query = {
            "response-content-type": media_type,
            "response-content-disposition": disposition,
            "response-cache-control": "private, no-cache",
        }
        return self._place.public_signer.url(
            "GET", self._place.path(key), now_ms=self._clock.now_ms(), life_s=life_s, query=query
        )

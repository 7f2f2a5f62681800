"""URLs at which clients reach an S3 store themselves: signed by us, held to by the store."""

import base64
from collections.abc import Awaitable, Callable

from mainspring.adapters.blobs.s3_place import Place
from mainspring.adapters.blobs.s3_requests import Arrival
from mainspring.kernel.clock import Clock, SystemClock
from mainspring.ports.blobs import DirectPut, require_key

# The store compares its own clock with what is signed: one that a test holds is not that.
STORE_CLOCK = SystemClock()


class S3Urls:
    """Signs for clients what the store then does, or refuses. ``ask`` asks what it has."""

    def __init__(
        self, place: Place, ask: Callable[[str], Awaitable[Arrival]], clock: Clock = STORE_CLOCK
    ) -> None:
        self._place = place
        self._ask = ask
        self._clock = clock

    def to_get(self, key: str, *, life_s: int, media_type: str, disposition: str) -> str:
        """Return where a blob is to be had, under these headers, and a ``Range`` of it."""
        query = {
            "response-content-type": media_type,
            "response-content-disposition": disposition,
            "response-cache-control": "private, no-cache",
        }
        return self._signed("GET", key, life_s, query=query)

    def to_put(
        self, key: str, *, life_s: int, size_bytes: int, sha256: str, media_type: str
    ) -> DirectPut:
        """Return where a blob is to be put: of this size and SHA-256, and no other."""
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {"content-type": media_type, "x-amz-checksum-sha256": digest}
        signed = {**headers, "content-length": str(size_bytes)}
        return DirectPut(self._signed("PUT", key, life_s, headers=signed), headers)

    async def arrived(self, key: str, *, size_bytes: int, sha256: str) -> bool:
        """Tell whether the store took exactly that. Raises NotFound, Unavailable.

        A store that says no checksum did not compare it, and is not believed.
        """
        there = await self._ask(key)
        return (there.size_bytes, there.sha256) == (size_bytes, sha256)

    def _signed(
        self,
        method: str,
        key: str,
        life_s: int,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        require_key(key)
        return self._place.public_signer.url(
            method, self._place.path(key), now_ms=self._clock.now_ms(), life_s=life_s,
            query=query, headers=headers,
        )  # fmt: skip

"""Tries a store with a blob of its own, for ``mainspring doctor``."""

from collections.abc import AsyncIterator

from mainspring.kernel.clock import SystemEntropy
from mainspring.kernel.errors import Unavailable
from mainspring.ports.blobs import Blobs

_PREFIX = "doctor/"  # 64 bytes stay there of one that was killed in the middle


async def check_by_trying(blobs: Blobs) -> None:
    """Store something, read it back and remove it. Raises Unavailable."""
    data = SystemEntropy().token(64)
    key = _PREFIX + data[:16].hex()

    async def once() -> AsyncIterator[bytes]:
        yield data

    await blobs.put(key, once(), size_bytes_max=len(data))
    try:
        read = b"".join([chunk async for chunk in blobs.get(key)])
    finally:
        await blobs.delete(key)
    if read != data:
        raise Unavailable("what was stored came back as something else")

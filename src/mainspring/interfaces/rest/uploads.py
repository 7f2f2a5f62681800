"""Uploads: the body goes into the blob store as it arrives, and is durable before anyone knows."""

from mainspring.interfaces.http.exchange import Exchange
from mainspring.kernel.errors import Malformed, UnsupportedMedia
from mainspring.kernel.media import file_name, media_type
from mainspring.kernel.operation import Upload
from mainspring.ports.blobs import Blobs


async def read_upload(
    exchange: Exchange, blobs: Blobs, key: str, *, size_max: int, idle_s: float
) -> Upload:
    """Store the body under ``key``. Raises TooLarge, Timeout, UnsupportedMedia; keeps nothing then.

    The body is the file itself. ``Content-Disposition: attachment; filename="…"`` names it.
    """
    exchange.check_coding()
    try:
        kind = media_type(exchange.content_type or "application/octet-stream")
    except ValueError as error:
        raise Malformed(str(error)) from None
    if kind.startswith("multipart/"):
        raise UnsupportedMedia("send the file itself as the body, with its own Content-Type")
    chunks = exchange.body_chunks(size_max, idle_s)
    blob = await blobs.put(key, chunks, size_bytes_max=size_max)
    name = file_name(exchange.text(b"content-disposition") or "")
    return Upload(blob.key, blob.size_bytes, blob.sha256, kind, name)


def content_of(upload: Upload) -> bytes:
    """What tells one upload from another under the same idempotency key."""
    return f"{upload.sha256} {upload.media_type} {upload.filename or ''}".encode()

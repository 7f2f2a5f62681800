"""Uploads: the body goes into the blob store as it arrives, and is durable before anyone knows."""

import re
from urllib.parse import unquote

from mainspring.interfaces.rest.exchange import Exchange
from mainspring.kernel.errors import Malformed, UnsupportedMedia
from mainspring.kernel.operation import Upload
from mainspring.ports.blobs import Blobs

FILENAME_CHARS_MAX = 255

_PLAIN_NAME = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.IGNORECASE)
_CODED_NAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^\s;]+)", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


async def read_upload(
    exchange: Exchange, blobs: Blobs, key: str, *, size_max: int, idle_s: float
) -> Upload:
    """Store the body under ``key``. Raises TooLarge, Timeout, UnsupportedMedia; keeps nothing then.

    The body is the file itself. ``Content-Disposition: attachment; filename="…"`` names it.
    """
    exchange.check_coding()
    media_type = (exchange.content_type or "application/octet-stream").partition(";")[0].strip()
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        raise Malformed("Content-Type is type/subtype")
    if media_type.lower().startswith("multipart/"):
        raise UnsupportedMedia("send the file itself as the body, with its own Content-Type")
    chunks = exchange.body_chunks(size_max, idle_s)
    blob = await blobs.put(key, chunks, size_bytes_max=size_max)
    name = filename(exchange.text(b"content-disposition") or "")
    return Upload(blob.key, blob.size_bytes, blob.sha256, media_type.lower(), name)


def content_of(upload: Upload) -> bytes:
    """What tells one upload from another under the same idempotency key."""
    return f"{upload.sha256} {upload.media_type} {upload.filename or ''}".encode()


def filename(disposition: str) -> str | None:
    """Read the file's name (RFC 6266), without any path, NUL or control character."""
    coded = _CODED_NAME.search(disposition)
    if coded is not None:
        name = unquote(coded[1], errors="replace")
    else:
        plain = _PLAIN_NAME.search(disposition)
        if plain is None:
            return None
        name = re.sub(r"\\(.)", r"\1", plain[1]) if plain[1] is not None else plain[2]
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable())[:FILENAME_CHARS_MAX]
    return None if name in {"", ".", ".."} else name

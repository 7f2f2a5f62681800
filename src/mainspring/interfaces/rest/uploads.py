"""Uploads: what their headers say of a file whose bytes are the body."""

from mainspring.interfaces.http.exchange import Exchange
from mainspring.kernel.errors import Malformed, UnsupportedMedia
from mainspring.kernel.invocation import FileHead
from mainspring.kernel.media import file_name, media_type


def file_head(exchange: Exchange) -> FileHead:
    """Read the head of an upload. Raises UnsupportedMedia, Malformed.

    The body is the file itself. ``Content-Disposition: attachment; filename="…"`` names it.
    """
    exchange.check_coding()
    try:
        kind = media_type(exchange.content_type or "application/octet-stream")
    except ValueError as error:
        raise Malformed(str(error)) from None
    if kind.startswith("multipart/"):
        raise UnsupportedMedia("send the file itself as the body, with its own Content-Type")
    name = file_name(exchange.text(b"content-disposition") or "")
    return FileHead(kind, name, exchange.declared_bytes())

"""Content coding of answers: gzip (RFC 9110, section 8.4), where it pays."""

import re
import zlib

SIZE_BYTES_MIN = 1_024
THREAD_BYTES_MIN = 256 * 1024  # from here on compressing would hold up the event loop
LEVEL = 4
CODING = "gzip"

_CODING = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")
_PLAIN = re.compile(r"text/.*|application/(?:.*\+)?(?:json|xml|javascript)|application/x-ndjson")


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the caller would take gzip; what cannot be read counts as no."""
    weights: dict[str, float] = {}
    for part in accept_encoding.split(","):
        match = _CODING.fullmatch(part)
        if match is not None:
            weights[match[1].lower()] = float(match[2] or 1)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def compressible(media_type: str) -> bool:
    """Tell whether this media type shrinks."""
    return _PLAIN.fullmatch(media_type.partition(";")[0].strip()) is not None


def gzip(body: bytes) -> bytes:
    """Compress, the same bytes for the same body: the header carries no time."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()

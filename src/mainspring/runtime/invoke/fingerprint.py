"""What tells two calls of one operation apart: their arguments, in one spelling."""

from collections.abc import Mapping
from typing import Any

import msgspec

_encode_sorted = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode


def canonical(args: Mapping[str, Any]) -> bytes:
    """Write arguments as JSON in one spelling: sorted names, no spaces.

    Numbers stay as they were written: two that only a decimal tells apart are not the same.
    """
    return _encode_sorted(_decode(_encode_sorted(args)))


def framed(*parts: bytes) -> bytes:
    """Join parts so that no two different lists of parts give the same bytes."""
    lengths = b",".join([b"%d" % len(part) for part in parts])
    return b"".join([lengths, b":", *parts])

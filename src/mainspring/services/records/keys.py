"""Index keys: values as bytes whose order is the order of the values, on every engine alike.

A component is ``00`` for null, else ``01`` and the value: a boolean as a byte, a number as its
double in eight bytes with the sign turned so that they sort, text as UTF-8 and a ``00`` (text has
no NUL of its own). A component whose largest value comes first has every bit turned. Keys of
several components are these one after the other. Null is the smallest.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

from mainspring.cel import Type

_TURN = bytes(255 - b for b in range(256))
_pack = struct.Struct(">d").pack
_integer = int.from_bytes
NULL, SOME = b"\x00", b"\x01"
END = b"\xff" * 8  # after every key: a component starts with 00, 01, fe or ff

NUMBER_BYTES = 9


def component(value: Any, kind: Type, descending: bool) -> bytes:
    """Encode one value."""
    if value is None:
        made = NULL
    elif kind is Type.BOOL:
        made = b"\x01\x01" if value else b"\x01\x00"
    elif kind is Type.INT or kind is Type.FLOAT:
        bits = _integer(_pack(float(value) + 0.0), "big")  # + 0.0 makes -0.0 the 0.0 it equals
        bits = bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63
        made = SOME + bits.to_bytes(8, "big")
    else:
        made = b"\x01%b\x00" % value.encode()
    return made.translate(_TURN) if descending else made


def beginning(text: str, descending: bool) -> bytes:
    """Encode what every key of a text that starts so starts with."""
    made = SOME + text.encode()
    return made.translate(_TURN) if descending else made


def after(prefix: bytes) -> bytes:
    """The smallest bytes that come after everything that starts with ``prefix``."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else END


def text_bytes_max(chars: int) -> int:
    """The most bytes a text of so many characters takes in a key."""
    return 2 + 4 * chars


def together(values: Sequence[tuple[Any, Type]]) -> bytes:
    """A key for equality of several values: 16 bytes of SHA-256. Each component says its end."""
    made = b"".join(component(value, kind, descending=False) for value, kind in values)
    return hashlib.sha256(made).digest()[:16]


def unique_key(value: Any, kind: Type) -> bytes:
    """A key for equality alone, of bounded size: 16 bytes of SHA-256 for text."""
    made = component(value, kind, descending=False)
    return hashlib.sha256(made).digest()[:16] if len(made) > 16 else made

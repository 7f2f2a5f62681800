"""Whether two values are the same once they are written down."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two values have the same JSON, the order of members aside.

    Python's own ``==`` takes ``1``, ``1.0`` and ``true`` for one value, at any depth: whoever asks
    it whether there is something to store loses a write. What is told apart here is what a reader
    could tell apart: ``1`` and ``1.0`` too, and ``0.0`` and ``-0.0``.
    """
    if one != other:
        return False
    return type(one) is type(other) is str or _encode(one) == _encode(other)

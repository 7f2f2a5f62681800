"""What was measured, as handlers read it."""

from typing import Protocol

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.measure import Measure

FOREVER_MS = 2**53


class Measured(msgspec.Struct, frozen=True):
    """What was counted in the bucket that begins at ``at_ms``."""

    at_ms: int
    value: int


class Measures(Protocol):
    """What was measured in the call's tenant. Handlers reach it with ``call.use``.

    It tells what was written down: the last second of a process may be missing. Raises Misdeclared
    for a measure that no service declares.
    """

    async def total(
        self,
        call: Call,
        measure: Measure,
        key: str = "",
        *,
        from_ms: int = 0,
        to_ms: int = FOREVER_MS,
    ) -> int:
        """Return the sum of a key over the buckets that begin in [``from_ms``, ``to_ms``)."""
        ...

    async def series(
        self, call: Call, measure: Measure, key: str = "", *, from_ms: int, to_ms: int
    ) -> list[Measured]:
        """Return the buckets of a key that begin in [``from_ms``, ``to_ms``) and hold something."""
        ...

"""Measures: counts of what happens often and needs no event, such as clicks and page views."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec

from mainspring.kernel.declaration import Misdeclared

if TYPE_CHECKING:
    from mainspring.kernel.call import Call

HOUR_S = 3600
KEEP_DAYS = 400  # a year, and a month to compare with
KEY_CHARS_MAX = 200
VALUE_MAX = 1_000_000_000
FOREVER_MS = 2**53
NO_MEASURES: Mapping[str, "Measure"] = MappingProxyType({})


class Measure(msgspec.Struct, frozen=True):
    """A count by key and by buckets of ``bucket_s``, each kept for ``keep_days``.

    Made by ``Service.measure``.
    """

    name: str
    doc: str = ""
    bucket_s: int = HOUR_S
    keep_days: int = KEEP_DAYS

    def bucket_ms(self, at_ms: int) -> int:
        """Return when the bucket of a moment begins."""
        return at_ms - at_ms % (self.bucket_s * 1000)


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
        call: "Call",
        measure: Measure,
        key: str = "",
        *,
        from_ms: int = 0,
        to_ms: int = FOREVER_MS,
    ) -> int:
        """Return the sum of a key over the buckets that begin in [``from_ms``, ``to_ms``)."""
        ...

    async def series(
        self, call: "Call", measure: Measure, key: str = "", *, from_ms: int, to_ms: int
    ) -> list[Measured]:
        """Return the buckets of a key that begin in [``from_ms``, ``to_ms``) and hold something."""
        ...


def require_declared(measure: Measure, declared: Mapping[str, Measure]) -> None:
    """Raise Misdeclared for a measure of no service: nothing counts it, or sweeps its counts."""
    if declared.get(measure.name) != measure:
        raise Misdeclared(
            f"no service of this app declares the measure {measure.name!r} as it is here: "
            "use what service.measure('clicks', doc=…) returns"
        )


def require_countable(measure: Measure, value: int, key: str) -> None:
    """Raise ValueError for what a measure does not count."""
    if not 1 <= value <= VALUE_MAX:
        raise ValueError(f"{measure.name}: a value is 1 to {VALUE_MAX}, not {value}")
    if len(key) > KEY_CHARS_MAX or "\0" in key:
        raise ValueError(
            f"{measure.name}: a key is at most {KEY_CHARS_MAX} characters without NUL, "
            f"not {key[:40]!r} of {len(key)}"
        )

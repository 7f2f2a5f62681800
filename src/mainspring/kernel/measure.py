"""Measures: counts of what happens often and needs no event, such as clicks and page views."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from mainspring.kernel.declaration import Misdeclared

HOUR_S = 3600
KEEP_DAYS = 400  # a year, and a month to compare with
KEY_CHARS_MAX = 200
VALUE_MAX = 1_000_000_000
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

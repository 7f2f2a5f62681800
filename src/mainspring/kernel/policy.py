"""Policies that operations, jobs and settings declare: rates, retries, who may keep an answer."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|m|h)")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` per ``window_s`` seconds, with a burst of ``count``."""

    count: int
    window_s: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``N/s``, ``N/m`` or ``N/h``. Raises ValueError on anything else."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a rate: write N/s, N/m or N/h")
        return cls(int(match[1]), _UNIT_S[match[2]])


class RateClass(msgspec.Struct, frozen=True):
    """Which limit of the settings an operation counts against.

    The settings say how often for the platform's own. ``Service.rate_class`` makes others, with
    the ``rate`` that holds where the settings say nothing.
    """

    name: str
    rate: str = ""

    DEFAULT: ClassVar["RateClass"]
    LOGIN: ClassVar["RateClass"]
    UNLIMITED: ClassVar["RateClass"]


RateClass.DEFAULT = RateClass("default")
RateClass.LOGIN = RateClass("login")
RateClass.UNLIMITED = RateClass("unlimited")
OWN_CLASSES = {c.name: c for c in (RateClass.DEFAULT, RateClass.LOGIN, RateClass.UNLIMITED)}


CACHED_S_MAX = 31_536_000  # a year, as far as HTTP caches look ahead


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who may keep what an operation answers to GET, and for how long (RFC 9111).

    For ``max_age_s`` an answer is shown again without asking; with 0 whoever kept it asks whether
    it still holds. Its caller keeps it for itself. A ``public`` one is kept by everybody on the
    way, so it is the same for everybody: its handler is called by nobody in particular. For
    ``stale_while_revalidate_s`` more an old one may be shown while a new one is fetched (RFC 5861).
    """

    max_age_s: int = 0
    public: bool = False
    stale_while_revalidate_s: int = 0


class PerKey(msgspec.Struct, frozen=True):
    """How many jobs with one value of an argument run at a time, in all processes together.

    ``at_most`` is a number, or what returns it given the settings of the job's service.
    """

    argument: str
    at_most: int | Callable[[Any], int]


class RatePerKey(msgspec.Struct, frozen=True):
    """How many jobs with one value of an argument start in a time, in all processes together.

    ``at_most`` is ``N/s``, ``N/m`` or ``N/h``, or what returns that given the settings of the job's
    service. So many may start at once after a pause, or ``burst`` of them: with 1 they are spread
    evenly.
    """

    argument: str
    at_most: str | Callable[[Any], str]
    burst: int | None = None


ATTEMPTS_DEFAULT = 20  # about a day: 1 s, 2 s, 4 s … then every six hours


class RetryPolicy(msgspec.Struct, frozen=True):
    """When a failed attempt runs again: exponential from ``first_s`` to ``cap_s``, full jitter.

    The default goes on for about a day, so that what fails because of a bad hour is not lost. With
    ``schedule_s`` the delays are those, each with up to ``jitter`` (a fraction) added.
    """

    max_attempts: int = ATTEMPTS_DEFAULT
    first_s: float = 1.0
    cap_s: float = 6 * 3600.0
    schedule_s: tuple[float, ...] = ()
    jitter: float = 0.2

    def delay_s(self, attempt: int, noise: float) -> float:
        """Seconds from failed ``attempt`` (1 is the first) to the next; ``noise`` is in [0, 1)."""
        if self.schedule_s:
            base = self.schedule_s[min(attempt, len(self.schedule_s) - 1)]
            return base * (1 + self.jitter * noise)
        ceiling = min(self.cap_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return ceiling * (0.5 + 0.5 * noise)

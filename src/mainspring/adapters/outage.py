"""Outages: one log line when a part goes away, one with the count when it is back."""

import structlog

log = structlog.get_logger()


class Outage:
    """Whether a part works, as those who use it find out. Safe from any thread."""

    __slots__ = ("_failures", "_part")

    def __init__(self, part: str) -> None:
        self._part = part
        self._failures = 0

    @property
    def lasts(self) -> bool:
        """Whether it failed, and has not worked since."""
        return self._failures > 0

    def failed(self, error: str) -> None:
        """Take note of a failure; the first of an outage is logged."""
        self._failures += 1
        if self._failures == 1:
            log.error("part_unavailable", part=self._part, error=error)

    def worked(self) -> None:
        """Take note that it works; after an outage that is logged."""
        if self._failures:
            failures, self._failures = self._failures, 0
            log.warning(
                "part_available",
                part=self._part,
                failures=failures,
            )

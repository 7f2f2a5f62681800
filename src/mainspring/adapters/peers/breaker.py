"""When an owner that does not answer is left alone, and how much may be sent again. No I/O."""

from collections.abc import Callable

FAILURES_MAX = 5  # calls in a row that an owner left unanswered
FIRST_PAUSE_S, PAUSE_S_MAX = 0.25, 8.0  # before one call tries whether it answers again
SHARE = 0.1  # of the calls may be sent again
BURST = 20.0  # that may be sent again at once, of those that were not


class Breaker:
    """Whether an owner is asked: not while it left several calls in a row without an answer.

    Then one call at a time tries it, after a pause that doubles each time. What an owner answers
    counts for it, whatever it says: that its own limits of time pass is no reason to leave it
    alone, else whoever asks for what takes long could have it left alone for everybody.
    """

    __slots__ = ("_failures", "_pause_s", "_trying", "_until_s")

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._trying = False
        self._until_s: float | None = None  # while it is left alone

    @property
    def open(self) -> bool:
        """Whether it is left alone, but for who tries."""
        return self._until_s is not None

    @property
    def failures(self) -> int:
        """How many calls in a row it has left unanswered."""
        return self._failures

    def lets(self, now_s: float, connected: Callable[[], bool]) -> bool:
        """Tell whether a call may be made; to try, only where there is a connection again."""
        if self._until_s is None:
            return True
        return not self._trying and now_s >= self._until_s and connected()

    def begin(self) -> bool:
        """Begin a call that was let; return whether it is the one that tries."""
        if self._until_s is None:
            return False
        self._trying = True
        return True

    def answered(self) -> None:
        """Take note of an answer."""
        self._failures, self._pause_s = 0, FIRST_PAUSE_S
        self._trying, self._until_s = False, None

    def failed(self, now_s: float, *, tried: bool) -> None:
        """Take note of a call without an answer; while it is left alone, only who tries counts."""
        self._failures += 1
        alone = self._until_s is not None
        if tried:
            self._trying = False
        elif alone:
            return
        if alone or self._failures >= FAILURES_MAX:
            self._until_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)

    def gave_up(self, *, tried: bool) -> None:
        """Take note that whoever called did not wait for the answer."""
        if tried:
            self._trying = False


class RetryBudget:
    """How many calls may be sent again: a share of those that are made, and a few at once."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = BURST

    def called(self) -> None:
        """Take note of a call that is made for the first time."""
        self._tokens = min(self._tokens + SHARE, BURST)

    def take(self) -> bool:
        """Tell whether one may be sent again; then it has been taken off."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

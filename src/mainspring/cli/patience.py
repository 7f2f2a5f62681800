"""How often a command tries again when the platform does not answer, and how long it waits."""

import time

import typer

from mainspring.cli.remote import Declined, Unreached
from mainspring.ports.database import StartError

ATTEMPTS_MAX = 8  # in a row, without anything gained
FIRST_WAIT_S = 0.5
WAIT_MAX_S = 15.0

_PASSING = frozenset({429, 502, 503, 504})  # what another moment may answer otherwise


class Patience:
    """Waits before another attempt, so long as there is hope."""

    def __init__(self) -> None:
        self._failed = 0
        self._reached = False

    def reach(self) -> None:
        """Note that somebody is there: else the first failure is the last."""
        self._reached = True

    def gain(self) -> None:
        """Note that something was gained: what failed before does not count any more."""
        self._reached = True
        self._failed = 0

    def wait(self, error: StartError) -> None:
        """Say what happened, and wait. Raises ``error`` where trying again is no use."""
        passes = isinstance(error, Unreached) and self._reached
        passes = passes or (isinstance(error, Declined) and error.status in _PASSING)
        self._failed += 1
        if not passes or self._failed > ATTEMPTS_MAX:
            raise error
        wait_s = min(FIRST_WAIT_S * 2 ** (self._failed - 1), WAIT_MAX_S)
        typer.echo(f"{error}; again in {wait_s:g} s ({self._failed}/{ATTEMPTS_MAX})", err=True)
        time.sleep(wait_s)

"""What a scenario is: a fault, the engines it applies to, and how it is played."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """What a scenario is played with: ``rounds`` are for those that have them.

    Each platform has so many ``workers``.
    """

    engine: str
    root: Path
    seed: str
    rounds: int = 1
    workers: int = 1


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one scenario found on one engine.

    ``noticed_s`` is how long the fault went on until a caller or a process noticed, ``mitigated_s``
    how long until what it hit went on without what was hurt, by a successor or by itself, and
    ``works_s`` how long the whole took to work after the fault was over. None where nobody had to
    notice anything, where nothing but the fault's end could help, and where all went on.
    ``acknowledged`` writes were made, of which ``lost`` are not there and ``doubled`` are twice.
    """

    noticed_s: float | None
    works_s: float | None
    mitigated_s: float | None = None
    acknowledged: int
    remark: str
    lost: int = 0
    doubled: int = 0


class Skipped(Exception):
    """A scenario that cannot be played here, and why."""


class Scenario(msgspec.Struct, frozen=True):
    """A fault; ``only`` says why where it does not apply to both engines."""

    name: str
    play: Callable[[Setting], Awaitable[Outcome]]
    engines: tuple[str, ...] = ("sqlite", "postgres")
    only: str = ""

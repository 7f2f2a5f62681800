"""How many processes ``--workers auto`` are: one for each core that the platform may use."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROCESSES_MAX = 8  # more want a server, or a word from who runs them
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def usable(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Return how many cores this process may keep busy: those it may run on, within its quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = min(_quotas(groups, own_group), default=float(cores))
    return max(1, min(cores, int(quota)))


def _quotas(groups: Path, own_group: Path) -> Iterator[float]:
    """Return the quotas of CPU time of every control group this process is in, in cores."""
    for folder in _folders(groups, own_group):
        with contextlib.suppress(OSError, ValueError):  # this one has none
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)  # or "max", which is none
        with contextlib.suppress(OSError, ValueError):  # version 1
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            if int(quota) > 0:
                yield int(quota) / int(period)


def _folders(groups: Path, own_group: Path) -> Iterator[Path]:
    """Return the folders of the control groups for CPU time that this process is in."""
    try:
        lines = own_group.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top = groups
        elif "cpu" in controllers.split(","):
            top = groups / "cpu"
        else:
            continue
        folder = top / path.lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(top))

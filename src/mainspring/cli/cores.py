"""How many processes ``--workers auto`` are: one for each core that the platform may use."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROCESSES_MAX = 8  # more want a word from who runs them
MEMORY_BYTES_MIN = 512 << 20  # with less, what a process more takes is better left to the first
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


class ProcessCount(NamedTuple):
    """So many processes, and why there is only one where there are more cores."""

    processes: int
    why: str = ""


def chosen(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> ProcessCount:
    """Return how many processes this machine is best used by."""
    cores = min(usable(groups, own_group), PROCESSES_MAX)
    if cores == 1:
        return ProcessCount(1)
    if not hasattr(os, "fork") or sys.platform == "darwin":
        # There what the system's libraries began before a fork may break after it.
        return ProcessCount(1, f"processes cannot be forked safely on {sys.platform}")
    memory = usable_memory_bytes(groups, own_group)
    if memory < MEMORY_BYTES_MIN:
        return ProcessCount(1, f"it may use {memory >> 20} MiB of memory")
    return ProcessCount(cores)


def usable(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Return how many cores this process may keep busy: those it may run on, within its quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = min(_quotas(groups, own_group), default=float(cores))
    return max(1, min(cores, int(quota)))


def usable_memory_bytes(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Return how much memory this process may use: the machine's, within its limit."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_memory_limits(groups, own_group)])


def _memory_limits(groups: Path, own_group: Path) -> Iterator[int]:
    """Return the limits of memory of every control group this process is in."""
    for folder in _folders(groups, own_group, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # of version 2, and of version 1
            with contextlib.suppress(OSError, ValueError):  # it has none, or "max", which is none
                yield int((folder / name).read_text())


def _quotas(groups: Path, own_group: Path) -> Iterator[float]:
    """Return the quotas of CPU time of every control group this process is in, in cores."""
    for folder in _folders(groups, own_group, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # this one has none
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)  # or "max", which is none
        with contextlib.suppress(OSError, ValueError):  # version 1
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            if int(quota) > 0:
                yield int(quota) / int(period)


def _folders(groups: Path, own_group: Path, controller: str) -> Iterator[Path]:
    """Return the folders of the control groups of this process that have a controller."""
    try:
        lines = own_group.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top = groups
        elif controller in controllers.split(","):
            top = groups / controller
        else:
            continue
        folder = top / path.lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(top))

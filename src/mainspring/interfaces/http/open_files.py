"""How many files this process may open, and how many of them connections may be."""

import contextlib
import resource

# Open files that connections leave to the database, blobs and what the platform asks of others.
FILES_KEPT_MIN = 128


def raise_open_files() -> int:
    """Let this process open as many files as it may. Returns how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems name a hard limit that they do not grant: then the soft one stays.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def connections_for(open_files: int) -> int:
    """How many connections leave enough open files to everything else."""
    return max(16, open_files - max(FILES_KEPT_MIN, open_files // 4))

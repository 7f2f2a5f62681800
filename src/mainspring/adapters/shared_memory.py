"""Memory that a parent makes and the processes it forks find at the same places."""

import mmap
import os
import tempfile


class SharedMemory:
    """A file of no name; only what was written to takes memory. ``name`` shows in ``/proc``."""

    def __init__(self, name: str) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create(f"mainspring-{name}")
        else:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())

    def at(self, offset: int, size: int) -> memoryview:
        """Return a part of it: zeros until somebody has written there."""
        if os.fstat(self._file).st_size < offset + size:
            os.ftruncate(self._file, offset + size)
        return memoryview(mmap.mmap(self._file, size, offset=offset))

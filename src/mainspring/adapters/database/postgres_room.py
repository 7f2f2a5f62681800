"""How many connections each process of a crew opens: together no more than the server has left.

Each alone would open as many as one process does, and eight of them more than a server of default
settings takes. The first of them looks how many are left and divides most of these.
"""

import mmap
import struct

import structlog

from mainspring.adapters.database.postgres_pool import Connection

log = structlog.get_logger()

EACH_MIN = 8  # with fewer, calls that hold one and read through another wait for each other
LEFT_TO_OTHERS = 4  # of what is left a crew takes all but this part, as a fourth
_EACH = struct.Struct("=q")
_ROOM = (
    "SELECT CAST(current_setting('max_connections') AS bigint) "
    "- CAST(current_setting('superuser_reserved_connections') AS bigint) AS most, "
    "(SELECT count(*) FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS taken"
)


class Room:
    """What processes that are forked from now on have found: the first of them looks for all."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._memory = mmap.mmap(-1, _EACH.size)

    async def each(self, connection: Connection, wanted: int) -> int:
        """Return how many this process may open, ``wanted`` at most."""
        (each,) = _EACH.unpack_from(self._memory)
        if not each:
            most, taken = await connection.fetchrow(_ROOM)
            each = divided(most - taken, self._size, wanted)
            _EACH.pack_into(self._memory, 0, each)
            if each < wanted:
                log.info(
                    "postgres_connections_divided",
                    each=each, processes=self._size, of=most, taken=taken,
                )  # fmt: skip
        return int(each)


def divided(left: int, size: int, wanted: int) -> int:
    """Return how many connections each of a crew opens of those that a server has left.

    Together they take what one process would, or what leaves some to others if that is more.
    """
    together = max(wanted, left - left // LEFT_TO_OTHERS)
    return min(wanted, max(EACH_MIN, together // size))

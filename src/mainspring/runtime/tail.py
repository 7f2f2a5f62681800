"""A tail of the log: tells this process of every event of every process, from now on.

Not a consumer: nothing is committed, and what happened before the start is not told. For caches
that must hear of changes made elsewhere.
"""

from collections.abc import Callable

from mainspring.ports.database import Database
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import EVENT_SUBJECTS_AFTER, LAST_SEQ
from mainspring.runtime.wakes import WakeBoard, wait

BATCH_EVENTS = 512
POLL_S = 0.25

Heard = Callable[[str, str], None]  # an event's type and subject


class Tail:
    """Follows the log by ``seq``. ``alive`` is called after each look, however little it found."""

    __slots__ = ("_alive", "_board", "_database", "_heard", "_supervisor")

    def __init__(
        self, database: Database, board: WakeBoard, heard: Heard, alive: Callable[[], None]
    ) -> None:
        self._database = database
        self._board = board
        self._heard = heard
        self._alive = alive
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Follow from the log's present end."""
        seq = (await self._database.read(LAST_SEQ, ()))[0]

        async def follow() -> None:
            nonlocal seq
            with self._board.listen("sequenced", "events") as signal:
                while True:
                    signal.clear()
                    rows = await self._database.read(EVENT_SUBJECTS_AFTER, (seq, BATCH_EVENTS))
                    for row in rows:
                        self._heard(row.type, row.subject)
                        seq = row.seq
                    if len(rows) < BATCH_EVENTS:
                        self._alive()
                        await wait(signal, POLL_S)

        self._supervisor.start("tail", follow)

    async def stop(self) -> None:
        """Stop following."""
        await self._supervisor.stop()

"""A tail of the log: tells this process of every event of every process, from now on.

Not a consumer: nothing is committed, and what happened before the start is not told. For caches
that must hear of changes made elsewhere.
"""

from collections.abc import Callable, Sequence

import structlog

from mainspring.ports.database import Database
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor
from mainspring.runtime.tables import EVENT_SUBJECTS_AFTER, LAST_SEQ, Told

log = structlog.get_logger()

BATCH_EVENTS = 512
POLL_S = 0.25

Heard = Callable[[str, str], None]  # an event's type and subject


class Tail:
    """Follows the log by ``seq``.

    ``alive`` is called after each look, however little it found; ``lost`` when the event it heard
    last is not in the log any more: the database fell back to an earlier state, and whatever was
    concluded from the log may be wrong.
    """

    __slots__ = ("_alive", "_board", "_database", "_heard", "_lost", "_supervisor")

    def __init__(
        self,
        database: Database,
        board: Notifier,
        heard: Heard,
        alive: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._database = database
        self._board = board
        self._heard = heard
        self._alive = alive
        self._lost = lost
        self._supervisor = Supervisor()

    async def start(self) -> None:
        """Follow from the log's present end."""
        last = await self._end()

        async def follow() -> None:
            nonlocal last
            with self._board.listen("sequenced", "events") as signal:
                while True:
                    signal.clear()
                    rows = await self._after(last)
                    if rows is None:
                        last = await self._end()
                        log.error("log_fell_back", log_ends_at=last.seq if last else 0)
                        self._lost()
                        continue
                    for row in rows:
                        self._heard(row.type, row.subject)
                        last = row
                    if len(rows) < BATCH_EVENTS:
                        self._alive()
                        await wait(signal, POLL_S)

        self._supervisor.start("tail", follow)

    async def _end(self) -> Told | None:
        """Return the log's last event."""
        seq = (await self._database.read(LAST_SEQ, ()))[0]
        rows = await self._database.read(EVENT_SUBJECTS_AFTER, (seq - 1, 1))
        return rows[0] if rows else None

    async def _after(self, last: Told | None) -> Sequence[Told] | None:
        """Return the next events; None when ``last`` is not in its place any more."""
        after = last.seq - 1 if last else 0
        rows = await self._database.read(EVENT_SUBJECTS_AFTER, (after, BATCH_EVENTS + 1))
        if last is None:
            return rows[:BATCH_EVENTS]
        return rows[1:] if rows and rows[0].id == last.id else None

    async def stop(self) -> None:
        """Stop following."""
        await self._supervisor.stop()

"""The sequencer: gives committed events their place in the log. PostgreSQL only.

Writers do not wait for each other, so a number taken inside a transaction says nothing about the
order of commits, and a reader of ``seq > last`` would pass by a transaction that commits late. Here
a number is given afterwards, to what one snapshot shows as committed: what commits later comes
later. It is written beside the event, which stays as it was committed. On SQLite the one writer
gives ``seq`` in the commit itself, and there is nothing to do.
"""

from collections.abc import Sequence

import msgspec

from mainspring.kernel import channel
from mainspring.kernel.table import Query, Statement, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor

BATCH_EVENTS = 1_000
WAITS_ORDINALS = 4_096  # behind the newest that has its place
POLL_S = 1.0  # a wake can be lost with its connection; the table never is
SEQUENCED: Wakes = frozenset({channel.SEQUENCED})

_TURN = 0x6D61696E73657175  # "mainsequ": whoever holds this lock gives the numbers

TAKE_TURN = Statement("runtime.take_turn", f"SELECT pg_try_advisory_xact_lock({_TURN})")

# Its snapshot must be younger than the lock, so these are two statements: with one, the last number
# given could be that of before the process that held the lock until now committed its own.
#
# What waits is what has no place, of the ordinals that are not *settled*: one is when it has its
# place, or never will, since its transaction was rolled back. Nothing is changed or deleted, so a
# snapshot that somebody holds leaves no dead rows to step over. The probe is a subquery and no
# join: it looks each ordinal up, however many places there are.
PLACE = Statement(
    "runtime.place_events",
    """
    INSERT INTO event_places (seq, ordinal, time_ms, settled)
    SELECT head.seq + row_number() OVER (ORDER BY waiting.ordinal),
        waiting.ordinal, waiting.time_ms, head.settled
    FROM (
        SELECT COALESCE(MAX(seq), 0) AS seq, GREATEST(COALESCE(MAX(settled), 0),
            CASE pg_postmaster_start_time()::text WHEN :server THEN :settled ELSE 0 END) AS settled
        FROM (SELECT seq, settled FROM event_places ORDER BY seq DESC LIMIT 1) AS newest
    ) AS head, LATERAL (
        SELECT ordinal, time_ms FROM events WHERE ordinal > head.settled
            AND (SELECT seq FROM event_places WHERE ordinal = events.ordinal) IS NULL
        ORDER BY ordinal LIMIT :limit
    ) AS waiting
    RETURNING ordinal, pg_current_xact_id()::text::bigint,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_postmaster_start_time()::text
    """,
)


class Waiting(msgspec.Struct, frozen=True):
    """The oldest event that is committed and has no place yet, and the newest that is committed.

    Both by their ordinals, as one snapshot shows them.
    """

    oldest: int | None
    newest: int


# What PLACE would place first. Asked often and by every process, so it looks no further back than
# ``WAITS_ORDINALS``, however long a transaction holds back what is settled.
WAITS = Query(
    "runtime.event_waits",
    f"""
    SELECT (SELECT ordinal FROM events
    WHERE ordinal > GREATEST(
            COALESCE((SELECT settled FROM event_places ORDER BY seq DESC LIMIT 1), 0),
            COALESCE((SELECT MAX(ordinal) FROM event_places), 0) - {WAITS_ORDINALS}
        )
        AND (SELECT seq FROM event_places WHERE ordinal = events.ordinal) IS NULL
    ORDER BY ordinal LIMIT 1), COALESCE((SELECT MAX(ordinal) FROM events), 0)
    """,
    Waiting,
)


class _Mark(msgspec.Struct, frozen=True):
    """A batch that was placed: its highest ordinal, and the id of its transaction.

    Whoever took an ordinal up to that one had an id before, so a lower one; when all lower ones
    have ended, no event with such an ordinal can still come.
    """

    ordinal: int
    xid: int
    server: str  # when it was started: ids and ordinals of another say nothing


class Sequencer:
    """Follows the wakes of commits and numbers their events, batch by batch.

    Any number of processes may run one: a lock that ends with its transaction lets one at a time
    give numbers. A kill at any moment leaves no gap and no duplicate, since a batch is one
    transaction that starts from the highest number there is.
    """

    def __init__(self, database: Database, board: Notifier) -> None:
        self._database = database
        self._board = board
        self._supervisor = Supervisor()
        self._mark = _Mark(0, 0, "")
        self._settled = 0

    async def start(self) -> None:
        """Number what waits, then follow; nothing on SQLite."""
        if self._database.dialect == "postgres":
            self._supervisor.start("sequencer", self._follow)

    def failing(self) -> list[str]:
        """Name the loops that fail, and why."""
        return self._supervisor.failing()

    def forget_all(self) -> None:
        """Look at all that may wait again: the database may not be as far as it was."""
        self._mark, self._settled = _Mark(0, 0, ""), 0

    async def stop(self) -> None:
        """Stop. What has no number yet gets it at the next start, or in another process."""
        await self._supervisor.stop()

    async def _follow(self) -> None:
        with self._board.listen(channel.EVENTS) as signal:
            while True:
                signal.clear()
                while await self.sequence() == BATCH_EVENTS:
                    pass
                await wait(signal, POLL_S)

    async def sequence(self) -> int:
        """Number the next events; return how many: 0 too while another process does it.

        On SQLite there are none to number.
        """
        if self._database.dialect != "postgres":
            return 0
        placed: list[tuple[int, int, int, str]] = []
        place = PLACE(server=self._mark.server, settled=self._settled, limit=BATCH_EVENTS)

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            placed.clear()
            if (await transaction.execute(TAKE_TURN()))[0][0]:
                placed.extend(await transaction.execute(place))
            return (), SEQUENCED if placed else NO_WAKES

        await self._database.transact(body)
        if placed:
            self._settle(placed)
        return len(placed)

    async def waits(self) -> Waiting:
        """Return what waits for its place, as far as is known; nothing ever does on SQLite.

        What was committed before this was asked has ordinals up to the newest. Once the oldest that
        waits is a later one, all of that has its place.
        """
        if self._database.dialect != "postgres":
            return Waiting(None, 0)
        return (await self._database.read(WAITS, ()))[0]

    def _settle(self, placed: Sequence[tuple[int, int, int, str]]) -> None:
        """Conclude from a batch how far everything has its place, for the next one to start at."""
        mark, newest = self._mark, max(placed)
        ordinal, xid, oldest_running, server = newest
        if server != mark.server:
            self._settled = 0
        elif oldest_running < mark.xid:
            return
        else:  # what the mark waited for was there to be placed, as far as this batch reached
            full = len(placed) == BATCH_EVENTS
            self._settled = max(self._settled, min(mark.ordinal, ordinal) if full else mark.ordinal)
        self._mark = _Mark(ordinal, xid, server)

"""The sequencer: gives committed events their place in the log. PostgreSQL only.

Writers do not wait for each other, so a number taken inside a transaction says nothing about the
order of commits, and a reader of ``seq > last`` would pass by a transaction that commits late. Here
a number is given afterwards, to what one snapshot shows as committed: what commits later comes
later. On SQLite the one writer gives ``seq`` in the commit itself, and there is nothing to do.
"""

from collections.abc import Sequence

from mainspring.kernel import channel
from mainspring.kernel.table import Statement, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor

BATCH_EVENTS = 1_000
POLL_S = 1.0  # a wake can be lost with its connection; the table never is
SEQUENCED: Wakes = frozenset({channel.SEQUENCED})

_TURN = 0x6D61696E73657175  # "mainsequ": whoever holds this lock gives the numbers

TAKE_TURN = Statement("runtime.take_turn", f"SELECT pg_try_advisory_xact_lock({_TURN})")

# Its snapshot must be younger than the lock, so these are two statements: with one, the last number
# given could be that of before the process that held the lock until now committed its own.
SEQUENCE = Statement(
    "runtime.sequence",
    """
    UPDATE events SET seq = head.seq + waiting.place
    FROM (SELECT COALESCE(MAX(seq), 0) AS seq FROM events) AS head,
         (SELECT ordinal, row_number() OVER (ORDER BY ordinal) AS place
            FROM (SELECT ordinal FROM events WHERE seq IS NULL ORDER BY ordinal LIMIT :limit)
              AS oldest) AS waiting
    WHERE events.ordinal = waiting.ordinal AND events.seq IS NULL
    RETURNING events.seq
    """,
)


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

    async def start(self) -> None:
        """Number what waits, then follow; nothing on SQLite."""
        if self._database.dialect == "postgres":
            self._supervisor.start("sequencer", self._follow)

    def failing(self) -> list[str]:
        """Name the loops that fail, and why."""
        return self._supervisor.failing()

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
        numbered = 0

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            nonlocal numbered
            numbered = 0
            if (await transaction.execute(TAKE_TURN()))[0][0]:
                numbered = len(await transaction.execute(SEQUENCE(limit=BATCH_EVENTS)))
            return (), SEQUENCED if numbered else NO_WAKES

        await self._database.transact(body)
        return numbered

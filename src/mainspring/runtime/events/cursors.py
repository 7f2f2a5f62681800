"""How far each consumer has come in each partition, and which process takes it further.

A consumer has a cursor on the log whichever bus it follows: its *place in the log*. On another bus
it has taken everything up to there, and what it has taken after that is in its inbox; so it goes on
where it was when the bus is changed for another, or for the log.

A process that takes events for a consumer holds its cursor under a lease, by the database's clock.
A claim gives the cursor a number that only grows, and every move names it: a process that was
frozen, or cut off, and comes back finds that its claim is an older one, and nothing of what it did
meanwhile is committed.
"""

from collections.abc import Iterable, Mapping

import msgspec

from mainspring.kernel import channel
from mainspring.kernel.sweep import HowMany
from mainspring.kernel.table import Command, Query, Statement, Table
from mainspring.ports.database import Database
from mainspring.runtime.database_clock import NOW_POSTGRES, NOW_SQLITE
from mainspring.runtime.tables import both_engines

SOURCE = "log"  # the log of the database that the cursors are in
PARTITION = 0
CONSUMED = frozenset({channel.CONSUMED})  # woken by every move
LEASE_S = 5.0  # a process that is silent for longer has lost its cursors to whoever comes first
RENEW_S = 1.5

_ONE = "consumer = :consumer AND source = :source AND partition = :partition"


class CursorMoved(Exception):
    """The cursor is not where it was, or another process has claimed it: claim it anew."""


class CursorRow(msgspec.Struct, frozen=True):
    """How far a consumer has come in a partition of a source, and who takes it further."""

    consumer: str
    source: str
    partition: int
    position: int
    owner: str = ""
    claim: int = 0
    lease_until_ms: int = 0
    trying: int = 0
    tries: int = 0


class _Held(msgspec.Struct, frozen=True):
    """A cursor as it is stored; ``free_in_ms`` is how long its lease still runs."""

    position: int
    owner: str
    claim: int
    trying: int
    tries: int
    free_in_ms: int


CURSORS = Table("consumer_cursors", CursorRow, key=("consumer", "source", "partition"))


def _by_database_time(name: str, text: str) -> Statement:
    return Statement(name, text.format(now=NOW_SQLITE), postgres=text.format(now=NOW_POSTGRES))


ALL_CURSORS = Query(
    "runtime.all_cursors",
    f"SELECT {CURSORS.columns} FROM consumer_cursors WHERE source = :source",
    CURSORS,
)
# A consumer follows one source at a time: what another process takes from another holds it off.
_FIND = f"""
SELECT position, owner, claim, trying, tries, (SELECT MAX(lease_until_ms) FROM consumer_cursors
    WHERE consumer = :consumer AND (source <> :source OR partition = :partition)) - {{now}}
FROM consumer_cursors WHERE {_ONE}
"""
FIND_CURSOR = Query(
    "runtime.cursor",
    _FIND.format(now=NOW_SQLITE),
    _Held,
    postgres=_FIND.format(now=NOW_POSTGRES),
)
_CLAIM = _by_database_time(
    "runtime.claim_cursor",
    "UPDATE consumer_cursors SET owner = :owner, claim = claim + 1, "
    f"lease_until_ms = {{now}} + CAST(:lease_ms AS bigint) WHERE {_ONE} AND claim = :claim",
)
_MOVE = _by_database_time(
    "runtime.move_cursor",
    "UPDATE consumer_cursors SET position = :position, "
    "lease_until_ms = {now} + CAST(:lease_ms AS bigint) "
    f"WHERE {_ONE} AND claim = :claim AND position = :after",
)
_TRY = _by_database_time(
    "runtime.try_event",
    "UPDATE consumer_cursors SET trying = :trying, tries = :tries, "
    f"lease_until_ms = {{now}} + CAST(:lease_ms AS bigint) WHERE {_ONE} AND claim = :claim",
)
_RENEW = _by_database_time(
    "runtime.renew_cursors",
    "UPDATE consumer_cursors SET lease_until_ms = {now} + CAST(:lease_ms AS bigint) "
    "WHERE owner = :owner",
)
_KNOWN = Query(
    "runtime.cursors_of",
    f"SELECT {CURSORS.columns} FROM consumer_cursors WHERE consumer = :consumer",
    CURSORS,
)
_ADVANCE = Statement(
    "runtime.advance_place_in_log",
    "UPDATE consumer_cursors SET position = :place "
    "WHERE consumer = :consumer AND source = 'log' AND position < :place",
)
# From the first place in the log that some consumer has not come past.
_PUBLISH_AGAIN = Statement(
    "runtime.publish_again",
    "UPDATE consumer_cursors SET claim = claim + 1, position = (SELECT MIN(position) "
    "FROM consumer_cursors WHERE source = 'log' AND consumer NOT LIKE 'publisher %') "
    "WHERE consumer = :publisher AND source = 'log' AND position > (SELECT MIN(position) "
    "FROM consumer_cursors WHERE source = 'log' AND consumer NOT LIKE 'publisher %')",
)
_RELEASE = Statement(
    "runtime.release_cursors",
    "UPDATE consumer_cursors SET owner = '', lease_until_ms = 0 WHERE owner = :owner",
)


# Of consumers that no version of the app that runs has any more. A cursor that was released says
# nothing of when; from the first look on it does.
_LEFT = "consumer NOT IN ({each}) AND consumer NOT LIKE 'publisher %'"
NOTE_LEFT_CURSORS = Statement(
    "runtime.note_left_cursors",
    **both_engines(
        "UPDATE consumer_cursors SET lease_until_ms = :now_ms WHERE (consumer, source, partition) "
        "IN (SELECT consumer, source, partition FROM consumer_cursors "
        f"WHERE lease_until_ms = 0 AND {_LEFT} LIMIT :limit {{lock}}) RETURNING 1",
        listed="names",
    ),
)
_COUNT_LEFT = (
    "SELECT COUNT(*) AS rows, NULL AS oldest_ms FROM (SELECT 1 FROM consumer_cursors "
    "WHERE lease_until_ms < {now} - 24 * 3600 * 1000 AND consumer NOT LIKE 'publisher %' "
    "LIMIT :most) AS counted"
)
# Those that nobody took further for a day.
COUNT_LEFT_CURSORS = Query(
    "runtime.count_left_cursors",
    _COUNT_LEFT.format(now=NOW_SQLITE),
    HowMany,
    postgres=_COUNT_LEFT.format(now=NOW_POSTGRES),
    scans=True,
)
FORGET_CURSORS = Statement(
    "runtime.forget_cursors",
    **both_engines(
        "DELETE FROM consumer_cursors WHERE (consumer, source, partition) "
        "IN (SELECT consumer, source, partition FROM consumer_cursors "
        f"WHERE lease_until_ms BETWEEN 1 AND :before_ms AND {_LEFT} LIMIT :limit {{lock}}) "
        "RETURNING 1",
        listed="names",
    ),
)


class ClaimedCursor:
    """A cursor this process has claimed. ``position`` is how far it has come.

    Where the process that held it before did not let go of it, but died perhaps, it was
    ``abandoned``: what it is at may be why. ``trying`` is the offset of an event that was tried so.
    """

    __slots__ = (
        "abandoned", "claim", "consumer", "partition", "position", "source", "tries", "trying",
    )  # fmt: skip

    def __init__(
        self, consumer: str, source: str, partition: int, held: "_Held", *, abandoned: bool = False
    ) -> None:
        self.consumer = consumer
        self.source = source
        self.partition = partition
        self.position = held.position
        self.claim = held.claim
        self.trying = held.trying
        self.tries = held.tries
        self.abandoned = abandoned

    def move(self, to: int) -> Command:
        """Return the write that takes it to ``to``. Raises CursorMoved where the claim is lost."""
        return _MOVE(
            position=to, lease_ms=_lease_ms(), consumer=self.consumer, source=self.source,
            partition=self.partition, claim=self.claim, after=self.position,
        ).expect(1, CursorMoved)  # fmt: skip


class Cursors:
    """The cursors of one process. ``owner`` is its name, another at every start."""

    __slots__ = ("_database", "_owner")

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    @property
    def first(self) -> bool:
        """Whether no other process can have held a cursor when this one was started."""
        return self._database.first

    async def make(self, cursors: Iterable[CursorRow]) -> None:
        """Make cursors, all at once; those that are there stay as they are."""
        await self._database.commit([CURSORS.insert(row, on_conflict=None) for row in cursors])

    async def known(self, consumer: str) -> bool:
        """Tell whether a consumer has a cursor, on whatever bus."""
        return bool(await self._database.read(_KNOWN, (consumer,)))

    async def positions(self, consumer: str, source: str) -> Mapping[int, int]:
        """Return how far a consumer has come in each partition of a source."""
        rows = await self._database.read(_KNOWN, (consumer,))
        return {row.partition: row.position for row in rows if row.source == source}

    async def place_in_log(self, consumer: str) -> int:
        """Return the place in the log up to which a consumer has taken everything."""
        return (await self.positions(consumer, SOURCE))[PARTITION]

    async def advance_place_in_log(self, consumer: str, place: int) -> None:
        """Say that a consumer has taken everything up to a place in the log; never goes back."""
        await self._database.commit([_ADVANCE(place=place, consumer=consumer)])

    async def publish_again(self, source: str) -> None:
        """Have everything published to a bus again that some consumer may not have taken."""
        await self._database.commit([_PUBLISH_AGAIN(publisher=publisher_of(source))])

    async def claim(
        self, consumer: str, source: str, partition: int, *, by_force: bool = False
    ) -> ClaimedCursor | float:
        """Claim a cursor; or return in how many seconds its owner's lease will have run out.

        ``by_force`` takes it from whoever has it: where no other process was when this one began.
        """
        held = (await self._database.read(FIND_CURSOR, (consumer, source, partition)))[0]
        if held.free_in_ms > 0 and held.owner != self._owner and not by_force:
            return held.free_in_ms / 1000
        claim = _CLAIM(
            owner=self._owner, lease_ms=_lease_ms(), consumer=consumer, source=source,
            partition=partition, claim=held.claim,
        ).expect(1, CursorMoved)  # fmt: skip
        try:
            await self._database.commit([claim])
        except CursorMoved:
            return LEASE_S
        # Whoever held it may have moved it since it was read, but not after this claim.
        now = (await self._database.read(FIND_CURSOR, (consumer, source, partition)))[0]
        now = msgspec.structs.replace(now, claim=held.claim + 1)
        abandoned = held.owner not in ("", self._owner)
        return ClaimedCursor(consumer, source, partition, now, abandoned=abandoned)

    async def move(self, cursor: ClaimedCursor, to: int) -> None:
        """Move a cursor, in a commit of its own. Raises CursorMoved."""
        await self._database.commit([cursor.move(to)], CONSUMED)
        cursor.position = to

    async def note_try(self, cursor: ClaimedCursor, offset: int) -> int:
        """Count that an event is about to be tried; return how often it was. Raises CursorMoved."""
        before = cursor.tries if cursor.trying == offset else 0
        noted = _TRY(
            trying=offset, tries=before + 1, lease_ms=_lease_ms(), consumer=cursor.consumer,
            source=cursor.source, partition=cursor.partition, claim=cursor.claim,
        ).expect(1, CursorMoved)  # fmt: skip
        await self._database.commit([noted])
        cursor.trying, cursor.tries = offset, before + 1
        return before

    async def renew(self) -> None:
        """Give every cursor of this process a full lease again."""
        await self._database.commit([_RENEW(lease_ms=_lease_ms(), owner=self._owner)])

    async def release(self) -> None:
        """Leave the cursors to others at once."""
        await self._database.commit([_RELEASE(owner=self._owner)])


def publisher_of(source: str) -> str:
    """Name the cursor on the log of what publishes it to a bus."""
    return f"publisher {source}"


def _lease_ms() -> int:
    return round(LEASE_S * 1000)

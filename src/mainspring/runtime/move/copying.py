"""Makes one database hold what another holds, page by page, and digests both whole.

Both are read in the order of their keys, and what is the same on both sides is passed by: a copy
that was cut goes on where it was, and after a first copy a second one writes what changed since.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from mainspring.kernel.errors import Conflict
from mainspring.kernel.table import Write
from mainspring.ports.database import Database, StartError
from mainspring.runtime.move.tables import Copied

PAGE_BYTES_MAX = 4 << 20
WRITES_MAX = 500  # of one commit
_encode = msgspec.msgpack.encode

Progress = Callable[[str, int], None]  # the table, and rows done since it was last called
Key = tuple[Any, ...]


class Digest(msgspec.Struct, frozen=True):
    """Everything in a table: how many rows, and SHA-256 over them in the order of their keys."""

    rows: int
    sha256: str


class _Side:
    """The rows of a table in one database, a page at a time."""

    def __init__(self, database: Database, copied: Copied) -> None:
        self._database, self._copied = database, copied
        self._after: Key | None = None
        self.rows: list[Any] = []

    async def fill(self) -> None:
        """Have rows, unless there are no more."""
        if self.rows:
            return
        self.rows = await self._copied.page(self._database, self._after, PAGE_BYTES_MAX)
        if self.rows:
            self._after = self.last

    @property
    def last(self) -> Key:
        """The key of the last row it has."""
        return self._copied.key_of(self.rows[-1])

    def take(self, bound: Key) -> list[Any]:
        """Take the rows up to a key."""
        key_of = self._copied.key_of
        upto = len(self.rows)
        while upto and key_of(self.rows[upto - 1]) > bound:
            upto -= 1
        taken, self.rows = self.rows[:upto], self.rows[upto:]
        return taken


class _Hash:
    def __init__(self) -> None:
        self._hash, self._rows = hashlib.sha256(), 0

    def add(self, rows: Sequence[Any]) -> None:
        self._hash.update(b"".join(map(_encode, rows)))
        self._rows += len(rows)

    def digest(self) -> Digest:
        return Digest(self._rows, self._hash.hexdigest())


async def clear(copied: Copied, source: Database, target: Database) -> int:
    """Remove what the target holds and the source does not; return how many rows that were.

    Each page is a commit of its own. Done before any is added: whatever is unique in the source is
    then unique on the way there as well.
    """
    removed = 0
    async for ours, theirs in _in_step(copied, source, target):
        if ours != theirs and theirs:
            wanted = {copied.key_of(row): row for row in ours}
            strange = [row for row in theirs if wanted.get(copied.key_of(row)) != row]
            await write(target, [copied.take_away(row) for row in strange])
            removed += len(strange)
        if not theirs and not await copied.page(target, copied.key_of(ours[-1]), PAGE_BYTES_MAX):
            break  # nothing further on is in the way
    return removed


async def add(
    copied: Copied, source: Database, target: Database, progress: Progress
) -> tuple[int, Digest]:
    """Add what the target lacks; return how many rows, and the digest of the source.

    A table that others change meanwhile is copied roughly, and its digest is of no moment.
    """
    added, held = 0, _Hash()
    async for ours, theirs in _in_step(copied, source, target):
        if ours != theirs:
            there = {copied.key_of(row) for row in theirs}
            missing = [row for row in ours if copied.key_of(row) not in there]
            try:
                await write(target, await copied.put(target, missing))
            except Conflict as error:
                raise StartError(
                    f"the other database takes not every row of {copied.name}: a unique index or a "
                    "check of its own is in the way"
                ) from error
            added += len(missing)
        held.add(ours)
        progress(copied.name, len(ours))
    return added, held.digest()


async def digest(copied: Copied, database: Database, progress: Progress) -> Digest:
    """Read a whole table."""
    held, after = _Hash(), None
    while rows := await copied.page(database, after, PAGE_BYTES_MAX):
        held.add(rows)
        after = copied.key_of(rows[-1])
        progress(copied.name, len(rows))
    return held.digest()


async def _in_step(
    copied: Copied, source: Database, target: Database
) -> AsyncIterator[tuple[list[Any], list[Any]]]:
    """Yield the rows of both databases between the same keys, from the first to the last."""
    ours, theirs = _Side(source, copied), _Side(target, copied)
    while True:
        await ours.fill()
        await theirs.fill()
        bounds = [side.last for side in (ours, theirs) if side.rows]
        if not bounds:
            return
        yield ours.take(min(bounds)), theirs.take(min(bounds))


async def write(database: Database, writes: Sequence[Write]) -> None:
    """Commit some writes, so many at a time."""
    for start in range(0, len(writes), WRITES_MAX):
        await database.commit(writes[start : start + WRITES_MAX])

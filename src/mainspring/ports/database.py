"""The database port: key reads, bounded scans, and commits that take all of a call or none."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from mainspring.kernel.channel import Channel
from mainspring.kernel.reader import Reader
from mainspring.kernel.table import Command, Query, Rows, Write

R = TypeVar("R")

Wakes = frozenset[Channel]
NO_WAKES: Wakes = frozenset()
ALL_WAKES = Channel("*")  # what an adapter says when it cannot know what was missed
COMMIT_QUEUE_MAX = 4_096  # calls waiting for their commit; one more is refused with Unavailable
SCAN_STEPS_MAX = 20_000_000  # virtual machine steps of one unbounded query (SQLite)
SCAN_DEADLINE_S = 2.0


class DatabaseTransaction(Protocol):
    """An open transaction: its reads see its own statements."""

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query."""
        ...

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query, as ``Database.page`` does."""
        ...

    async def execute(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement now; return what it ``RETURNING``s. Raises as ``commit`` does."""
        ...

    async def apply(self, writes: Sequence[Write]) -> None:
        """Apply writes now, in their order. Raises as ``commit`` does."""
        ...


class ReplicaStanding(msgspec.Struct, frozen=True):
    """How a replica is doing, as one process sees it.

    ``lag_s`` is how old its rows are at most, None where that is not known; ``why`` it is not read
    from, empty where it is. ``served`` reads were answered by it, and ``left`` ones begun there
    that the primary answered.
    """

    name: str
    lag_s: float | None
    why: str
    served: int
    left: int


class Replicas(Protocol):
    """Copies of a database that lag a little behind it, each within a bound or not read from."""

    def reader(self, after: str) -> Reader | None:
        """Return what reads from one of them; None where the database itself has to be read.

        ``after`` is ``any``, ``newest``, or a position: all that was committed before that was
        given is seen. A read that fails there is done at the database, and so is what follows.
        """
        ...

    async def position(self) -> str:
        """Return a position after all that was acknowledged by now; ``newest`` if not known."""
        ...

    async def look(self) -> None:
        """Look now how each is doing, which happens by itself in the time that one may lag."""
        ...

    def standing(self) -> list[ReplicaStanding]:
        """How each is doing."""
        ...


class Database(Protocol):
    """One database: the unit of commit. Safe for concurrent use by the tasks of one event loop."""

    @property
    def dialect(self) -> Literal["sqlite", "postgres"]:
        """Which SQL it speaks."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether no other process can have this database open at the same time."""
        ...

    @property
    def first(self) -> bool:
        """Whether no other process had it open when this one was started, as far as it knows."""
        ...

    @property
    def replicas(self) -> Replicas | None:
        """Its replicas, where it has any."""
        ...

    async def open(self) -> None:
        """Connect. Raises StartError with one clear line when that cannot work."""
        ...

    async def close(self) -> None:
        """Finish what was queued, then disconnect."""
        ...

    def recheck(self, query: Query[R], judge: Callable[[list[R]], None]) -> None:
        """Make sure from now on that it is still this database that answers.

        Where a connection may come to lead to another, the query is run on each before it is used,
        and once a second after. ``judge`` is given the rows, in whatever thread, and raises
        Unavailable, with why, to keep it from being used. A file that was replaced while it is open
        is refused without being asked.
        """
        ...

    async def version(self) -> str:
        """Name and version of the real server or library: ``SQLite 3.54.1``."""
        ...

    async def read(self, query: Query[R], values: tuple[Any, ...]) -> list[R]:
        """Return the rows of a query, from the newest commit.

        A query that ``scans`` runs beside the event loop, with a deadline and a budget. Raises
        NeedsIndex when it exceeds them.
        """
        ...

    async def page(self, query: Query[R], values: tuple[Any, ...], bytes_max: int) -> Rows[R]:
        """Return the first rows of a query: as many as have ``bytes_max`` of text and bytes.

        The first row comes however long it is. What does not fit is not read into this process,
        but for one row. Raises as ``read`` does.
        """
        ...

    async def commit(self, writes: Sequence[Write], wakes: Wakes = NO_WAKES) -> None:
        """Apply the writes of one call in one transaction, durably, or none of them.

        Raises Rerun when a guard fails, the write's own failure when a unique index or an expected
        row count is broken, Unavailable when the queue is full or the database cannot be reached,
        and OutcomeUnknown when it could not be learned whether the commit happened: it is never
        tried again here, and safe for the caller to repeat with its idempotency key. Calls are
        committed in groups; one that fails does not touch the others. A caller that is cancelled
        does not cancel its commit.

        ``wakes`` reach every listener of every process soon after the commit, at least once, unless
        this process or the server dies in between; one that may have missed some hears ``*``.
        """
        ...

    def post(self, writes: Sequence[Write]) -> None:
        """Queue a commit from any thread and do not wait; a failure is logged.

        For heartbeats, which must go on while a job blocks the event loop.
        """
        ...

    async def transact(
        self, body: Callable[[DatabaseTransaction], Awaitable[tuple[Sequence[Write], Wakes]]]
    ) -> None:
        """Run ``body`` inside one transaction, apply the writes it returns, and commit.

        ``body`` may await nothing but the transaction, and may run more than once. Whatever it
        raises rolls everything back and is raised here; it must let a failed statement's pass,
        since PostgreSQL gives the whole transaction up with it. Raises as ``commit`` does.
        """
        ...

    async def scrub(self) -> None:
        """Make what was deleted unreadable in the files, where that is this adapter's to do.

        SQLite empties its write-ahead log into the file, whose deleted parts it has overwritten. A
        server does so in its own time (VACUUM, the retention of its log). Raises Unavailable.
        """
        ...

    def on_wake(self, listener: Callable[[Wakes], None]) -> None:
        """Call ``listener`` on the event loop after each commit that wakes somebody."""
        ...

    def on_group(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` on the event loop with how many calls each group commit held."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for their commit now."""
        ...

    async def set_triggers(self, *, on: bool) -> None:
        """Have triggers run or not, in all that is committed from now on.

        Off is for a copy: its rows were judged where they come from, and what triggers wrote beside
        them is copied too. Nobody else may write meanwhile. They may stay off when this process
        dies, so whoever turned them off turns them on again before the database is used. Raises
        Unavailable.
        """
        ...

    async def applied(self) -> dict[str, str]:
        """Return the digest of each migration that was applied, by its name; none in a new one."""
        ...

    async def migrate(self, name: str, script: str) -> bool:
        """Apply a migration once, with the note that it was applied, in one transaction.

        ``name`` orders and identifies it. Returns False when it was applied before. Raises
        StartError when an applied script has changed since.
        """
        ...


def digest_of(script: str) -> str:
    """Return what a migration's text is known by."""
    return hashlib.sha256(script.encode()).hexdigest()


class StartError(Exception):
    """Why a part cannot start, in one line a person can act on."""

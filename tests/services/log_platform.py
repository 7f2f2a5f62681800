"""A small platform around the event log, which the tests of audit and events share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, BinaryIO, Self

import msgspec

from mainspring import App
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.event import Personal
from mainspring.kernel.event_log import LogName
from mainspring.kernel.service import Service
from mainspring.runtime.audit.merkle_store import Tree
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.identity import FIND_IDENTITY, went_back
from mainspring.runtime.notifier import wait
from mainspring.services.audit.export import export
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S
from tests.tampering import LOSE_AFTER

ORIGIN = "tests.example/log"

notes = Service("notes", doc="Something that happens.")


@notes.event("notes.note.written")
class Written(msgspec.Struct, frozen=True):
    id: str
    text: str
    stars: int = 0


@notes.event("notes.note.burnt")
class Burnt(msgspec.Struct, frozen=True):
    id: str


@notes.event("notes.author.named", person="id")
class Named(msgspec.Struct, frozen=True):
    id: str
    name: Annotated[str | None, Personal]


app = App("notes", services=[notes])


class LogPlatform:
    """A platform at rest whose log is empty, and a service that emits."""

    def __init__(self, whole: Platform, log: LogName) -> None:
        self.whole = whole
        self.runtime = whole.app.runtime
        self.database = whole.app.database
        self.keyring = whole.app.keyring
        self.sealer = whole.app.sealer
        self.clock = whole.clock
        self.log = log
        self.count = 0

    @classmethod
    @asynccontextmanager
    async def over(cls, server: str | None) -> AsyncIterator[Self]:
        """Open one on SQLite, or on a PostgreSQL server."""
        async with Platform(app, database=server, settings={"audit.origin": ORIGIN}) as whole:
            # Places are counted from one: what a start writes is not what is tested here.
            await whole.app.database.commit([LOSE_AFTER(seq=0)])
            await whole.app.runtime.sequencer.start()
            (row,) = await whole.app.database.read(FIND_IDENTITY, ())
            yield cls(whole, LogName(row.id, row.epoch))
            await whole.app.runtime.sequencer.stop()

    async def at(self, seq: int) -> str:
        """Return the position of a place in this log, as callers are given it."""
        return await Positions(self.database).write(seq)

    async def restored(self) -> LogName:
        """Restore the database, as ``mainspring restore`` does before anybody asks for its name."""
        self.log = LogName(self.log.id, await went_back(self.database))
        await self.whole.app.recheck.start(self.database)
        return self.log

    def call(self, caller: Caller = SYSTEM) -> Any:
        return self.runtime.dispatcher.call(caller, request_id="req")

    async def emit(self, *happened: Any, caller: Caller = SYSTEM) -> list[str]:
        """Commit events, each of its own call; return their ids once they are in the log."""
        ids = await self.emit_unplaced(*happened, caller=caller)
        await self.placed()
        return ids

    async def emit_unplaced(self, *happened: Any, caller: Caller = SYSTEM) -> list[str]:
        calls = [self.call(caller) for _ in happened]
        ids = [call.emit(data) for call, data in zip(calls, happened, strict=True)]
        await self.runtime.dispatcher.commit_all(calls)
        self.count += len(happened)
        return ids

    async def placed(self) -> None:
        """Wait until every event has its place in the log."""
        async with asyncio.timeout(DEADLINE_S):
            with self.runtime.board.listen("events", "sequenced") as signal:
                while True:
                    signal.clear()
                    if await Tree(self.database).size() == self.count:
                        return
                    await wait(signal, DEADLINE_S)

    async def write(self, count: int, caller: Caller = SYSTEM) -> list[str]:
        """Emit this many notes."""
        first = self.count
        happened = [Written(f"note_{first + i}", f"text {i}", i % 10) for i in range(count)]
        return await self.emit(*happened, caller=caller)

    async def ask(self, name: str, /, *, caller: Caller = SYSTEM, **args: Any) -> Any:
        """Run an operation; return its answer as JSON says it."""
        operation = self.runtime.registry.operations[name]
        query = args.pop("query", None)
        if operation.query is not None:
            args["query"] = msgspec.convert(query or {}, operation.query)
        outcome = await self.runtime.dispatcher.run(operation, self.call(caller), args)
        return msgspec.json.decode(outcome.body)

    async def erase(self, person: str) -> None:
        self.sealer.forget("main", person)
        await self.database.commit(self.sealer.erase(self.call(SYSTEM), person))

    async def export(self, out: BinaryIO, **options: Any) -> None:
        """Write the audit export."""
        now_ms = self.clock.now_ms()
        log = self.runtime.event_log
        await export(self.database, log, self.keyring, out, origin=ORIGIN, now_ms=now_ms, **options)

"""A small platform around the event log, which the tests of audit and events share."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.event import Personal
from mainspring.kernel.service import Service
from mainspring.ports.database import Database
from mainspring.runtime.audit.merkle_store import Tree
from mainspring.runtime.database_clock import DatabaseClock
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.notifier import wait
from mainspring.runtime.runtime import Runtime
from mainspring.services.audit import service as audit
from mainspring.services.audit.api import AuditSettings
from mainspring.services.audit.export import export
from mainspring.services.events import service as events
from mainspring.testing.clock import FakeClock, SeededEntropy

ORIGIN = "tests.example/log"
PATIENCE_S = 10.0

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


class LogPlatform:
    """Audit, events and a service that emits, over one database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = FakeClock()
        entropy = SeededEntropy(1)
        self.keyring = FileKeyring(folder / "keyring.json", clock=self.clock, entropy=entropy)
        self.sealer = FieldEncryption(database, self.keyring, entropy, self.clock)
        self.runtime = Runtime(
            database,
            [notes, audit, events],
            keyring=self.keyring,
            sealer=self.sealer,
            resources={
                Database: database,
                DatabaseClock: DatabaseClock(self.clock),
                AuditSettings: AuditSettings(origin=ORIGIN),
            },
            telemetry=Rollups(self.clock),
            clock=self.clock,
            entropy=entropy,
        )
        self.runtime.dispatcher.on_commit(self.sealer.on_commit)
        self.count = 0

    async def open(self) -> None:
        await self.keyring.open()
        await self.runtime.migrate()
        await self.runtime.sequencer.start()

    async def close(self) -> None:
        await self.runtime.sequencer.stop()

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
        async with asyncio.timeout(PATIENCE_S):
            with self.runtime.board.listen("events", "sequenced") as signal:
                while True:
                    signal.clear()
                    if await Tree(self.database).size() == self.count:
                        return
                    await wait(signal, PATIENCE_S)

    async def write(self, count: int, caller: Caller = SYSTEM) -> list[str]:
        """Emit this many notes."""
        first = self.count
        happened = [Written(f"note_{first + i}", f"text {i}", i % 10) for i in range(count)]
        return await self.emit(*happened, caller=caller)

    async def ask(self, name: str, *, caller: Caller = SYSTEM, **args: Any) -> Any:
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

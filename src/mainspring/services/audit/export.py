"""The export: the whole log as lines of JSON that anyone can check without us.

One header with the signed checkpoint, then per event ``{"seq", "leaf", "body"}`` where ``body`` is
byte for byte what was hashed, after every 256 events a *milestone* that proves the tree so far to
be the beginning of the signed one, and one end line. Events of other tenants, and
those that whoever exports may not read, are there as leaves without bodies, so the proof is whole
and nothing of them is shown.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

import msgspec

from mainspring import EventLog, LogEntry
from mainspring.kernel.event_log import CHUNK_EVENTS
from mainspring.kernel.merkle import LogDamaged
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.audit.checkpoints import publish, verifier_key

FORMAT = 1
MILESTONE_EVENTS = 256

Progress = Callable[[int, int], None]  # events done, events in all


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line. ``checkpoint`` is a signed note; ``key`` the verifier key it names."""

    export: int
    origin: str
    key: str
    size: int
    checkpoint: str


class ExportedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event; without a body it belongs to somebody who did not make this export."""

    seq: int
    leaf: bytes
    body: msgspec.Raw = msgspec.Raw(b"")


class Milestone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The consistency proof (RFC 9162, 2.1.4) from the first ``milestone`` events to all."""

    milestone: int
    proof: list[bytes]


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: how many events there were."""

    end: int


_line = msgspec.json.Encoder().encode


async def lines(
    database: Database,
    log: EventLog,
    keyring: Keyring,
    *,
    origin: str,
    now_ms: int,
    shown: Callable[[LogEntry], Awaitable[bool]] | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[bytes]:
    """Yield the export in chunks of whole lines, at most 256 events each.

    ``shown`` says whose bodies are there; by default all. Raises LogDamaged when
    events are missing.
    """
    row = await publish(database, log, keyring, origin=origin, now_ms=now_ms)
    key = str(verifier_key(keyring, origin))
    yield _line(Header(FORMAT, origin, key, row.size, row.note)) + b"\n"
    tree = log.tree()
    done = 0
    while done < row.size:
        room = min(MILESTONE_EVENTS - done % MILESTONE_EVENTS, row.size - done)
        entries = (await log.entries_after(done, min(CHUNK_EVENTS, room))).items
        if not entries or entries[-1].seq != done + len(entries):
            raise LogDamaged(f"events are missing after {done}")
        done += len(entries)
        chunk = [_entry_line(entry, shown=shown is None or await shown(entry)) for entry in entries]
        if done % MILESTONE_EVENTS == 0 and done < row.size:
            chunk.append(_line(Milestone(done, await tree.consistency(done, row.size))) + b"\n")
        yield b"".join(chunk)
        if progress is not None:
            progress(done, row.size)
    yield _line(End(row.size)) + b"\n"


async def export(
    database: Database,
    log: EventLog,
    keyring: Keyring,
    out: BinaryIO,
    *,
    origin: str,
    now_ms: int,
    progress: Progress | None = None,
) -> None:
    """Write the whole export to a file."""
    chunks = lines(database, log, keyring, origin=origin, now_ms=now_ms, progress=progress)
    async for chunk in chunks:
        out.write(chunk)


def _entry_line(entry: LogEntry, *, shown: bool) -> bytes:
    head = b'{"seq":%d,"leaf":"%b"' % (entry.seq, base64.b64encode(entry.leaf))
    return b'%b,"body":%b}\n' % (head, entry.body.encode()) if shown else head + b"}\n"

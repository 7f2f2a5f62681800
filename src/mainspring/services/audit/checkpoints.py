"""Publishing checkpoints: never one that contradicts another.

A checkpoint is signed only after it is proved to extend the last published one, and that one is
kept in the database, so neither a restart nor a second process can sign a fork of the log. It is
stored outside of any call's commit: it follows from events that are committed already.
"""

from functools import partial

from mainspring import EventLog, elapsed_ms, rfc3339
from mainspring.kernel.merkle import LogDamaged, extends
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.audit.model import (
    SIGNATURES_MAX,
    BadNote,
    Checkpoint,
    VerifierKey,
    countersigned,
    open_note,
    sign,
)
from mainspring.services.audit.store import CHECKPOINTS, LATEST, OF_SIZE, CheckpointRow

PUBLISHED_EVERY_MS = 1_000  # at most one a second, unless an event newer than it must be proved


def verifier_key(keyring: Keyring, origin: str) -> VerifierKey:
    """Return the public key that checkpoints are signed with."""
    return VerifierKey(origin, keyring.public_key())


def _is_signed(note: str, key: VerifierKey) -> bool:
    try:
        open_note(note, key)
    except BadNote:
        return False
    return True


async def latest(database: Database) -> CheckpointRow | None:
    """Return the checkpoint published last."""
    rows = await database.read(LATEST, ())
    return rows[0] if rows else None


async def publish(
    database: Database,
    log: EventLog,
    keyring: Keyring,
    *,
    origin: str,
    now_ms: int,
    at_least: int = 0,
) -> CheckpointRow:
    """Return a checkpoint that covers the log, or at least its first ``at_least`` events.

    The last one is answered again while it is younger than ``PUBLISHED_EVERY_MS`` or the log has
    not grown. It is signed with the keys the keyring holds, the newest first, so that whoever noted
    an earlier one verifies across a rotation. Raises LogDamaged when the log is not an extension of
    what was published.
    """
    last = await latest(database)
    signed = last is not None and _is_signed(last.note, verifier_key(keyring, origin))
    age_ms = elapsed_ms(last.time_ms, now_ms) if last else 0
    if last and signed and last.size >= at_least and age_ms < PUBLISHED_EVERY_MS:
        return last
    tree = log.tree()
    size = await tree.size()
    if last and signed and size == last.size:
        return last
    root = await tree.root(size)
    if last:
        if size < last.size:
            raise LogDamaged(f"{last.size} events were signed for and {size} are there")
        proof = await tree.consistency(last.size, size)
        if not extends(last.size, last.root, size, root, proof):
            raise LogDamaged(f"the first {last.size} events are not those that were signed for")
    checkpoint = Checkpoint(origin, size, root, rfc3339(now_ms))
    note = sign(checkpoint, verifier_key(keyring, origin), keyring.sign)
    for public in keyring.public_keys()[1:SIGNATURES_MAX]:
        older = VerifierKey(origin, public)
        note = countersigned(note, older, partial(keyring.sign, public=public))
    row = CheckpointRow(size, root, now_ms, note)
    if last and size == last.size:  # from before the newest key
        await database.commit([CHECKPOINTS.update_unguarded(last, time_ms=now_ms, note=note)])
    else:
        await database.commit([CHECKPOINTS.insert(row, on_conflict=None)])
    return (await database.read(OF_SIZE, (size,)))[0]

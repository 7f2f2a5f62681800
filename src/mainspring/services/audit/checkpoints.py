"""Publishing checkpoints: never one that contradicts another.

A checkpoint is signed only after it is proved to extend what was signed before: by the database,
which keeps the last one published, and by the keyring, which remembers what its keys have signed.
The database may go back, and then the keyring refuses; it stands apart for that. A checkpoint is
stored outside of any call's commit: it follows from events that are committed already.
"""

import structlog

from mainspring import EventLog, Unavailable, elapsed_ms, rfc3339
from mainspring.kernel.merkle import LogDamaged, MerkleTree, extends
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring, SignedTree, TreeContradicts
from mainspring.services.audit.api import CheckpointRefused
from mainspring.services.audit.model import (
    BadNote,
    Checkpoint,
    VerifierKey,
    open_note,
    signed_note,
)
from mainspring.services.audit.store import CHECKPOINTS, LATEST, OF_SIZE, CheckpointRow

logger = structlog.get_logger()

PUBLISHED_EVERY_MS = 1_000  # at most one a second, unless an event newer than it must be proved
ATTEMPTS_MAX = 8  # while other processes sign too

ADVICE = (
    "if the database was restored, or fell back to a copy that lacks commits, run mainspring admin "
    "restored: another key signs from then on; if it was not, somebody has changed the log: "
    "compare it with an export or a backup first"
)


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
    an earlier one verifies across a rotation. Raises CheckpointRefused when the log is not an
    extension of what was signed, and says so in the log; and Unavailable.
    """
    try:
        return await _publish(database, log, keyring, origin, now_ms, at_least)
    except CheckpointRefused as refused:
        logger.error("checkpoint_refused", why=refused.detail, advice=ADVICE)
        raise


async def _publish(
    database: Database, log: EventLog, keyring: Keyring, origin: str, now_ms: int, at_least: int
) -> CheckpointRow:
    for _ in range(ATTEMPTS_MAX):
        last = await latest(database)
        signed = last is not None and _is_signed(last.note, verifier_key(keyring, origin))
        age_ms = elapsed_ms(last.time_ms, now_ms) if last else 0
        if last and signed and last.size >= at_least and age_ms < PUBLISHED_EVERY_MS:
            return last
        # Before the size is read: whoever signed a tree had read as many events as it has.
        before = await keyring.last_signed(origin)
        tree = log.tree()
        size = await tree.size()
        if last and any(_is_signed(last.note, key) for key in _keys(keyring, origin)):
            await _require_extended(tree, size, SignedTree(last.size, last.root))
        proof = await _require_extended(tree, size, before) if before else []
        if last and signed and size == last.size:
            return last
        checkpoint = Checkpoint(origin, size, await tree.root(size), rfc3339(now_ms))
        stated = SignedTree(size, checkpoint.root)
        try:
            made = await keyring.sign_tree(origin, stated, checkpoint.text().encode(), proof)
        except TreeContradicts as error:
            if error.signed == before:
                raise _refused(f"{error}") from error
            continue  # another process has signed meanwhile
        note = signed_note(checkpoint, {VerifierKey(origin, key): made[key] for key in made})
        row = CheckpointRow(size, checkpoint.root, now_ms, note)
        if last and size == last.size:  # from before the newest key
            await database.commit([CHECKPOINTS.update_unguarded(last, time_ms=now_ms, note=note)])
        else:
            await database.commit([CHECKPOINTS.insert(row, on_conflict=None)])
        return (await database.read(OF_SIZE, (size,)))[0]
    raise Unavailable("other processes are signing checkpoints: try again", retry_after_s=1)


async def require_unchanged(log: EventLog, keyring: Keyring, origin: str) -> SignedTree | None:
    """Hold the log against what the keyring remembers; return that. Raises CheckpointRefused."""
    before = await keyring.last_signed(origin)
    if before is not None:
        tree = log.tree()
        await _require_extended(tree, await tree.size(), before)
    return before


def _keys(keyring: Keyring, origin: str) -> list[VerifierKey]:
    return [VerifierKey(origin, public) for public in keyring.public_keys()]


async def _require_extended(tree: MerkleTree, size: int, before: SignedTree) -> list[bytes]:
    """Return the proof that the log extends a tree that was signed. Raises CheckpointRefused."""
    if size < before.size:
        raise _refused(f"{before.size} events were signed for and {size} are there")
    try:
        root = await tree.root(size)
        proof = await tree.consistency(before.size, size)
    except LogDamaged as damage:
        raise _refused(f"{damage}") from damage
    if not extends(before.size, before.root, size, root, proof):
        raise _refused(f"the first {before.size} events are not those that were signed for")
    return proof


def _refused(why: str) -> CheckpointRefused:
    return CheckpointRefused(f"the audit log is not signed: {why}")

"""Publishing checkpoints: never one that contradicts another.

A checkpoint is signed only after it is proved to extend the last published one, and that one is
kept in the database, so neither a restart nor a second process can sign a fork of the log. It is
stored outside of any call's commit: it follows from events that are committed already.
"""

from mainspring.kernel.clock import rfc3339
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.runtime.merkle import extends
from mainspring.runtime.tree import LogDamaged, Tree
from mainspring.services.audit.model import Checkpoint, VerifierKey, sign
from mainspring.services.audit.store import CHECKPOINTS, LATEST, OF_SIZE, CheckpointRow

PUBLISHED_EVERY_MS = 1_000  # at most one a second, unless an event newer than it must be proved


def verifier_key(keyring: Keyring, origin: str) -> VerifierKey:
    """Return the public key that checkpoints are signed with."""
    return VerifierKey(origin, keyring.public_key())


async def latest(database: Database) -> CheckpointRow | None:
    """Return the checkpoint published last."""
    rows = await database.read(LATEST, ())
    return rows[0] if rows else None


async def publish(
    database: Database, keyring: Keyring, *, origin: str, now_ms: int, at_least: int = 0
) -> CheckpointRow:
    """Return a checkpoint that covers the log, or at least its first ``at_least`` events.

    The last one is answered again while it is younger than ``PUBLISHED_EVERY_MS`` or the log has
    not grown. Raises LogDamaged when the log is not an extension of what was published.
    """
    last = await latest(database)
    if last and last.size >= at_least and now_ms - last.time_ms < PUBLISHED_EVERY_MS:
        return last
    tree = Tree(database)
    size = await tree.size()
    if last and size == last.size:
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
    row = CheckpointRow(size, root, now_ms, note)
    await database.commit([CHECKPOINTS.insert(row, taken=None)])
    return (await database.read(OF_SIZE, (size,)))[0]

"""The Merkle tree over the event log of a database, read in bounded pieces.

Leaf ``i`` is the event with ``seq = i + 1``. The roots of complete subtrees of 256, 256², … leaves
are kept in ``tree_nodes``, so a proof reads a few *blocks* of at most 256 hashes at any size: two
for each factor of 256. The nodes follow from the leaves and are a cache: whoever asks for a proof
brings them up to date first, any number of processes at once, and losing them loses nothing.
"""

from collections.abc import Sequence

from mainspring.kernel import merkle
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.merkle import LogDamaged
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from mainspring.runtime.tables import LAST_SEQ

BLOCK_HEIGHT = 8
BLOCK_HASHES = 1 << BLOCK_HEIGHT
GROWTH_BLOCKS_MAX = 8  # blocks hashed between two commits of nodes: 2,048 leaves
BLOCKS_HELD_MAX = 64  # blocks one Tree remembers

LEAVES = Query(
    "runtime.leaves",
    "SELECT leaf FROM logged_events WHERE seq > :begin AND seq <= :end ORDER BY seq",
    bytes,
)
_NODES = Query(
    "runtime.tree_nodes",
    "SELECT hash FROM tree_nodes WHERE level = :level AND position >= :begin AND position < :end"
    " ORDER BY position",
    bytes,
)
_NODES_KEPT = Query(
    "runtime.tree_nodes_kept",
    "SELECT COALESCE(MAX(position) + 1, 0) FROM tree_nodes WHERE level = :level",
    int,
)
_KEEP_NODE = Statement(
    "runtime.keep_tree_node",
    "INSERT INTO tree_nodes (level, position, hash) VALUES (:level, :position, :hash)"
    " ON CONFLICT DO NOTHING",
)


class Tree:
    """Roots and proofs of one database's log. Keeps what it read: make one per request or pass."""

    __slots__ = ("_blocks", "_database", "_grown_to")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks: LruCache[tuple[int, int, int], list[bytes]] = LruCache(BLOCKS_HELD_MAX)
        self._grown_to = 0

    async def size(self) -> int:
        """Return how many events have their place in the log."""
        return (await self._database.read(LAST_SEQ, ()))[0]

    async def root(self, size: int) -> bytes:
        """Return the root over the first ``size`` events. Raises LogDamaged."""
        return merkle.EMPTY_ROOT if size == 0 else (await self._hashes([(0, size)], size))[0]

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the path from an event to the root. Raises ValueError, LogDamaged."""
        return await self._hashes(merkle.inclusion_spans(index, size), size)

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """Return the proof that one tree extends another. Raises ValueError, LogDamaged."""
        return await self._hashes(merkle.consistency_spans(first, second), second)

    async def grow(self, size: int) -> None:
        """Keep the nodes of every complete subtree among the first ``size`` events.

        Idempotent. Commits every ``GROWTH_BLOCKS_MAX`` blocks, so what was hashed before an
        interruption stays. Raises LogDamaged.
        """
        if size <= self._grown_to:
            return
        level = 1
        while complete := size >> (BLOCK_HEIGHT * level):
            kept = (await self._database.read(_NODES_KEPT, (level,)))[0]
            while kept < complete:
                until = min(kept + GROWTH_BLOCKS_MAX, complete)
                writes = []
                for position in range(kept, until):
                    children = await self._read(level - 1, position, BLOCK_HASHES)
                    node = merkle.root_of(children)
                    writes.append(_KEEP_NODE(level=level, position=position, hash=node))
                await self._database.commit(writes)
                kept = until
            level += 1
        self._grown_to = size

    async def _hashes(self, spans: Sequence[merkle.Span], size: int) -> list[bytes]:
        await self.grow(size)
        found = []
        for span in spans:
            subtrees = merkle.perfect_subtrees(span)
            found.append(merkle.join([await self._subtree(h, p, size) for h, p in subtrees]))
        return found

    async def _subtree(self, height: int, position: int, size: int) -> bytes:
        """Return the root of ``2**height`` leaves: part of one block, at the level below it."""
        level, rest = divmod(height, BLOCK_HEIGHT)
        first = position << rest
        number, offset = divmod(first, BLOCK_HASHES)
        count = min((size >> (BLOCK_HEIGHT * level)) - number * BLOCK_HASHES, BLOCK_HASHES)
        key = (level, number, count)
        if (block := self._blocks.get(key)) is None:
            block = await self._read(level, number, count)
            self._blocks.put(key, block)
        return merkle.root_of(block[offset : offset + (1 << rest)])

    async def _read(self, level: int, number: int, count: int) -> list[bytes]:
        """Read the first ``count`` hashes of a block, which must all be there."""
        begin = number * BLOCK_HASHES
        if level == 0:
            hashes = await self._database.read(LEAVES, (begin, begin + count))
        else:
            hashes = await self._database.read(_NODES, (level, begin, begin + count))
        if len(hashes) != count:
            what = "events" if level == 0 else f"tree nodes of level {level}"
            raise LogDamaged(f"{count - len(hashes)} {what} are missing from {begin + 1} on")
        return hashes

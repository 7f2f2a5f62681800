"""The tree over a database: the same roots and proofs as over a list, in bounded reads."""

import asyncio
import random

import pytest

from mainspring.kernel import merkle
from mainspring.kernel.table import Statement
from mainspring.runtime.audit import merkle_store
from mainspring.runtime.audit.merkle_store import BLOCK_HASHES, LogDamaged, Tree
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import EVENTS, EventRow
from tests.tampering import LOSE

LEAVES = [merkle.leaf_hash(str(i).encode()) for i in range(70_000)]
FORGET_NODES = Statement("test.forget_nodes", "DELETE FROM tree_nodes WHERE level >= :level")
FILL = Statement(
    "test.fill",
    "INSERT INTO tree_nodes (level, position, hash) VALUES (:level, :position, :hash)",
)


@pytest.fixture(autouse=True)
async def tables(database):
    await migrate(database, [])


async def append(database, begin, end):
    rows = [
        EventRow(f"evt_{i:09}", "main", "tests.thing.happened", "x", 0, LEAVES[i], "{}")
        for i in range(begin, end)
    ]
    for at in range(0, len(rows), 2_000):
        await database.commit([EVENTS.insert(row) for row in rows[at : at + 2_000]])
    sequencer = Sequencer(database, Notifier())
    while await sequencer.sequence():
        pass


class Counting:
    """A database that counts the rows it gives out."""

    def __init__(self, database):
        self._database = database
        self.rows = 0
        self.commits = 0

    async def read(self, query, values):
        found = await self._database.read(query, values)
        self.rows += len(found)
        return found

    async def commit(self, writes, wakes=frozenset()):
        self.commits += 1
        await self._database.commit(writes, wakes)


def expected(spans):
    return [merkle.root_of(LEAVES[begin:end]) for begin, end in spans]


async def test_roots_and_proofs_are_those_of_the_list(database):
    await append(database, 0, 1_300)
    rng = random.Random(1)
    sizes = [0, 1, 2, 255, 256, 257, 511, 512, 513, 1_024, 1_299, 1_300]
    tree = Tree(database)
    assert await tree.size() == 1_300
    for size in sizes:
        assert await tree.root(size) == merkle.root_of(LEAVES[:size]), size
        for at in {0, size // 2, size - 1, rng.randrange(size)} if size else ():
            plan = merkle.inclusion_spans(at, size)
            assert await tree.inclusion(at, size) == expected(plan), (at, size)
            plan = merkle.consistency_spans(at, size)
            assert await tree.consistency(at, size) == expected(plan), (at, size)


async def test_a_growing_log_and_one_tree(database):
    tree = Tree(database)
    size = 0
    for more in (1, 100, 155, 1, 300, 600):
        await append(database, size, size + more)
        size += more
        assert await tree.root(size) == merkle.root_of(LEAVES[:size])


async def test_a_proof_reads_two_blocks_for_each_level(database):
    # The second level of a log of 2**24 events, whose first-level nodes are filled in directly:
    # a proof over complete subtrees needs no leaf outside of its own block.
    await append(database, 0, 600)
    nodes = [merkle.leaf_hash(b"node %d" % i) for i in range(BLOCK_HASHES * 2)]
    await database.commit([FILL(level=1, position=i, hash=h) for i, h in enumerate(nodes)])
    counting = Counting(database)
    tree = Tree(counting)
    size = BLOCK_HASHES * BLOCK_HASHES * 2
    path = await tree.inclusion(17, size)
    assert len(path) == 17
    assert path[-1] == merkle.root_of(nodes[BLOCK_HASHES:])
    assert counting.rows <= 5 * BLOCK_HASHES + 10
    assert counting.commits == 1


class Together(Counting):
    """One whose first reads are answered once so many have come."""

    def __init__(self, database, readers):
        super().__init__(database)
        self._barrier = asyncio.Barrier(readers)
        self._left = readers

    async def read(self, query, values):
        if self._left:
            self._left -= 1
            await self._barrier.wait()
        return await super().read(query, values)


async def test_readers_that_come_together_hold_no_more_than_one_by_one(database, monkeypatch):
    monkeypatch.setattr(merkle_store, "BLOCKS_HELD_MAX", 2)
    await append(database, 0, 200)
    sizes = range(101, 107)  # each is read as a block of its own
    counting = Together(database, len(sizes))
    tree = Tree(counting)
    together = await asyncio.gather(*(tree.inclusion(0, size) for size in sizes))
    counting.rows = 0
    assert [await tree.inclusion(0, size) for size in sizes] == together
    assert counting.rows >= 100 * (len(sizes) - 2)  # what is not held is read again


async def test_growth_is_idempotent_and_survives_losing_its_nodes(database):
    await append(database, 0, 3_000)
    await asyncio.gather(*(Tree(database).grow(3_000) for _ in range(4)))
    counting = Counting(database)
    assert await Tree(counting).root(3_000) == merkle.root_of(LEAVES[:3_000])
    assert counting.commits == 0
    await database.commit([FORGET_NODES(level=1)])
    assert await Tree(database).root(3_000) == merkle.root_of(LEAVES[:3_000])


async def test_missing_events_are_not_hidden(database):
    await append(database, 0, 600)
    await database.commit([LOSE(seq=100)])
    with pytest.raises(LogDamaged, match="1 events are missing"):
        await Tree(database).root(600)
    await database.commit([LOSE(seq=600)])
    with pytest.raises(LogDamaged):
        await Tree(database).inclusion(0, 600)


async def test_what_does_not_exist_is_refused(database):
    await append(database, 0, 3)
    with pytest.raises(ValueError, match="no leaf"):
        await Tree(database).inclusion(3, 3)
    with pytest.raises(ValueError, match="does not extend"):
        await Tree(database).consistency(4, 3)

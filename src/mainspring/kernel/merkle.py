"""The Merkle tree of RFC 6962 and RFC 9162, section 2.1: hashes, proofs and their verification.

Pure. A proof is planned as *spans* of leaves, ``(begin, end)``; whoever holds the tree turns each
span into its hash. Every span that is planned begins at a multiple of the least power of two that
is not smaller than it, so it splits into perfect subtrees from left to right.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Protocol

Span = tuple[int, int]

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


class LogDamaged(Exception):
    """The stored log contradicts itself: events are missing, or it is not what was signed."""


class MerkleTree(Protocol):
    """Roots and proofs over a log. Keeps what it read: ask for one per request or pass."""

    async def size(self) -> int:
        """Return how many events have their place in the log."""
        ...

    async def root(self, size: int) -> bytes:
        """Return the root over the first ``size`` events. Raises LogDamaged."""
        ...

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the path from an event to the root. Raises ValueError, LogDamaged."""
        ...

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """Return the proof that one tree extends another. Raises ValueError, LogDamaged."""
        ...


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry: the leaves of a tree are such hashes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above them."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees of a growing tree: what appending needs, and no more.

    Holds at most one hash per bit of its size, so a log of any length is hashed in bounded memory.
    """

    __slots__ = ("_roots", "size")

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        carry = leaf
        lowest = self.size
        while lowest & 1:
            carry = node_hash(self._roots.pop(), carry)
            lowest >>= 1
        self._roots.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        return join(self._roots) if self._roots else EMPTY_ROOT


def join(roots: Sequence[bytes]) -> bytes:
    """Hash the roots of a span's perfect subtrees, largest first, into the root of the span."""
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def perfect_subtrees(span: Span) -> list[tuple[int, int]]:
    """Split a planned span into ``(height, position)``: its leaves start at position << height."""
    begin, end = span
    subtrees = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        subtrees.append((height, begin >> height))
        begin += 1 << height
    return subtrees


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Plan the path from the leaf at ``index`` to the root over ``size`` leaves, leaf end first.

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    begin, end = 0, size
    spans = []
    while end - begin > 1:
        middle = begin + _left_size(end - begin)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    return spans[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """Plan the proof that the tree of ``second`` leaves begins with the tree of ``first``.

    Raises ValueError when ``first`` is larger.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} does not extend one of {first}")
    if first == 0:
        return []
    begin, end = 0, second
    spans = []
    while first != end:
        middle = begin + _left_size(end - begin)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    if begin > 0:  # else the verifier holds this hash already: it is the first root
        spans.append((begin, end))
    return spans[::-1]


def extends(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the proof shows that the second tree begins with the first (9162, 2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    rest = list(proof) if first & (first - 1) else [first_root, *proof]
    if not rest:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    found_first = found_second = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            found_first = node_hash(sibling, found_first)
            found_second = node_hash(sibling, found_second)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found_second = node_hash(found_second, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and found_first == first_root and found_second == second_root


def _left_size(size: int) -> int:
    """Return the largest power of two smaller than ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)

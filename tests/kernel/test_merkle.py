"""The tree against the vectors of Certificate Transparency and RFC 6962's own recursive words."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel import merkle
from tests.kernel.inclusion import includes

# The reference log of certificate-transparency: eight entries and the root after each.
CT_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (leaf counted from 1, tree size, path) and (first, second, proof), from the same log.
CT_PATHS = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        2,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CT_CONSISTENCIES = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]

LEAVES = [merkle.leaf_hash(str(i).encode()) for i in range(400)]


def mth(leaves):
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def hashes(spans, leaves):
    return [mth(leaves[begin:end]) for begin, end in spans]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size):
    leaves = [merkle.leaf_hash(entry) for entry in CT_ENTRIES[:size]]
    assert merkle.root_of(leaves).hex() == CT_ROOTS[size - 1]


@pytest.mark.parametrize(("leaf", "size", "path"), CT_PATHS)
def test_paths_are_those_of_certificate_transparency(leaf, size, path):
    leaves = [merkle.leaf_hash(entry) for entry in CT_ENTRIES]
    ours = hashes(merkle.inclusion_spans(leaf - 1, size), leaves)
    assert [h.hex() for h in ours] == path
    root = bytes.fromhex(CT_ROOTS[size - 1])
    assert includes(leaves[leaf - 1], leaf - 1, size, ours, root)


@pytest.mark.parametrize(("first", "second", "proof"), CT_CONSISTENCIES)
def test_consistency_is_that_of_certificate_transparency(first, second, proof):
    leaves = [merkle.leaf_hash(entry) for entry in CT_ENTRIES]
    ours = hashes(merkle.consistency_spans(first, second), leaves)
    assert [h.hex() for h in ours] == proof


def test_the_empty_tree():
    assert merkle.root_of([]) == merkle.EMPTY_ROOT == mth([])
    assert merkle.extends(0, merkle.EMPTY_ROOT, 5, mth(LEAVES[:5]), [])
    assert not merkle.extends(0, LEAVES[0], 5, mth(LEAVES[:5]), [])
    assert not includes(LEAVES[0], 0, 0, [], merkle.EMPTY_ROOT)


def test_every_root_up_to_400():
    frontier = merkle.Frontier()
    for size, leaf in enumerate(LEAVES):
        assert frontier.root() == mth(LEAVES[:size])
        frontier.append(leaf)


def test_every_proof_of_every_tree_up_to_70():
    for size in range(1, 71):
        root = mth(LEAVES[:size])
        for at in range(size):
            path = hashes(merkle.inclusion_spans(at, size), LEAVES)
            assert includes(LEAVES[at], at, size, path, root)
            proof = hashes(merkle.consistency_spans(at, size), LEAVES)
            assert merkle.extends(at, mth(LEAVES[:at]), size, root, proof)


@given(st.data())
def test_a_path_proves_its_leaf_and_nothing_else(data):
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    root = mth(LEAVES[:size])
    path = hashes(merkle.inclusion_spans(index, size), LEAVES)
    assert includes(LEAVES[index], index, size, path, root)

    other = data.draw(
        st.integers(0, size - 1).filter(lambda i: i != index) if size > 1 else st.just(-1)
    )
    assert not includes(LEAVES[index], other, size, path, root)
    assert not includes(LEAVES[other], index, size, path, root)
    assert not includes(LEAVES[index], index, size, [*path, root], root)
    assert not includes(LEAVES[index], index, size, path, LEAVES[0] if size > 1 else root[::-1])
    if path:
        assert not includes(LEAVES[index], index, size, path[:-1], root)
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], path[at][::-1], *path[at + 1 :]]
        assert not includes(LEAVES[index], index, size, changed, root)


@given(st.data())
def test_a_consistency_proof_shows_a_prefix_and_nothing_else(data):
    second = data.draw(st.integers(1, len(LEAVES)))
    first = data.draw(st.integers(1, second))
    roots = mth(LEAVES[:first]), mth(LEAVES[:second])
    proof = hashes(merkle.consistency_spans(first, second), LEAVES)
    assert merkle.extends(first, roots[0], second, roots[1], proof)

    forged = list(LEAVES[:first])
    forged[data.draw(st.integers(0, first - 1))] = bytes(32)
    assert not merkle.extends(first, mth(forged), second, roots[1], proof)
    assert not merkle.extends(first, roots[0], second, roots[1][::-1], proof)
    assert not merkle.extends(first, roots[0], second, roots[1], [*proof, bytes(32)])
    assert not merkle.extends(second + 1, roots[0], second, roots[1], proof)
    if proof:
        assert not merkle.extends(first, roots[0], second, roots[1], proof[:-1])
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], proof[at][::-1], *proof[at + 1 :]]
        assert not merkle.extends(first, roots[0], second, roots[1], changed)


@given(st.integers(1, 10**15), st.data())
def test_spans_are_few_and_split_into_perfect_subtrees(size, data):
    at = data.draw(st.integers(0, size - 1))
    for spans in (merkle.inclusion_spans(at, size), merkle.consistency_spans(at, size)):
        assert len(spans) <= size.bit_length() + 1
        for begin, end in spans:
            covered = begin
            for height, position in merkle.perfect_subtrees((begin, end)):
                assert position << height == covered
                covered += 1 << height
            assert covered == end


def test_what_does_not_exist_is_refused():
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_spans(index, size)
    with pytest.raises(ValueError, match="does not extend"):
        merkle.consistency_spans(6, 5)

"""What was signed, kept beside the keyring: durable, private, and shared by processes."""

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel import merkle
from mainspring.kernel.clock import SystemEntropy
from mainspring.kernel.errors import Unavailable
from mainspring.ports.keyring import SignedTree, TreeContradicts
from mainspring.testing.clock import FakeClock

LEAVES = [merkle.leaf_hash(b"%d" % at) for at in range(64)]

# Signs trees of a future of its own, one larger than the other; says how many it could.
ELSEWHERE = """
import asyncio, pathlib, sys
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel import merkle
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.ports.keyring import SignedTree, TreeContradicts

async def main(path, future):
    keyring = FileKeyring(pathlib.Path(path), SystemClock(), SystemEntropy())
    await keyring.open()
    leaves = [merkle.leaf_hash(f"{future} {at}".encode()) for at in range(32)]
    signed = 0
    for size in range(1, 33):
        before = await keyring.last_signed("log")
        spans = merkle.consistency_spans(min(before.size if before else 0, size), size)
        proof = [merkle.root_of(leaves[begin:end]) for begin, end in spans]
        try:
            tree = SignedTree(size, merkle.root_of(leaves[:size]))
            await keyring.sign_tree("log", tree, b"x", proof)
            signed += 1
        except TreeContradicts:
            pass
    print(signed)

asyncio.run(main(*sys.argv[1:]))
"""


def tree(size: int) -> SignedTree:
    return SignedTree(size, merkle.root_of(LEAVES[:size]))


def proof(first: int, second: int) -> list[bytes]:
    spans = merkle.consistency_spans(first, second)
    return [merkle.root_of(LEAVES[begin:end]) for begin, end in spans]


async def ring(folder: Path) -> FileKeyring:
    keyring = FileKeyring(folder / "keyring.json", FakeClock(), SystemEntropy())
    await keyring.open()
    return keyring


async def test_the_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    keyring = await ring(tmp_path)
    await keyring.sign_tree("log", tree(3), b"x", [])
    file = tmp_path / "keyring.signed.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key_id,) = keyring.key_ids()
    assert json.loads(file.read_text())["logs"]["log"][key_id]["size"] == 3
    secret = json.loads((tmp_path / "keyring.json").read_text())["keys"][0]["secret"]
    assert secret not in file.read_text()


def test_of_processes_with_different_futures_one_signs(tmp_path: Path) -> None:
    asyncio.run(ring(tmp_path))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, str(tmp_path / "keyring.json"), future],
            stdout=subprocess.PIPE,
        )
        for future in ("a", "b", "c")
    ]
    signed = sorted(int(process.communicate(timeout=60)[0]) for process in running)
    assert signed == [0, 0, 32]


async def test_what_is_noted_outlives_a_database_that_went_back(tmp_path: Path) -> None:
    await (await ring(tmp_path)).sign_tree("log", tree(9), b"x", [])
    later = await ring(tmp_path)
    with pytest.raises(TreeContradicts) as refused:
        await later.sign_tree("log", tree(8), b"x", [])
    assert refused.value.signed == tree(9)
    await later.sign_tree("log", tree(12), b"x", proof(9, 12))
    assert await (await ring(tmp_path)).last_signed("log") == tree(12)


@pytest.mark.parametrize("text", ["", "{}", '{"version":1,"logs":{"log":3}}', "\x00"])
async def test_a_file_that_cannot_be_read_lets_nothing_be_signed(tmp_path: Path, text: str) -> None:
    keyring = await ring(tmp_path)
    file = tmp_path / "keyring.signed.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(Unavailable, match="mainspring admin restored"):
        await keyring.sign_tree("log", tree(3), b"x", [])
    with pytest.raises(Unavailable, match=r"keyring\.signed\.json"):
        await keyring.last_signed("log")
    assert file.read_text() == text


async def test_a_keyring_that_can_only_be_read_remembers_while_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = await ring(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with capture_logs() as lines:
        await keyring.sign_tree("log", tree(5), b"x", [])
        await keyring.sign_tree("log", tree(6), b"x", proof(5, 6))
    assert [line["event"] for line in lines] == ["signed_trees_not_kept"]
    with pytest.raises(TreeContradicts):
        await keyring.sign_tree("log", tree(4), b"x", [])
    assert not (tmp_path / "keyring.signed.json").exists()

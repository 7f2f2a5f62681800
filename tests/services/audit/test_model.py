"""Signed notes against the examples of their specification, and against every kind of forgery."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mainspring.services.audit.model import BadNote, Checkpoint, VerifierKey, open_note
from tests.services.audit.signing import sign

# From golang.org/x/mod/sumdb/note: its example key and a note that this key has signed.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb"
    "6KE6RyyBwJnAM=\n"
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey("tests.example/log", PRIVATE.public_key().public_bytes_raw())
CHECKPOINT = Checkpoint("tests.example/log", 7, bytes(range(32)), "2026-01-31T12:00:00.000Z")


def test_a_verifier_key_is_written_as_go_writes_it():
    assert str(VerifierKey.parse(GO_KEY)) == GO_KEY


def test_a_note_signed_by_go_is_verified():
    # The signature holds, so what is refused is only that the text is no checkpoint.
    with pytest.raises(BadNote, match="a checkpoint is"):
        open_note(GO_NOTE, VerifierKey.parse(GO_KEY))
    with pytest.raises(BadNote, match="does not hold"):
        open_note(GO_NOTE.replace("answer", "Response"), VerifierKey.parse(GO_KEY))


def test_a_checkpoint_comes_back_from_its_note():
    note = sign(CHECKPOINT, KEY, PRIVATE.sign)
    root = base64.b64encode(CHECKPOINT.root).decode()
    assert note.startswith(f"tests.example/log\n7\n{root}\ntime 2026-01-31T12:00:00.000Z\n\n— ")
    assert open_note(note, VerifierKey.parse(str(KEY))) == CHECKPOINT


def test_signatures_of_witnesses_are_passed_over():
    note = sign(CHECKPOINT, KEY, PRIVATE.sign)
    text, ours = note.split("\n\n")
    witness = VerifierKey("witness", bytes(32))
    line = f"— witness {base64.b64encode(witness.key_id + bytes(64)).decode()}\n"
    assert open_note(f"{text}\n\n{line}{ours}", KEY) == CHECKPOINT
    with pytest.raises(BadNote, match="not signed by"):
        open_note(f"{text}\n\n{line}", KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n7\n", "\n8\n"),
        lambda note: note.replace("\n7\n", "\n07\n"),
        lambda note: note.replace("time 2026", "time 2027"),
        lambda note: note.replace("tests.example/log\n7", "other.example/log\n7"),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note[:-1],
        lambda note: note + "trailing\n",
        lambda note: note.replace("— ", "- "),
        lambda note: note + "— x x\n" * 20,
        lambda note: note * 100,
        lambda note: "",
    ],
)
def test_a_changed_note_is_refused(change):
    with pytest.raises(BadNote):
        open_note(change(sign(CHECKPOINT, KEY, PRIVATE.sign)), KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+AAAA",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PeterNeumann", "Peter"),
        "a+b+c+d",
    ],
)
def test_what_is_not_a_verifier_key_is_refused(text):
    with pytest.raises(BadNote):
        VerifierKey.parse(text)

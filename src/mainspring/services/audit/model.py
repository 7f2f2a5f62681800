"""Checkpoints as signed notes. Pure.

Follows C2SP ``signed-note`` and ``tlog-checkpoint``: a text of origin, size, root and one extension
line with the time, an empty line, and an Ed25519 signature line. Any tool that reads these formats
verifies ours.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from itertools import islice

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mainspring.kernel.merkle import HASH_BYTES

NOTE_CHARS_MAX = 4_096
SIGNATURES_MAX = 16

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_NAME = re.compile(r"[^\s+]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_TIME = "time "
_SIGNATURE = "\N{EM DASH} "


class BadNote(ValueError):
    """A note that cannot be read, or is not signed by the key."""


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key by name, written ``name+hash+base64``."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that signatures name the key by."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[
            :_KEY_ID_BYTES
        ]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_text(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a verifier key. Raises BadNote."""
        name, _, rest = text.strip().partition("+")
        key_hash, _, encoded = rest.partition("+")
        material = _bytes(encoded)
        if not _NAME.fullmatch(name) or material[:1] != _ED25519 or len(material) != 33:
            raise BadNote("not an Ed25519 verifier key: name+hash+base64")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_hash:
            raise BadNote("the verifier key's hash is not that of its name and key")
        return key


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log commits to: its first ``size`` entries have this root."""

    origin: str
    size: int
    root: bytes
    time: str = ""

    def text(self) -> str:
        """Write it as the text that is signed."""
        extension = f"{_TIME}{self.time}\n" if self.time else ""
        return f"{self.origin}\n{self.size}\n{_text(self.root)}\n{extension}"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the text. Raises BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] != "" or not lines[0]:
            raise BadNote("a checkpoint is origin, size and root, each on its line")
        root = _bytes(lines[2])
        if not _SIZE.fullmatch(lines[1]) or len(root) != HASH_BYTES:
            raise BadNote("the checkpoint's size or root cannot be read")
        times = [line.removeprefix(_TIME) for line in lines[3:-1] if line.startswith(_TIME)]
        return cls(lines[0], int(lines[1]), root, times[0] if times else "")


def signed_note(checkpoint: Checkpoint, signatures: Mapping[VerifierKey, bytes]) -> str:
    """Write the signed note, with Ed25519 signatures of its text: ``SIGNATURES_MAX`` at most."""
    note = f"{checkpoint.text()}\n"
    for key, signature in islice(signatures.items(), SIGNATURES_MAX):
        note += f"{_SIGNATURE}{key.name} {_text(key.key_id + signature)}\n"
    return note


def open_note(note: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a note that this key has signed. Raises BadNote.

    Signatures of other keys (witnesses) are passed over.
    """
    if len(note) > NOTE_CHARS_MAX:
        raise BadNote(f"a note has at most {NOTE_CHARS_MAX} characters")
    text, gap, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not gap or lines[-1] != "" or not 1 <= len(lines) - 1 <= SIGNATURES_MAX:
        raise BadNote("the note has no signature")
    text += "\n"
    for name, signature in [_signature(line) for line in lines[:-1]]:
        if name != key.name or signature[:_KEY_ID_BYTES] != key.key_id:
            continue
        try:
            public = Ed25519PublicKey.from_public_bytes(key.public)
            public.verify(signature[_KEY_ID_BYTES:], text.encode())
        except InvalidSignature:
            raise BadNote("the checkpoint's signature does not hold") from None
        return Checkpoint.parse(text)
    raise BadNote(f"the checkpoint is not signed by {key.name}")


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or not encoded:
        raise BadNote("a signature line cannot be read")
    return name, _bytes(encoded)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote("not base64") from None
    if _text(data) != text:  # spare bits that nothing is signed over
        raise BadNote("not canonical base64")
    return data

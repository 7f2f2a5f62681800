"""Files that are kept sealed while they wait to be read: frame by frame, from any place in them.

Each frame holds its number, so that none can stand in another's place.
"""

from collections.abc import AsyncIterator, Callable

from mainspring.ports.blobs import Blobs
from mainspring.ports.keyring import Keyring

FRAME_BYTES = 1 << 16  # of the file in one frame; the last has fewer

_NUMBER_BYTES = 8
_PURPOSE = "records.imports"


def sealing(keyring: Keyring) -> Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]:
    """Return what seals a file that comes in any pieces."""

    async def sealed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        held, number = bytearray(), 0
        async for chunk in chunks:
            held += chunk
            while len(held) >= FRAME_BYTES:
                yield _seal(keyring, number, bytes(held[:FRAME_BYTES]))
                del held[:FRAME_BYTES]
                number += 1
        if held:
            yield _seal(keyring, number, bytes(held))

    return sealed


def frame_bytes(keyring: Keyring) -> int:
    """How long a whole frame is as it is stored."""
    return len(_seal(keyring, 0, bytes(FRAME_BYTES)))


async def read_sealed(
    keyring: Keyring, blobs: Blobs, key: str, stored_bytes: int, offset: int, size_bytes: int
) -> bytes:
    """Read so many bytes of a file from an offset, or as many as there are.

    ``stored_bytes`` is what ``frame_bytes`` said when it was sealed. Raises ValueError for what was
    not sealed by this keyring, or was changed.
    """
    first, skipped = divmod(offset, FRAME_BYTES)
    frames = -(-(skipped + size_bytes) // FRAME_BYTES)
    chunks = blobs.get(key, first * stored_bytes, frames * stored_bytes)
    stored = b"".join([chunk async for chunk in chunks])
    opened = [
        _open(keyring, first + at, stored[at * stored_bytes : (at + 1) * stored_bytes])
        for at in range(-(-len(stored) // stored_bytes))
    ]
    return b"".join(opened)[skipped : skipped + size_bytes]


def _seal(keyring: Keyring, number: int, plain: bytes) -> bytes:
    return keyring.seal(number.to_bytes(_NUMBER_BYTES, "big") + plain, purpose=_PURPOSE)


def _open(keyring: Keyring, number: int, sealed: bytes) -> bytes:
    opened = keyring.unseal(sealed, purpose=_PURPOSE)
    if int.from_bytes(opened[:_NUMBER_BYTES], "big") != number:
        raise ValueError("a part of the file is in the wrong place")
    return opened[_NUMBER_BYTES:]

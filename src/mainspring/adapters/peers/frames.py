"""Frames of many calls on one stream: how they are written, and whose turn it is. No I/O.

A message of the stream is an array of frames in MessagePack, each the number of a call, what the
frame is for it, and its bytes. Numbers are the caller's, and used once on a stream.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

# To an owner: a call (``SentCall``), a question whose a credential is, and that nobody waits.
CALL, AUTHENTICATE, CANCEL = 0, 1, 2
# From an owner: the answer or the end of it, bytes of it before that, and why there is none.
ANSWER, PIECE, FAILED = 10, 11, 12
LEAVES = 20  # from an owner, of no call: it is about to end
NO_CALL = 0

CALL_BYTES_MAX = 64 << 10  # larger calls go by themselves, and hold up nobody
PIECE_BYTES_MAX = 64 << 10  # of one answer, before others have their turn
MESSAGE_BYTES_MAX = 256 << 10  # of frames in one message, and one more piece


class NotFrames(ValueError):
    """What came is not what the other end of such a stream says."""


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a call or of its answer."""

    call: int
    kind: int
    data: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[list[Frame]] = msgspec.msgpack.Decoder(list[Frame])


def written(frames: Sequence[Frame]) -> bytes:
    """Return the bytes of a message."""
    return _encode(frames)


def frames_of(message: bytes) -> list[Frame]:
    """Read a message. Raises NotFrames."""
    try:
        return _decoder.decode(message)
    except msgspec.DecodeError as error:
        raise NotFrames(str(error)) from error


class Outbox:
    """Frames that wait to be sent: in turn, and of what is large one piece at a time.

    What is put into it meanwhile goes as one message. It has no bound of its own: whoever puts
    frames there bounds its calls, and looks at ``waiting_bytes`` before it takes more of them.
    """

    __slots__ = ("_filled", "_frames", "waiting_bytes")

    def __init__(self) -> None:
        self._frames: deque[tuple[Frame, int]] = deque()  # and how much of each was sent
        self._filled = asyncio.Event()
        self.waiting_bytes = 0

    def put(self, frame: Frame) -> None:
        """Add a frame; of more than a piece only an ANSWER."""
        self._frames.append((frame, 0))
        self.waiting_bytes += len(frame.data)
        self._filled.set()

    def calls(self) -> set[int]:
        """Return the numbers of those of which a frame is still here."""
        return {frame.call for frame, _ in self._frames}

    async def taken(self) -> bytes:
        """Wait until there are frames, and take a message of them."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        size, taken = 0, []
        while self._frames and size < MESSAGE_BYTES_MAX:
            frame, sent = self._frames.popleft()
            end = sent + PIECE_BYTES_MAX
            if len(frame.data) > end:
                self._frames.append((frame, end))
                frame = Frame(frame.call, PIECE, frame.data[sent:end])
            elif sent:
                frame = Frame(frame.call, frame.kind, frame.data[sent:])
            size += len(frame.data)
            taken.append(frame)
        self.waiting_bytes -= size
        return written(taken)

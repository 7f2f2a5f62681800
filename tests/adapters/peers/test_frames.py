"""Whose turn it is among the frames that wait, and what is no frame."""

import pytest

from mainspring.adapters.peers.frames import (
    ANSWER,
    MESSAGE_BYTES_MAX,
    PIECE,
    PIECE_BYTES_MAX,
    Frame,
    NotFrames,
    Outbox,
    frames_of,
)


async def test_a_large_answer_has_its_turns_and_no_more() -> None:
    outbox = Outbox()
    large = bytes(range(256)) * (12 * PIECE_BYTES_MAX // 256)
    outbox.put(Frame(1, ANSWER, large))
    for number in range(2, 5):
        outbox.put(Frame(number, ANSWER, b"small"))
    first = await outbox.taken()
    assert len(first) < MESSAGE_BYTES_MAX + 2 * PIECE_BYTES_MAX
    frames = frames_of(first)
    assert [frame.call for frame in frames[:4]] == [1, 2, 3, 4]
    assert outbox.calls() == {1}
    while outbox.calls():
        frames += frames_of(await outbox.taken())
    pieces = [frame for frame in frames if frame.call == 1]
    assert b"".join(frame.data for frame in pieces) == large
    assert [frame.kind for frame in pieces] == [PIECE] * (len(pieces) - 1) + [ANSWER]
    assert outbox.waiting_bytes == 0


async def test_what_was_put_meanwhile_goes_as_one_message() -> None:
    outbox = Outbox()
    put = [Frame(number, ANSWER, b"it") for number in range(1, 50)]
    for frame in put:
        outbox.put(frame)
    assert frames_of(await outbox.taken()) == put


@pytest.mark.parametrize("wild", [b"", b"\xc1", b"\x91\x01", b"\x91\x93\x01\xa1a\xc4\x00", b"{}"])
def test_what_is_no_array_of_frames_is_refused(wild: bytes) -> None:
    with pytest.raises(NotFrames):
        frames_of(wild)

"""What opens a stream, and what an open one lives by: sealed, so that nothing has to be stored.

Its own room because the gateway asks it, before there is a call. Both say whose credential they
stand for, by its session's or its key's id, and until when that holds.
"""

import base64

import msgspec

from mainspring import Unauthenticated
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model

OPENS_S = 60  # until a token has to be used


class Stream(msgspec.Struct, frozen=True, array_like=True):
    """A caller, with its session unless it is a key, and when its credential ends, if it does.

    Until ``opens_until_ms`` a stream can be opened.
    """

    caller_id: str
    session_id: str | None
    until_ms: int | None
    opens_until_ms: int


_decode = msgspec.msgpack.Decoder(Stream).decode


def write(keyring: Keyring, stream: Stream, *, opened: bool = False) -> str:
    """Write a token, or with ``opened`` what the stream lives by which it opened."""
    prefix, purpose = _kind(opened=opened)
    sealed = keyring.seal(msgspec.msgpack.encode(stream), purpose=purpose)
    return prefix + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def read(keyring: Keyring, text: str, now_ms: int, *, opened: bool = False) -> Stream:
    """Read what ``write`` wrote. Raises Unauthenticated."""
    prefix, purpose = _kind(opened=opened)
    sealed = text.removeprefix(prefix)
    try:
        padded = sealed + "=" * (-len(sealed) % 4)
        stream = _decode(
            keyring.unseal(base64.b64decode(padded, b"-_", validate=True), purpose=purpose)
        )
    except ValueError:
        raise _refused() from None
    ends = [stream.until_ms] if opened else [stream.until_ms, stream.opens_until_ms]
    if not text.startswith(prefix) or any(end is not None and end <= now_ms for end in ends):
        raise _refused()
    return stream


def _kind(*, opened: bool) -> tuple[str, str]:
    if opened:
        return model.OPEN_STREAM_PREFIX, "users.open_stream"
    return model.STREAM_TOKEN_PREFIX, "users.stream_token"


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "this stream token is unknown or was not used in time: make another one, and go on from "
        "the last item with after="
    )

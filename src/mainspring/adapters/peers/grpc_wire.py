"""What both ends of a gRPC connection between processes of one platform agree on."""

from typing import Any

import msgspec

from mainspring.kernel.authority import Identity
from mainspring.kernel.sent import SentFailure
from mainspring.ports.peers import Described, DescribeFor

SERVICE = "mainspring.Owner"
INVOKE, UPLOAD, RECEIVE, OPEN = "Invoke", "Upload", "Receive", "Open"
AUTHENTICATE, REVOCATIONS, ASK = "Authenticate", "Revocations", "Ask"
# Many calls on one stream, as ``frames.py`` has it. Another format is another method: whoever has
# none of this name is asked call by call.
CALLS = "Calls1"
MESSAGE_BYTES_MAX = 64 << 20  # of one message; operations have lower bounds of their own
PIECE_BYTES_MAX = 1 << 20  # of a body that is sent in pieces
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A connection on which nothing answers is found out, also while no call is under way. gRPC
    # answers pings on threads of its own, so a process that is merely busy is not taken for dead.
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),  # what ends the connection; without it a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),  # else an owner hangs up on who pings an idle connection
]


class Credential(msgspec.Struct, frozen=True):
    """What somebody came with, and the time of day at which they did."""

    credential: str
    now_ms: int


class Ping(msgspec.Struct, frozen=True):
    """Asks for what was revoked since the last one."""


class Revoked(msgspec.Struct, frozen=True):
    """``age_s`` is how long ago all had been heard; None where that is not known."""

    tags: tuple[str, ...]
    all: bool
    age_s: float | None


encode = msgspec.msgpack.Encoder().encode
credentials: msgspec.msgpack.Decoder[Credential] = msgspec.msgpack.Decoder(Credential)
revoked: msgspec.msgpack.Decoder[Revoked] = msgspec.msgpack.Decoder(Revoked)


class WhoseAnswer(msgspec.Struct, frozen=True):
    """Whose a credential is, or why it is nobody's."""

    identity: Identity | None = None
    failure: SentFailure | None = None


class RedeemAsked(msgspec.Struct, frozen=True, tag="redeem"):
    """Asks what a stream lives by that is opened with a token."""

    token: str
    now_ms: int


class ProveAsked(msgspec.Struct, frozen=True, tag="prove"):
    """Asks for what only the keyring can say of a nonce and an address."""

    nonce: str
    url: str


class DescribeAsked(msgspec.Struct, frozen=True, tag="describe"):
    """Asks what the data adds to the operations of a service."""

    asked: DescribeFor


Question = RedeemAsked | ProveAsked | DescribeAsked


class QuestionAnswer(msgspec.Struct, frozen=True):
    """What an owner says to a question, or why it says nothing."""

    text: str = ""
    described: Described | None = None
    failure: SentFailure | None = None


questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
told: msgspec.msgpack.Decoder[QuestionAnswer] = msgspec.msgpack.Decoder(QuestionAnswer)
answers: msgspec.msgpack.Decoder[WhoseAnswer] = msgspec.msgpack.Decoder(WhoseAnswer)


def path(method: str) -> str:
    """Return the path of a method."""
    return f"/{SERVICE}/{method}"

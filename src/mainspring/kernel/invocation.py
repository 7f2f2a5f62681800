"""A call as it is sent: what an interface decodes into, and what its owner answers.

Everything here is data that can cross a wire. What runs it stands behind an ``Invoker``, in this
process or in another one.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import msgspec

from mainspring.kernel.byte_range import WantedRange
from mainspring.kernel.caller import Caller
from mainspring.kernel.recipient import Recipient
from mainspring.kernel.sender import Sender

Headers = tuple[tuple[str, str], ...]


class Invocation(msgspec.Struct, frozen=True):
    """One call of one operation, by somebody.

    ``arguments`` are the handler's, by its names of them. A value is of the type it is declared as,
    or what stands for it: text for what an address is made of, JSON (``msgspec.Raw``) or plain
    values for a body, a ``FileHead`` for an upload. ``account`` is whose share of what all calls
    use together this one draws on. ``deadline_s`` is a moment on this process's monotonic clock:
    on a wire stands what remains. ``resume_after`` is the last item of a stream that arrived;
    ``wanted`` the part of a raw answer that is asked for; ``path`` names the handlers that wait for
    this call, the outermost first. ``until_ms`` is when the credential ends that the caller came
    with, None where it does not or there is none. ``sender`` is where a call that may write came
    from, as far as the interface knows. ``read_after`` says how new what its caller reads has to
    be; None is the newest, and who says nothing is told no position of what it writes. A
    ``dry_run`` of what writes is judged to the end, database included, and commits nothing.
    """

    operation: str
    arguments: Mapping[str, Any]
    caller: Caller
    request_id: str
    account: str = ""
    correlation_id: str | None = None
    causation_id: str | None = None
    idempotency_key: str | None = None
    if_match: str | None = None
    deadline_s: float | None = None
    resume_after: str | None = None
    wanted: WantedRange | None = None
    path: tuple[str, ...] = ()
    until_ms: int | None = None
    sender: Sender | None = None
    read_after: str | None = None
    dry_run: bool = False


class FileHead(msgspec.Struct, frozen=True):
    """What is known of an upload before its bytes come: what its sender claims.

    ``size_bytes`` is None where the sender does not say.
    """

    media_type: str
    filename: str | None = None
    size_bytes: int | None = None


class FilePart(msgspec.Struct, frozen=True):
    """A file that comes beside JSON: its name, what is known of it, and its bytes."""

    name: str
    head: FileHead
    chunks: AsyncIterator[bytes]


class Staged(msgspec.Struct, frozen=True):
    """How much a dry run would have committed: rows, and events and jobs by their names."""

    rows: int
    events: dict[str, int]
    jobs: dict[str, int]


class Outcome(msgspec.Struct, frozen=True):
    """What a call is answered with.

    ``value`` is what the handler returned, for who called in this process; None where a stored
    answer is replayed, or the answer crossed a wire: then it is read from ``body``. ``staged`` is
    of a dry run, and tells of rows that its caller may not see.
    """

    status: int
    body: bytes
    etag: str | None = None
    headers: Headers = ()
    value: Any = None
    replayed: bool = False
    staged: Staged | None = None


class Opened(msgspec.Struct, frozen=True):
    """What a raw operation or a stream answers: its head, and what follows.

    ``body`` is whole, or what is pulled piece by piece: bytes of a raw operation, ``StreamItem`` of
    a stream. Whoever pulls closes it. With the status 416 there is no body: the part that was
    wanted is not there.
    """

    body: bytes | AsyncIterator[Any]
    status: int = 200
    media_type: str = "application/octet-stream"
    headers: Headers = ()
    replayed: bool = False
    elsewhere: str | None = None  # where whoever gets it is sent for the body


class Invoker(Protocol):
    """Reaches the owner of each operation. The owner goes through the same stages for every kind.

    It authorises, validates, replays, bounds in time, runs and commits. Each method raises the
    Failures of the operation, and Unauthenticated, Forbidden, Invalid, DeadlineExceeded, … of the
    stages. A repeated idempotency key is answered as the first call was, whoever forwards it.
    """

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation."""
        ...

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload. Nothing of ``chunks`` is pulled before the owner lets the file come."""
        ...

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files, with those that come: pulled one by one."""
        ...

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream.

        A handler that lasts asks the ``recipient`` who its caller is by now: that goes back to the
        interface, which identified it. Without one the caller stays who it was, and pulls.
        """
        ...

"""The peers port: calls to services that other processes own, and the calls that come from them.

All processes are of one platform and one version. A call crosses as ``kernel/sent.py`` has it, and
its owner goes through the same stages as for a call of its own process.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from mainspring.kernel.authority import Authenticator, StreamTokens
from mainspring.kernel.caller import Caller
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.operation import Operation


class Revocation(msgspec.Struct, frozen=True):
    """What the owner of users tells those who remember credentials.

    ``tags`` are to be forgotten, or everything with ``all``. What was committed until ``heard_s``
    of the asker's clock is among what was told by now; None where that is not known.
    """

    tags: tuple[str, ...] = ()
    all: bool = False
    heard_s: float | None = None


class Revocations(Protocol):
    """Hears which credentials are revoked, in every process of the platform."""

    def follow(self) -> AsyncIterator["Revocation"]:
        """Yield what is revoked from now on, and word that all was heard, twice a second or more.

        ``heard_s`` is a moment of this process's monotonic clock.
        """
        ...


class OwnIdentity(Protocol):
    """The certificate of this process, which says which service of which platform it is."""

    def expires_s(self) -> float:
        """Return when the certificate that is shown ends, in seconds since the Unix epoch."""
        ...

    def failing(self) -> str | None:
        """Say why no peer takes it, or that what lies there now is not good; None where all is."""
        ...


class DescribeFor(msgspec.Struct, frozen=True):
    """Asks what the data adds to the operations of a service, as one caller may see it.

    ``known`` is the version that whoever asks has already; empty for none.
    """

    service: str
    caller: Caller
    request_id: str
    account: str
    known: str = ""


class Described(msgspec.Struct, frozen=True):
    """Shapes of operations, packed; None where whoever asks knows this ``version`` of them.

    Equal shapes have one version, whichever process is asked.
    """

    version: str
    packed: bytes | None = None


class Describes(Protocol):
    """Knows what the data adds to operations."""

    async def describe(self, asked: DescribeFor) -> Described:
        """Tell the shapes of a service. Raises NotServedHere and Unavailable."""
        ...


class Proves(Protocol):
    """Has the keyring of the platform."""

    async def prove(self, nonce: str, url: str) -> str:
        """Show whoever has the same keyring, and asked at this address, that a platform answers."""
        ...


class OwnerState(msgspec.Struct, frozen=True):
    """How one owner stands: whether it is ``away``, or ``connected``.

    ``pending`` calls are those that it has yet to answer.
    """

    address: str
    away: bool
    connected: bool
    pending: int


class PeerState(msgspec.Struct, frozen=True):
    """How the owners of a service stand, with what was counted since the start.

    ``retried`` calls were made once more, ``refused`` were not made at all, since nobody was there
    to take them.
    """

    owners: tuple[OwnerState, ...]
    retried: int
    refused: int


class Peer(Invoker, Authenticator, Revocations, StreamTokens, Describes, Proves, Protocol):
    """The processes that own a service: any of them answers.

    An ``Invoker`` for its operations, and what describes them; of the users service also an
    ``Authenticator`` that redeems stream tokens, and what tells of revocations. Everything raises
    Unavailable while none of them can be reached, at once where they left calls without an answer
    or have as many under way as they may. It raises OutcomeUnknown where a call that writes may
    have been done. Only what is safe is repeated, within a budget.
    """

    async def open_peer(
        self,
        operations: Mapping[str, Operation],
        credentials: OwnIdentity | None = None,
        service: str = "",
    ) -> None:
        """Begin to connect, for calls of these operations; returns at once.

        With ``credentials`` each side proves who it is, and the other has to be ``service``.
        """
        ...

    async def close(self) -> None:
        """End every call and connection."""
        ...

    def away(self) -> str | None:
        """Say why owners cannot be reached as far as is known; None where all can."""
        ...

    def state(self) -> PeerState:
        """Tell of each owner how it stands. Never waits."""
        ...


async def nothing_fails() -> Sequence[str]:
    """Name nothing: for who is always ready."""
    return ()


class Owned(msgspec.Struct, frozen=True):
    """What a process gives its peers: the operations it owns, and what runs them.

    ``authenticator``, ``stream_tokens`` and ``revocations`` are there where it owns the users;
    ``failing`` names what keeps it from being ready; ``files`` are what its services look like in
    Protocol Buffers, each written as a FileDescriptorProto, in an order in which they can be read.
    """

    operations: Mapping[str, Operation]
    invoker: Invoker
    authenticator: Authenticator | None = None
    revocations: Revocations | None = None
    failing: Callable[[], Awaitable[Sequence[str]]] = nothing_fails
    stream_tokens: StreamTokens | None = None
    describes: Describes | None = None
    proves: Proves | None = None
    files: Callable[[], Iterable[bytes]] | None = None


class PeerListener(Protocol):
    """Takes calls from peers."""

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        ...

    async def start(self, owned: Owned, credentials: OwnIdentity | None = None) -> None:
        """Listen. Raises StartError: also where others could reach it and nothing is encrypted.

        With ``credentials`` each side proves who it is: a gateway may call everything, a service
        what only reads.
        """
        ...

    async def drain(self, timeout_s: float, *, lame_duck_s: float = 0.0) -> None:
        """Take no new calls, let those under way finish for ``timeout_s``, and stop.

        For ``lame_duck_s`` before that it still takes calls, and says that it is not ready.
        """
        ...

"""The audit service's public face: settings, what its operations take and answer, its Service."""

from importlib.resources import files

import msgspec

from mainspring.kernel.clock import Instant
from mainspring.kernel.event import Envelope
from mainspring.kernel.operation import Input
from mainspring.kernel.page import PAGE_LIMIT_DEFAULT, Cursor, Limit
from mainspring.kernel.service import Service

SCANNED_MAX = 5_000  # events read for one page


class AuditSettings(msgspec.Struct, frozen=True):
    """``origin`` names this log in its checkpoints and must stay the same for its whole life."""

    origin: str = "mainspring.local/audit"
    checkpoints_kept: int = 10_000

    def __post_init__(self) -> None:
        if not self.origin or len(self.origin) > 255 or set(self.origin) & set(" +\t\r\n"):
            raise ValueError("origin is 1 to 255 characters without spaces or '+'")
        if self.checkpoints_kept < 1:
            raise ValueError("checkpoints_kept is at least 1")


service = Service(
    "audit",
    doc="The audit trail: every event in a verifiable, append-only log.",
    migrations=files("mainspring.services.audit") / "migrations",
    settings=AuditSettings,
)


class EntryQuery(Input, frozen=True):
    """Which entries; ``type`` is an exact event type, ``records.*`` or ``*``."""

    cursor: Cursor | None = None
    limit: Limit = PAGE_LIMIT_DEFAULT
    type: str = "*"


class AuditEntry(msgspec.Struct, frozen=True):
    """An event as it was hashed: ``leaf`` is SHA-256 of a zero byte and the bytes of ``event``.

    ``index`` is its place in the tree, ``seq - 1``. Personal fields are shown sealed. Where the
    caller may not read the event it is null and ``withheld`` is true: there is proof of it, and no
    more.
    """

    seq: int
    index: int
    id: str
    type: str
    leaf: bytes
    event: Envelope | None
    withheld: bool


class CheckpointView(msgspec.Struct, frozen=True):
    """A signed checkpoint. ``note`` is a C2SP signed note; ``key`` the verifier key it names."""

    origin: str
    size: int
    root: bytes
    time: Instant
    note: str
    key: str


class ProofQuery(Input, frozen=True):
    """The tree to prove an event in; by default that of the latest checkpoint."""

    size: int | None = None


class InclusionProof(msgspec.Struct, frozen=True):
    """The path (RFC 9162, 2.1.3) from an event's leaf to the root of the first ``size`` events.

    ``checkpoint`` is the signed note of that tree where one was published.
    """

    event_id: str
    seq: int
    index: int
    size: int
    leaf: bytes
    root: bytes
    path: list[bytes]
    checkpoint: str | None


class ConsistencyQuery(Input, frozen=True):
    """Two sizes of the log; ``second`` is that of the latest checkpoint by default."""

    first: int
    second: int | None = None


class ConsistencyProof(msgspec.Struct, frozen=True):
    """Proof (RFC 9162, 2.1.4) that the first ``second`` events begin with the first ``first``."""

    first: int
    second: int
    first_root: bytes
    second_root: bytes
    proof: list[bytes]

"""The audit service's public face: settings, operations, what they take and answer, its job."""

from importlib.resources import files

import msgspec

from mainspring import Call, Envelope, Failure, Gauge, Input, Instant, Page, PageQuery, Raw, Service
from mainspring.kernel.errors import PositionGone

READ = "audit:read"

SCANNED_MAX = 5_000  # events read for one page


class AuditSettings(msgspec.Struct, frozen=True):
    """``origin`` names this log in its checkpoints and must stay the same for its whole life."""

    origin: str = "mainspring.local/audit"
    checkpoints_kept: int = 10_000

    def __post_init__(self) -> None:
        if not self.origin or len(self.origin) > 255 or set(self.origin) & set(" +\t\r\n"):
            raise ValueError("origin must be 1 to 255 characters without spaces or '+'")
        if self.checkpoints_kept < 1:
            raise ValueError("checkpoints_kept must be 1 or more")


REFUSED = Gauge(
    "mainspring_audit_checkpoint_refused",
    "1 while no checkpoint is signed since the log contradicts what was signed",
    newest=True,
)

service = Service(
    "audit",
    doc="The audit trail: every event in a verifiable, append-only log.",
    migrations=files("mainspring.services.audit") / "migrations",
    settings=AuditSettings,
    handlers=("mainspring.services.audit.jobs", "mainspring.services.audit.operations"),
    metrics=(REFUSED,),
)


class CheckpointRefused(Failure):
    """The log does not extend what was signed before: it went back, or was changed.

    Nothing is signed until an operator has looked: ``mainspring admin restored``.
    """

    status, code, title = 503, "checkpoint_refused", "The log is not the one that was signed"


class EntryQuery(PageQuery, frozen=True):
    """Which entries; ``type`` is an exact event type, ``records.*`` or ``*``."""

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


# Jobs


@service.contract.job(queue="platform", max_attempts=3)
async def publish_checkpoint(call: Call) -> None:
    """Bring the tree up to date, publish a checkpoint, and forget the oldest beyond the setting.

    A proof between any two sizes needs no stored checkpoint, so forgetting loses no proof.
    """


service.every("* * * * *", publish_checkpoint)


# Operations


@service.contract.operation("GET /v1/audit/entries", scope=READ, raises=(PositionGone,))
async def list_entries(call: Call, query: EntryQuery) -> Page[AuditEntry]:
    """List events in the order of the log, as they were hashed.

    ``audit:read`` shows that something happened: its place, type and hash. What it was is shown to
    callers who may read the event in the feed.

    A page may hold fewer than ``limit`` and still have a ``next_cursor``: one page reads at most
    5,000 events.
    """


@service.contract.operation("GET /v1/audit/checkpoint", scope=READ, raises=(CheckpointRefused,))
async def get_checkpoint(call: Call) -> CheckpointView:
    """Return a signed checkpoint of the log, at most a second old."""


@service.contract.operation(
    "GET /v1/audit/proofs/{event_id}", scope=READ, raises=(CheckpointRefused,)
)
async def get_inclusion_proof(call: Call, event_id: str, query: ProofQuery) -> InclusionProof:
    """Prove that an event is in the log."""


@service.contract.operation("GET /v1/audit/consistency", scope=READ, raises=(CheckpointRefused,))
async def get_consistency_proof(call: Call, query: ConsistencyQuery) -> ConsistencyProof:
    """Prove that the log at one size begins with the log at a smaller one."""


@service.contract.raw("GET /v1/audit/export", scope=READ)
async def export_log(call: Call) -> Raw:
    """Stream the whole log with its proofs, for the offline verifier (``mainspring audit verify``).

    One JSON value a line: header, events byte for byte as they were hashed, milestones, end. Events
    that the caller may not read are withheld: there by their leaves. The download breaks off when
    the caller loses the right to it.
    """

"""The system tables as structs, and the named SQL that every part of the runtime shares."""

import msgspec

from mainspring.kernel.table import Query, Statement, Table


class EventRow(msgspec.Struct, frozen=True):
    """A staged event as it is inserted; ``seq`` comes with the commit or from the sequencer."""

    id: str
    tenant: str
    type: str
    subject: str
    time_ms: int
    leaf: bytes
    body: str


class LoggedEvent(msgspec.Struct, frozen=True):
    """An event that has its place in the log. ``body`` is its envelope without ``seq``."""

    seq: int
    id: str
    tenant: str
    type: str
    body: str


class StoredAnswer(msgspec.Struct, frozen=True):
    """An idempotency record. The body is stored here, or is a slice of an event's body."""

    key_hash: bytes
    fingerprint: bytes
    status: int
    headers: str
    body: bytes | None
    event_id: str | None
    body_from: int
    body_to: int
    sealed: bool
    expires_ms: int


class JobRow(msgspec.Struct, frozen=True):
    """A job as it is stored."""

    id: str
    tenant: str
    queue: str
    name: str
    args: str
    state: str
    priority: int
    run_at_ms: int
    attempt: int
    max_attempts: int
    lease_until_ms: int
    worker: str | None
    unique_key: str | None
    progress: float | None
    error: str | None
    correlation_id: str
    causation_id: str | None
    created_ms: int
    updated_ms: int


class CursorRow(msgspec.Struct, frozen=True):
    """How far a consumer has come."""

    consumer: str
    seq: int


class SubjectKey(msgspec.Struct, frozen=True):
    """A person's data key, sealed."""

    tenant: str
    person: str
    sealed: bytes


EVENTS = Table("events", EventRow, key=("id",))
ANSWERS = Table("idempotency", StoredAnswer, key=("key_hash",))
JOBS = Table("jobs", JobRow, key=("id",))
CURSORS = Table("cursors", CursorRow, key=("consumer",))
SUBJECT_KEYS = Table("subject_keys", SubjectKey, key=("tenant", "person"))

EVENTS_AFTER = Query(
    "runtime.events_after",
    "SELECT seq, id, tenant, type, body FROM events WHERE seq > :after ORDER BY seq LIMIT :limit",
    LoggedEvent,
)
LAST_SEQ = Query("runtime.last_seq", "SELECT COALESCE(MAX(seq), 0) FROM events", int)
EVENT_BODY = Query("runtime.event_body", "SELECT body FROM events WHERE id = :id", str)
ANSWER = Query(
    "runtime.answer",
    f"SELECT {ANSWERS.columns} FROM idempotency WHERE key_hash = :key_hash",
    ANSWERS,
)
FORGET_EXPIRED_ANSWER = Statement(
    "runtime.forget_expired_answer",
    "DELETE FROM idempotency WHERE key_hash = :key_hash AND expires_ms <= :now_ms",
)
CURSOR = Query("runtime.cursor", "SELECT seq FROM cursors WHERE consumer = :consumer", int)
SUBJECT_KEY = Query(
    "runtime.subject_key",
    "SELECT tenant, person, sealed FROM subject_keys WHERE tenant = :tenant AND person = :person",
    SUBJECT_KEYS,
)

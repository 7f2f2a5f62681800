"""The system tables as structs, and the named SQL that every part of the runtime shares.

``logged_events`` shows events with their ``seq``, null until they have one. On SQLite it is a
column of ``events``; on PostgreSQL it stands beside them, in ``event_places``.
"""

from typing import TypedDict

import msgspec

from mainspring.kernel.ids import first_id_at
from mainspring.kernel.job import PRIORITY_MAX
from mainspring.kernel.sealed import SealedColumn
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
    """An idempotency record. The body is here, a slice of an event's body, or apart.

    ``person`` is whom it tells of, ``*`` where there are several; with their erasure it goes.
    """

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
    digest: bytes | None
    person: str | None = None


class AnswerBody(msgspec.Struct, frozen=True):
    """An answer that stands apart from its records, sealed; ``size_bytes`` is that of the plain."""

    digest: bytes
    account: bytes
    size_bytes: int
    sealed: bytes
    made_ms: int
    expires_ms: int


class JobRow(msgspec.Struct, frozen=True):
    """A job as it is stored.

    ``actor`` is the caller for whom it runs, who needs ``scope`` when it starts; null for what a
    service has done. ``claim`` counts its claims and only grows: whoever writes how a run ended
    names the claim it had, so that one which is another's by now changes nothing. Of the jobs with
    one ``limit_key`` so many run at a time; others are ``parked``. So is, from ``unread_since_ms``
    on, what the versions ``unread_by`` cannot read. While one that ``holds_key`` waits or runs, no
    other of its ``unique_key`` is taken in; one that coalesces gives it up when it is claimed.
    """

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
    coalesces: bool
    progress: float | None
    error: str | None
    correlation_id: str
    causation_id: str | None
    created_ms: int
    updated_ms: int
    actor: str | None = None
    scope: str | None = None
    claim: int = 0
    limit_key: str | None = None
    parked: bool = False
    unread_since_ms: int | None = None
    unread_by: str | None = None
    holds_key: bool = True


class SubjectKey(msgspec.Struct, frozen=True):
    """A person's data key, sealed."""

    tenant: str
    person: str
    sealed: bytes


EACH = "SELECT value FROM json_each(:{})"
EACH_POSTGRES = "SELECT jsonb_array_elements_text(CAST(:{} AS text)::jsonb) AS value"


class EngineTexts(TypedDict):
    """What a statement says to each engine."""

    sql: str
    postgres: str


def both_engines(text: str, *, listed: str = "") -> EngineTexts:
    """Return a text in the words of both engines.

    ``{each}`` selects the strings of the JSON list ``:listed``; ``{lock}`` locks the rows that are
    chosen, and passes by those that others have locked. ``{among}SELECT … LIMIT :limit{chosen}``
    stands for ``IN (SELECT … LIMIT :limit)`` where the rows of a step are chosen by their key.
    """
    # PostgreSQL joins ``IN (SELECT …)`` row by row in a table that it last knew as empty, as a
    # sweep leaves it: a step took over 30 s. An array is made once, before the table is looked at.
    return EngineTexts(
        sql=text.format(each=EACH.format(listed), lock="", among="IN (", chosen=")"),
        postgres=text.format(
            each=EACH_POSTGRES.format(listed),
            lock="FOR UPDATE SKIP LOCKED",
            among="= ANY (ARRAY(",
            chosen="))",
        ),
    )


JOB_ID_CHARS = len(first_id_at("job", 0))

EVENTS = Table("events", EventRow, key=("id",))
ANSWERS = Table("idempotency", StoredAnswer, key=("key_hash",))
ANSWER_BODIES = Table("answer_bodies", AnswerBody, key=("digest",))
JOBS = Table("jobs", JobRow, key=("id",))
SUBJECT_KEYS = Table("subject_keys", SubjectKey, key=("tenant", "person"))
SEALED_SUBJECT_KEYS = SealedColumn(SUBJECT_KEYS, "sealed", "personal")

EVENTS_AFTER = Query(
    "runtime.events_after",
    "SELECT seq, id, tenant, type, body FROM logged_events "
    "WHERE seq > :after ORDER BY seq LIMIT :limit",
    LoggedEvent,
)
LAST_SEQ = Query(
    "runtime.last_seq",
    "SELECT COALESCE(MAX(seq), 0) FROM events",
    int,
    postgres="SELECT COALESCE(MAX(seq), 0) FROM event_places",
)
EVENT_BODY = Query("runtime.event_body", "SELECT body FROM events WHERE id = :id", str)
EVENT_BY_ID = Query(
    "runtime.event_by_id",
    "SELECT seq, id, tenant, type, body FROM logged_events WHERE id = :id",
    LoggedEvent,
)
ANSWER = Query(
    "runtime.answer",
    f"SELECT {ANSWERS.columns} FROM idempotency WHERE key_hash = :key_hash",
    ANSWERS,
)
ANSWER_BODY = Query(
    "runtime.answer_body", "SELECT sealed FROM answer_bodies WHERE digest = :digest", bytes
)
# The newest of an account's answers stay, as many as its share holds.
_OVER_SHARE = (
    "SELECT digest FROM (SELECT digest, SUM(size_bytes) OVER (ORDER BY made_ms DESC, digest) "
    "AS total FROM answer_bodies WHERE account = :account) AS sized "
    "WHERE total > CAST(:share AS bigint)"
)
TRIM_ANSWER_BODIES = Statement(
    "runtime.trim_answer_bodies",
    f"DELETE FROM answer_bodies WHERE digest IN ({_OVER_SHARE})",
    postgres="DELETE FROM answer_bodies WHERE digest IN (SELECT digest FROM answer_bodies "
    f"WHERE digest IN ({_OVER_SHARE}) ORDER BY digest FOR UPDATE SKIP LOCKED)",
)
FORGET_EXPIRED_ANSWER = Statement(
    "runtime.forget_expired_answer",
    "DELETE FROM idempotency WHERE key_hash = :key_hash AND expires_ms <= :now_ms",
)
SUBJECT_KEY = Query(
    "runtime.subject_key",
    "SELECT tenant, person, sealed FROM subject_keys WHERE tenant = :tenant AND person = :person",
    SUBJECT_KEYS,
)


class ClaimedJob(msgspec.Struct, frozen=True):
    """What a worker needs of a job that it has claimed."""

    id: str
    tenant: str
    queue: str
    name: str
    args: str
    priority: int
    attempt: int
    max_attempts: int
    claim: int
    correlation_id: str
    created_ms: int
    run_at_ms: int
    actor: str | None
    scope: str | None
    limit_key: str | None


_CLAIMED = ", ".join(ClaimedJob.__struct_fields__)
_CLAIM = f"""
UPDATE jobs SET state = 'running', attempt = attempt + 1, claim = claim + 1, worker = :worker,
    lease_until_ms = :lease_until_ms, updated_ms = :now_ms,
    holds_key = NOT coalesces
WHERE id IN ({{found}}) RETURNING {_CLAIMED}"""
_CLAIMABLE = """
SELECT id FROM jobs WHERE queue = :queue AND state = 'ready' AND NOT parked
    AND name {known}
    AND (unread_by IS NULL OR unread_by NOT LIKE '%' || CAST(:mark AS text) || '%')
    AND NOT EXISTS (SELECT 1 FROM queues WHERE name = :queue AND paused)
    AND {front} LIMIT :limit {lock}"""
# ``:after`` says for each priority after which id to look (see ``fronts``). SQLite keeps nothing of
# rows that are gone, so there it does not matter.
CLAIM_JOBS = Statement(
    "runtime.claim_jobs",
    _CLAIM.format(
        found=_CLAIMABLE.format(
            known=f"IN ({EACH.format('names')})",
            front=":after IS NOT NULL ORDER BY priority DESC, id",
            lock="",
        )
    ),
    postgres=_CLAIM.format(
        # A series, whose length the planner knows: few rows, so each is found by its key.
        found=f"SELECT found.id FROM generate_series(0, {PRIORITY_MAX}) AS front(number) "
        "CROSS JOIN LATERAL ("
        + _CLAIMABLE.format(
            known=f"= ANY (ARRAY({EACH_POSTGRES.format('names')}))",  # never joined: in order
            front=f"priority = {PRIORITY_MAX} - front.number "
            "AND id > CAST(:after AS text)::jsonb ->> front.number ORDER BY id",
            lock="FOR UPDATE SKIP LOCKED",
        )
        + ") AS found LIMIT :limit"
    ),
)
# By its key: planned while few jobs run, it would go by the index of those that do, and that holds
# all that ran as long as a snapshot is held.
IS_RUN = "id = :id AND claim = :claim AND COALESCE(state, '') = 'running'"
_DONE = "UPDATE jobs SET state = 'done', progress = 1, worker = NULL, error = NULL, updated_ms = "
FINISH_JOB = Statement(
    "runtime.finish_job",
    f"{_DONE}:now_ms WHERE {IS_RUN}",
    postgres_many=f"{_DONE}run.now_ms FROM unnest(CAST(:id AS text[]), "
    "CAST(:claim AS bigint[]), CAST(:now_ms AS bigint[])) AS run (id, claim, now_ms) "
    "WHERE jobs.id = run.id AND jobs.claim = run.claim AND COALESCE(jobs.state, '') = 'running'",
)
# Where a run did not end its job. One that gave its key up when it was claimed takes it again;
# where another holds that by now, it gives way: the other is to do the same.
GIVES_WAY = (
    "NOT holds_key AND EXISTS (SELECT 1 FROM jobs AS other WHERE other.tenant = jobs.tenant "
    "AND other.unique_key = jobs.unique_key AND other.name = jobs.name AND other.holds_key "
    "AND other.state IN ('scheduled', 'ready', 'running') AND other.id <> jobs.id)"
)
_WAITS_AGAIN = (
    f"UPDATE jobs SET state = CASE WHEN {GIVES_WAY} THEN 'cancelled' ELSE 'scheduled' END, "
    "holds_key = true, run_at_ms = :run_at_ms, worker = NULL, error = :error, "
    "unread_since_ms = NULL, updated_ms = :now_ms"
)
RETRY_JOB = Statement(
    "runtime.retry_job",
    f"{_WAITS_AGAIN} WHERE {IS_RUN}",
)
SNOOZE_JOB = Statement(
    "runtime.snooze_job",
    f"{_WAITS_AGAIN}, attempt = attempt - 1 WHERE {IS_RUN}",
)
BURY_JOB = Statement(
    "runtime.bury_job",
    "UPDATE jobs SET state = 'dead', worker = NULL, error = :error, "
    "updated_ms = :now_ms "
    f"WHERE {IS_RUN}",
)
# Only of what runs, a JSON list of "id claim": a job whose claim or completion was lost on its way
# has no task, and must go to whoever comes next. One that somebody holds right now is ending.
RENEW_LEASES = Statement(
    "runtime.renew_leases",
    **both_engines(
        "UPDATE jobs SET lease_until_ms = :lease_until_ms WHERE id IN (SELECT id FROM jobs "
        f"WHERE id IN (SELECT substr(value, 1, {JOB_ID_CHARS}) "
        "FROM ({each}) AS runs) "
        "AND COALESCE(state, '') = 'running' AND worker = :worker "
        "AND id || ' ' || claim IN ({each}) {lock})",
        listed="runs",
    ),
)
SHOW_PROGRESS = Statement(
    "runtime.show_progress",
    f"UPDATE jobs SET progress = :progress WHERE {IS_RUN}",
)
HAND_BACK = Statement(
    "runtime.hand_back",
    "UPDATE jobs SET state = 'ready', attempt = attempt - 1, worker = NULL "
    "WHERE state = 'running' AND worker = :worker",
)
# A worker that died takes its attempt with it: the job may be what killed it. One that is frozen
# may have locked some of its jobs, which is not to keep the others from being taken back.
RECLAIM_JOBS = Statement(
    "runtime.reclaim_jobs",
    **both_engines(
        "UPDATE jobs SET state = CASE WHEN attempt >= max_attempts THEN 'dead' ELSE 'ready' END, "
        "worker = NULL, error = 'its worker died', updated_ms = :now_ms "
        "WHERE id IN (SELECT id FROM jobs "
        "WHERE state = 'running' AND lease_until_ms > :from_ms AND lease_until_ms <= :until_ms "
        "{lock}) RETURNING queue"
    ),
)
# A clock that ran ahead wrote these: a retry waits as long as it was to, a lease ends soon.
HEAL_RETRIES = Statement(
    "runtime.heal_retries",
    "UPDATE jobs SET run_at_ms = run_at_ms - (updated_ms - :now_ms), updated_ms = :now_ms "
    "WHERE state = 'scheduled' AND updated_ms > :before_ms "
    "AND (claim > 0 OR name LIKE '%.again')",
)
HEAL_LEASES = Statement(
    "runtime.heal_leases",
    "UPDATE jobs SET lease_until_ms = :lease_until_ms "
    "WHERE state = 'running' AND lease_until_ms > :before_ms",
)
_PROMOTE = """
UPDATE jobs SET state = 'ready' WHERE id {among}
    SELECT id FROM jobs WHERE state = 'scheduled' AND run_at_ms > :from_ms AND run_at_ms <= :now_ms
    ORDER BY run_at_ms LIMIT :limit {lock}
{chosen} RETURNING queue"""
PROMOTE_JOBS = Statement("runtime.promote_jobs", **both_engines(_PROMOTE))
NEXT_DUE = Query(
    "runtime.next_due",
    "SELECT run_at_ms FROM jobs WHERE state = 'scheduled' AND run_at_ms > :from_ms "
    "ORDER BY run_at_ms LIMIT 1",
    int,
)
FORGET_ANSWERS = Statement(
    "runtime.forget_answers",
    **both_engines(
        "DELETE FROM idempotency WHERE key_hash {among}SELECT key_hash FROM idempotency "
        "WHERE expires_ms <= :now_ms ORDER BY expires_ms LIMIT :limit{chosen} RETURNING 1"
    ),
)
# What a clock that ran ahead has written would else stay until that clock's time has come.
HEAL_ANSWERS = Statement(
    "runtime.heal_answers",
    **both_engines(
        "UPDATE idempotency SET expires_ms = :latest_ms WHERE key_hash {among}SELECT key_hash "
        "FROM idempotency WHERE expires_ms > :latest_ms ORDER BY expires_ms DESC LIMIT :limit"
        "{chosen} RETURNING 1"
    ),
)
HEAL_ANSWER_BODIES = Statement(
    "runtime.heal_answer_bodies",
    **both_engines(
        "UPDATE answer_bodies SET expires_ms = :latest_ms WHERE digest {among}SELECT digest "
        "FROM answer_bodies WHERE expires_ms > :latest_ms ORDER BY expires_ms DESC LIMIT :limit"
        "{chosen} RETURNING 1"
    ),
)
FORGET_ANSWER_BODIES = Statement(
    "runtime.forget_answer_bodies",
    **both_engines(
        "DELETE FROM answer_bodies WHERE digest {among}SELECT digest FROM answer_bodies "
        "WHERE expires_ms <= :now_ms ORDER BY expires_ms LIMIT :limit{chosen} RETURNING 1"
    ),
)
FORGET_JOBS = Statement(
    "runtime.forget_jobs",
    **both_engines(
        "DELETE FROM jobs WHERE id {among}SELECT id FROM jobs WHERE id < :before "
        "AND state IN ('done', 'cancelled') AND updated_ms < :ended_ms ORDER BY id "
        "LIMIT :limit{chosen} RETURNING 1"
    ),
)
FORGET_DEAD_JOBS = Statement(
    "runtime.forget_dead_jobs",
    **both_engines(
        "DELETE FROM jobs WHERE id {among}SELECT id FROM jobs WHERE state = 'dead' "
        "AND updated_ms < :before_ms ORDER BY updated_ms LIMIT :limit{chosen} RETURNING 1"
    ),
)


class ScheduleRow(msgspec.Struct, frozen=True):
    """When a schedule fires next."""

    name: str
    next_ms: int


SCHEDULES = Table("schedules", ScheduleRow, key=("name",))
SCHEDULE = Query("runtime.schedule", "SELECT next_ms FROM schedules WHERE name = :name", int)
MOVE_SCHEDULE = Statement(
    "runtime.move_schedule",
    "UPDATE schedules SET next_ms = :next_ms WHERE name = :name AND next_ms = :was_ms",
)

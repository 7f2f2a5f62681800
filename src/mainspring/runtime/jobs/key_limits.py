"""Limits per key: of the jobs that share a key so many run at a time, and so many start in a time.

They hold in all processes together. A claim that took more parks the rest, out of the index that
workers claim from: a backlog of one key is read once and delays no other. So does one that found no
place in its queue which its key may take (``places.py``). For each run that ended the next claim
lets one of its key go, all of them at once; a sweep lets go those whose time has come, and makes
good what is lost when a worker dies or a job is cancelled.

A rate is GCRA (ATM Forum TM 4.0) over a row per key: the theoretical arrival time of the next start
that would keep exactly to the rate, in microseconds by the database's clock.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mainspring.kernel import channel
from mainspring.kernel.job import Job
from mainspring.kernel.policy import Rate
from mainspring.kernel.table import Query, Statement, Write
from mainspring.ports.database import NO_WAKES, Database, DatabaseTransaction, Wakes
from mainspring.runtime.jobs.places import Places, PlacesOf
from mainspring.runtime.tables import EACH, EACH_POSTGRES, ClaimedJob, both_engines

SWEEP_KEYS = 500  # keys with parked jobs that one sweep looks at
RELEASE_MAX = 128  # jobs of one key that one sweep lets go
BACKLOG_MAX = 500  # jobs that a claim parks because their key is full, beside those it took
SWEEP_S = 1.0
GRAIN_S = 0.02  # sweeps are at least so far apart: what comes due meanwhile goes together

PARKED = frozenset({channel.PARKED})


class KeyLimit(msgspec.Struct, frozen=True):
    """What a job is limited to per key: ``at_most`` at a time, a start every ``step_us``.

    After a pause ``burst`` start at once. No rate has a step of 0.
    """

    at_most: int = sys.maxsize
    step_us: int = 0
    burst: int = 1

    def starts(self, arrival_us: int, now_us: int) -> int:
        """Return how many may start now, given the arrival time of the next."""
        if self.step_us == 0:
            return sys.maxsize
        return (now_us + self._depth_us - self._held(arrival_us, now_us)) // self.step_us

    def after(self, started: int, arrival_us: int, now_us: int) -> int:
        """Return the arrival time of the next when so many have started now."""
        return self._held(arrival_us, now_us) + started * self.step_us

    def next_us(self, arrival_us: int, now_us: int) -> int:
        """Return the moment from which one more may start."""
        return self._held(arrival_us, now_us) + self.step_us - self._depth_us

    @property
    def _depth_us(self) -> int:
        return self.step_us * self.burst

    def _held(self, arrival_us: int, now_us: int) -> int:
        """Hold an arrival time in its bounds: a longer wait was written by another rate."""
        return min(max(arrival_us, now_us), now_us + self._depth_us)


NO_LIMIT = KeyLimit()
UNKNOWN = KeyLimit(at_most=0)  # of a job that this process does not know: who does lets it go
LimitOf = Callable[[str], KeyLimit]  # given the name of a job


def limit_of(job: Job[...], settings: object) -> KeyLimit:
    """Return the limit of a job, given its service's settings. Raises ValueError for no rate."""
    at_most = NO_LIMIT.at_most if job.concurrency is None else job.concurrency.at_most
    if callable(at_most):
        at_most = at_most(settings)
    if job.rate is None:
        return KeyLimit(at_most)
    text = job.rate.at_most
    rate = Rate.parse(text(settings) if callable(text) else text)
    step_us = -int(-rate.window_s * 1_000_000 // rate.count)
    return KeyLimit(at_most, step_us, job.rate.burst or rate.count)


class ParkedKey(msgspec.Struct, frozen=True):
    """A key with parked jobs, the next of them, and how many of it run or were let go."""

    limit_key: str
    name: str
    queue: str
    running: int
    released: int
    arrival_us: int


class KeyStanding(msgspec.Struct, frozen=True):
    """How many jobs of a key run, when its next may start, and which of its parked ones is next."""

    running: int
    arrival_us: int
    priority: int | None
    id: str | None

    def is_turn_of(self, job: ClaimedJob) -> bool:
        """Tell whether no parked job comes before this one."""
        if self.priority is None or self.id is None:
            return True
        return (-job.priority, job.id) < (-self.priority, self.id)


# Two claims of one key count one after the other; SQLite has one writer anyway.
_LOCK_KEYS = Statement(
    "runtime.lock_job_keys",
    "SELECT CAST(:keys AS text)",
    postgres="SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM "
    "(SELECT key FROM jsonb_array_elements_text(CAST(:keys AS text)::jsonb) AS key ORDER BY key) "
    "AS sorted",
)
# What waits for its key; not what waits for another version of the program.
_PARKED = "state = 'ready' AND parked AND unread_since_ms IS NULL"
_NOT_PAUSED = "queue NOT IN (SELECT name FROM queues WHERE paused)"
_FIRST_PARKED = (
    f"FROM jobs WHERE {_PARKED} AND limit_key = keys.value "
    f"AND {_NOT_PAUSED} ORDER BY priority DESC, id LIMIT 1"
)
_STANDINGS = Statement(
    "runtime.standings_of_keys",
    **both_engines(
        "SELECT keys.value, "
        "(SELECT COUNT(*) FROM jobs WHERE state = 'running' AND NOT parked "
        "AND limit_key IS NOT NULL AND limit_key = keys.value), "
        "COALESCE((SELECT arrival_us FROM job_rates WHERE limit_key = keys.value), 0), "
        f"(SELECT priority {_FIRST_PARKED}), (SELECT id {_FIRST_PARKED}) "
        "FROM ({each}) AS keys",
        listed="keys",
    ),
)
_SET_ARRIVALS = (
    "INSERT INTO job_rates (limit_key, arrival_us) SELECT {columns} "
    "ON CONFLICT (limit_key) DO UPDATE SET arrival_us = excluded.arrival_us"
)
_COUNT_STARTS = Statement(
    "runtime.count_job_starts",
    _SET_ARRIVALS.format(
        columns="item.value ->> 0, item.value ->> 1 FROM json_each(:arrivals) AS item WHERE true"
    ),
    postgres=_SET_ARRIVALS.format(
        columns="item ->> 0, CAST(item ->> 1 AS bigint) "
        "FROM jsonb_array_elements(CAST(:arrivals AS text)::jsonb) AS item"
    ),
)
# Nobody has heard of their claims: those are taken back in the transaction that made them.
_PARK_JOBS = Statement(
    "runtime.park_jobs",
    **both_engines(
        "UPDATE jobs SET state = 'ready', parked = true, unread_since_ms = NULL, "
        "attempt = attempt - 1, claim = claim - 1, worker = NULL "
        "WHERE id IN ({each})",
        listed="ids",
    ),
)
# What else those keys have: so a claim of one job steps over a long backlog in few steps too.
_PARK_BACKLOGS = Statement(
    "runtime.park_backlogs",
    **both_engines(
        "UPDATE jobs SET parked = true, unread_since_ms = NULL WHERE id {among}SELECT id FROM jobs "
        "WHERE state = 'ready' AND NOT parked AND limit_key IS NOT NULL "
        "AND limit_key IN ({each}) LIMIT :limit {lock}{chosen}",
        listed="keys",
    ),
)
# The first ``:limit`` of each key.
_NEXT = (
    f"SELECT id FROM jobs WHERE {_PARKED} AND limit_key = keys.value AND {_NOT_PAUSED} "
    "ORDER BY priority DESC, id LIMIT :limit"
)
_LET_NEXT_GO = Statement(
    "runtime.let_next_jobs_go",
    "UPDATE jobs SET parked = false WHERE id IN (SELECT parked.id "
    f"FROM ({EACH.format('keys')}) AS keys JOIN jobs AS parked ON parked.id IN ({_NEXT})) "
    "RETURNING queue",
    postgres="UPDATE jobs SET parked = false WHERE id = ANY (ARRAY(SELECT next.id "
    f"FROM ({EACH_POSTGRES.format('keys')}) AS keys "
    f"CROSS JOIN LATERAL ({_NEXT} FOR UPDATE SKIP LOCKED) AS next)) RETURNING queue",
)
# From key to key by the index, however many jobs each has parked.
_PARKED_KEYS = Query(
    "runtime.parked_keys",
    f"""
WITH RECURSIVE keys(limit_key) AS (
    SELECT MIN(limit_key) FROM jobs WHERE {_PARKED} AND limit_key > :after
    UNION ALL
    SELECT (SELECT MIN(jobs.limit_key) FROM jobs
            WHERE {_PARKED} AND jobs.limit_key > keys.limit_key)
    FROM keys WHERE keys.limit_key IS NOT NULL
)
SELECT limit_key,
    (SELECT name FROM jobs WHERE {_PARKED} AND jobs.limit_key = keys.limit_key
     ORDER BY priority DESC, id LIMIT 1),
    (SELECT queue FROM jobs WHERE {_PARKED} AND jobs.limit_key = keys.limit_key
     ORDER BY priority DESC, id LIMIT 1),
    (SELECT COUNT(*) FROM jobs WHERE state = 'running' AND NOT parked
     AND jobs.limit_key IS NOT NULL AND jobs.limit_key = keys.limit_key),
    (SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'ready' AND NOT parked
     AND jobs.limit_key IS NOT NULL AND jobs.limit_key = keys.limit_key
     AND {_NOT_PAUSED} LIMIT {RELEASE_MAX}) AS released),
    COALESCE((SELECT arrival_us FROM job_rates WHERE job_rates.limit_key = keys.limit_key), 0)
FROM keys WHERE limit_key IS NOT NULL LIMIT :limit""",
    ParkedKey,
)
FORGET_RATES = Statement(
    "runtime.forget_job_rates",
    **both_engines(
        "DELETE FROM job_rates WHERE limit_key {among}SELECT limit_key FROM job_rates "
        "WHERE arrival_us <= :now_us ORDER BY arrival_us LIMIT :limit {lock}{chosen} "
        "AND arrival_us <= :now_us RETURNING 1"
    ),
)


class KeyLimits:
    """Parks what a claim took over the limit of its key, and lets the next go."""

    __slots__ = ("_after", "_crowded", "_database", "_ended", "_limit_of", "_next_us")

    def __init__(self, database: Database, limit: LimitOf) -> None:
        self._database = database
        self._limit_of = limit
        self._after = ""
        self._next_us: int | None = None  # when a parked job may start, for all that is known
        self._ended: dict[str, Counter[str]] = defaultdict(Counter)  # keys by queue
        self._crowded: set[str] = set()  # keys that hold as many places here as they may

    async def keep(
        self,
        transaction: DatabaseTransaction,
        claimed: Sequence[ClaimedJob],
        now_ms: int,
        places: Places,
    ) -> tuple[list[ClaimedJob], Wakes]:
        """Return what may run of the jobs that this transaction claimed; park the rest.

        They are given in the order in which they are to run.
        """
        by_key: dict[str, list[ClaimedJob]] = defaultdict(list)
        for job in claimed:
            if job.limit_key is not None:
                by_key[job.limit_key].append(job)
        if not by_key:
            return list(claimed), NO_WAKES
        keys = msgspec.json.encode(sorted(by_key)).decode()
        await transaction.execute(_LOCK_KEYS(keys=keys))
        rows = await transaction.execute(_STANDINGS(keys=keys))
        standings = {key: KeyStanding(*standing) for key, *standing in rows}
        over, started, wakes = self._divide(claimed, by_key, standings, now_ms * 1000, places)
        if started:
            arrivals = msgspec.json.encode(sorted(started.items())).decode()
            await transaction.execute(_COUNT_STARTS(arrivals=arrivals))
        if over:
            await transaction.execute(_PARK_JOBS(ids=msgspec.json.encode(sorted(over)).decode()))
            full = sorted(key for key, jobs in by_key.items() if jobs[-1].id in over)
            await transaction.execute(
                _PARK_BACKLOGS(keys=msgspec.json.encode(full).decode(), limit=BACKLOG_MAX)
            )
        return [job for job in claimed if job.id not in over], wakes

    def _divide(
        self,
        claimed: Sequence[ClaimedJob],
        by_key: Mapping[str, list[ClaimedJob]],
        standings: Mapping[str, KeyStanding],
        now_us: int,
        places: Places,
    ) -> tuple[set[str], dict[str, int], Wakes]:
        """Return the ids to park, the new arrival times by key, and whom to wake."""
        over: set[str] = set()
        started: dict[str, int] = {}
        wakes = NO_WAKES
        free, allowed = {}, {}
        for key, jobs in by_key.items():
            standing, limit = standings[key], self._limit_of(jobs[0].name)
            free[key] = limit.at_most - (standing.running - len(jobs))
            starts = limit.starts(standing.arrival_us, now_us)
            turns = [job for job in jobs if standing.is_turn_of(job)]  # the first, in their order
            allowed[key] = max(min(free[key], starts, len(turns)), 0)
        seated = _seat(claimed, allowed, places)
        for key, jobs in by_key.items():
            standing, limit, kept = standings[key], self._limit_of(jobs[0].name), seated[key]
            over.update(job.id for job in jobs[kept:])
            arrival_us = limit.after(kept, standing.arrival_us, now_us)
            if limit.step_us and kept:
                started[key] = arrival_us
            if kept < allowed[key]:
                self._crowded.add(key)
            elif kept < min(len(jobs), free[key]):  # one more would run, but for its rate or turn
                wakes |= self._expect(limit.next_us(arrival_us, now_us))
        return over, started, wakes

    def _expect(self, next_us: int) -> Wakes:
        """Note when a parked job may start; wake the sweep when it sleeps for longer."""
        if self._next_us is not None and self._next_us <= next_us:
            return NO_WAKES
        self._next_us = next_us
        return PARKED

    def ended(self, job: ClaimedJob) -> bool:
        """Note that a run has ended; return whether the next of its key may go for it."""
        key = job.limit_key
        if key is None or (
            key not in self._crowded and self._limit_of(job.name).at_most == NO_LIMIT.at_most
        ):
            return False
        self._ended[job.queue][key] += 1
        return True

    def take_ended(self, queue: str) -> Counter[str]:
        """Return how many runs of each key have ended in a queue since this was asked last."""
        return self._ended.pop(queue, Counter())

    def take_all_ended(self) -> Counter[str]:
        """Return as much of all queues."""
        taken = Counter[str]()
        for ended in self._ended.values():
            taken.update(ended)
        self._ended.clear()
        return taken

    def not_let_go(self, queue: str, ended: Counter[str]) -> None:
        """Take back what was taken, for a transaction that did not hold."""
        self._ended[queue].update(ended)

    async def release(self, now_ms: int, places_of: PlacesOf) -> float:
        """Let jobs go whose key has room by now; return in how many seconds to look again."""
        keys = await self._database.read(
            _PARKED_KEYS, _PARKED_KEYS.sql.bind({"after": self._after, "limit": SWEEP_KEYS})
        )
        if not self._after:
            self._next_us = None
        self._after = keys[-1].limit_key if len(keys) == SWEEP_KEYS else ""
        if not self._after:
            self._crowded.intersection_update(key.limit_key for key in keys)
        room = {
            key.limit_key: count
            for key in keys
            if (count := self._room(key, now_ms * 1000, places_of(key.queue)))
        }

        async def body(transaction: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
            return (), await let_go(transaction, room)

        if room:
            await self._database.transact(body)
        if self._after:
            return GRAIN_S
        if self._next_us is None:
            return SWEEP_S
        return min(max(self._next_us / 1_000_000 - now_ms / 1000, GRAIN_S), SWEEP_S)

    def _room(self, key: ParkedKey, now_us: int, places: Places) -> int:
        """Return how many jobs of a key to let go."""
        limit = self._limit_of(key.name)
        free = limit.at_most - key.running
        starts = limit.starts(key.arrival_us, now_us)
        if limit.step_us and free > starts:
            # All who may start now are gone then: it is the one after them that waits.
            self._expect(limit.next_us(limit.after(starts, key.arrival_us, now_us), now_us))
        room = min(free, starts, places.room(key.limit_key), RELEASE_MAX)
        return max(room - key.released, 0)

    @property
    def next_ms(self) -> int | None:
        """When a parked job may start that waits for its time, as far as this process knows."""
        return None if self._next_us is None else -(-self._next_us // 1000)


async def let_go(transaction: DatabaseTransaction, room: Mapping[str, int]) -> Wakes:
    """Let so many parked jobs of each key go; return whom to wake."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for key, count in room.items():
        by_count[count].append(key)
    queues: set[str] = set()
    for count, keys in sorted(by_count.items()):
        listed = msgspec.json.encode(sorted(keys)).decode()
        rows = await transaction.execute(_LET_NEXT_GO(keys=listed, limit=count))
        queues.update(queue for (queue,) in rows)
    return frozenset(map(channel.ready, queues))


def _seat(
    claimed: Sequence[ClaimedJob], allowed: Mapping[str, int], places: Places
) -> Mapping[str, int]:
    """Give jobs their places in the order of the claim; return how many each key got."""
    seated: Counter[str] = Counter()
    for job in claimed:
        if job.limit_key is None:
            places.take_any()
        elif seated[job.limit_key] < allowed[job.limit_key] and places.take(job.limit_key):
            seated[job.limit_key] += 1
    return seated

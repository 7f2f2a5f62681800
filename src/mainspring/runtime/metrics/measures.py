"""Measures: counted in memory when a call holds, added to their rows about twice a second."""

import asyncio
from collections.abc import Mapping

import msgspec
import structlog

from mainspring.kernel import channel
from mainspring.kernel.call import Call
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.measure import Measure, require_declared
from mainspring.kernel.measured import FOREVER_MS, Measured
from mainspring.kernel.metric import Counter
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime.notifier import Notifier, wait
from mainspring.runtime.supervisor import Supervisor

log = structlog.get_logger()

FLUSH_S = 0.5  # from the first count in memory to its commit: with that, a kill loses at most 1 s
ROWS_MAX = 1_000  # of one commit
COUNTS_MAX = 50_000  # different ones in memory, while the database is away
WRITTEN = frozenset({channel.MEASURED})

DROPPED = Counter(
    "mainspring_measures_dropped", "Counts with no room in memory while the database was away."
)

Count = tuple[str, str, str, int]  # tenant, name, key, bucket_ms

# In the order of the key, whoever writes: so two processes never wait for each other in a circle.
_ADD = (
    "INSERT INTO measures (tenant, name, key, bucket_ms, value) SELECT {columns} "
    "ON CONFLICT (tenant, name, key, bucket_ms) "
    "DO UPDATE SET value = measures.value + excluded.value"
)
ADD_MEASURES = Statement(
    "runtime.add_measures",
    _ADD.format(
        columns="item.value ->> 0, item.value ->> 1, item.value ->> 2, item.value ->> 3, "
        "item.value ->> 4 FROM json_each(:counts) AS item WHERE true ORDER BY item.key"
    ),
    postgres=_ADD.format(
        columns="item ->> 0, item ->> 1, item ->> 2, CAST(item ->> 3 AS bigint), "
        "CAST(item ->> 4 AS bigint) FROM jsonb_array_elements(CAST(:counts AS text)::jsonb) "
        "WITH ORDINALITY AS counted (item, place) ORDER BY place"
    ),
)
_OLDEST = (
    "FROM measures WHERE name = :name AND bucket_ms < :before_ms ORDER BY bucket_ms LIMIT :limit"
)
FORGET_MEASURES = Statement(
    "runtime.forget_measures",
    "DELETE FROM measures WHERE (tenant, name, key, bucket_ms) IN (SELECT tenant, name, key, "
    f"bucket_ms {_OLDEST}) RETURNING 1",
    # By where the rows are, as in ``sweep_of``.
    postgres=f"DELETE FROM measures WHERE ctid = ANY (ARRAY(SELECT ctid {_OLDEST} "
    "FOR UPDATE SKIP LOCKED)) RETURNING 1",
)
_OF_KEY = (
    "FROM measures WHERE tenant = :tenant AND name = :name AND key = :key "
    "AND bucket_ms >= :from_ms AND bucket_ms < :to_ms"
)
_TOTAL = Query(
    "runtime.measure_total", f"SELECT CAST(COALESCE(SUM(value), 0) AS bigint) {_OF_KEY}", int
)
_SERIES = Query(
    "runtime.measure_series",
    f"SELECT bucket_ms AS at_ms, value {_OF_KEY} ORDER BY bucket_ms",
    Measured,
)


class MeasureBuffer:
    """Counts of this process that are not written down yet: one per tenant, key and bucket."""

    def __init__(self, database: Database, board: Notifier, telemetry: Telemetry) -> None:
        self._database = database
        self._board = board
        self._counts: dict[Count, int] = {}
        self._counted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._dropped = telemetry.counter(DROPPED).of()
        self._supervisor = Supervisor()
        self.dropped = 0  # counts that found no room

    def add(self, tenant: str, now_ms: int, staged: Mapping[tuple[Measure, str], int]) -> None:
        """Count what a call that held has measured."""
        for (measure, key), value in staged.items():
            self._add((tenant, measure.name, key, measure.bucket_ms(now_ms)), value)
        self._counted.set()

    def _add(self, count: Count, value: int) -> None:
        if count in self._counts:
            self._counts[count] += value
        elif len(self._counts) < COUNTS_MAX:
            self._counts[count] = value
        else:
            self.dropped += 1
            self._dropped.add()

    def __len__(self) -> int:
        return len(self._counts)

    async def start(self) -> None:
        """Start writing counts down."""
        self._supervisor.start("measures", self._keep_writing)

    def failing(self) -> list[str]:
        """Name the loop when it fails, and why."""
        return self._supervisor.failing()

    async def stop(self) -> None:
        """Stop, and write down what is left."""
        async with self._writing:  # a write that was cut off might be made twice
            await self._supervisor.stop()
        try:
            await self.flush()
        except Unavailable as error:
            log.warning("measures_lost", counts=len(self._counts), error=repr(error))

    async def flush(self) -> None:
        """Add what was counted to its rows. Raises Unavailable; what was not written is kept.

        Where the database went away before it answered, a count may be added twice.
        """
        async with self._writing:
            taken, self._counts = sorted(self._counts.items()), {}
            self._counted.clear()
            for at in range(0, len(taken), ROWS_MAX):
                rows = [[*count, value] for count, value in taken[at : at + ROWS_MAX]]
                add = ADD_MEASURES(counts=msgspec.json.encode(rows).decode())
                try:
                    await self._database.commit([add], WRITTEN)
                except BaseException:
                    for count, value in taken[at:]:
                        self._add(count, value)
                    self._counted.set()
                    raise

    async def _keep_writing(self) -> None:
        with self._board.listen() as never:
            never.clear()
            while True:
                await self._counted.wait()
                await wait(never, FLUSH_S)
                await self.flush()


class StoredMeasures:
    """What was written down, for handlers: it fills ``Measures``."""

    __slots__ = ("_declared",)

    def __init__(self, declared: Mapping[str, Measure]) -> None:
        self._declared = declared

    async def total(
        self,
        call: Call,
        measure: Measure,
        key: str = "",
        *,
        from_ms: int = 0,
        to_ms: int = FOREVER_MS,
    ) -> int:
        """Return the sum of a key over the buckets that begin in [``from_ms``, ``to_ms``)."""
        require_declared(measure, self._declared)
        return await call.one(
            _TOTAL, tenant=call.tenant, name=measure.name, key=key, from_ms=from_ms, to_ms=to_ms
        )

    async def series(
        self, call: Call, measure: Measure, key: str = "", *, from_ms: int, to_ms: int
    ) -> list[Measured]:
        """Return the buckets of a key that begin in [``from_ms``, ``to_ms``) and hold something."""
        require_declared(measure, self._declared)
        return await call.all(
            _SERIES, tenant=call.tenant, name=measure.name, key=key, from_ms=from_ms, to_ms=to_ms
        )

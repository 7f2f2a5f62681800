"""Sealed anew: what is stored under older data keys, page by page, in the background.

Each page is a job that stages the next one, so that it goes on where a process died; a value that
was changed or erased meanwhile is left as it is. A day later all is looked at once more: a process
that had not heard of the new key has sealed under the older one until then.

A data key is wrapped anew where the keyring or the KMS has another key: of the values nothing
changes.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.job import Job
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.table import Command, Query, Statement, Table
from mainspring.ports.database import Database
from mainspring.runtime.data_key import key_id_of
from mainspring.runtime.data_keys import (
    ALL_DATA_KEYS,
    DATA_KEYS,
    GENERATIONS,
    REWRAP,
    DataKeyRow,
    DataKeys,
    NoSuchKms,
)
from mainspring.runtime.invoke.dispatcher import Dispatcher
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS

PAGE_ROWS = 100
AGAIN_MS = 24 * 3600 * 1000
ATTEMPTS_MAX = 20
TIMEOUT_S = 60.0
REQUEST_ID = "reseal"

log = structlog.get_logger()


class ResealedRow(msgspec.Struct, frozen=True):
    """Under which generation of data keys all of a column is, since when, and how often it was
    gone through for it.
    """

    name: str
    key_id: str
    passes: int
    done_ms: int


RESEALED = Table("resealed", ResealedRow, key=("name",))
ALL_RESEALED = Query(
    "runtime.resealed", f"SELECT {RESEALED.columns} FROM resealed ORDER BY name", RESEALED
)
_NOTE = Statement(
    "runtime.note_resealed",
    "INSERT INTO resealed (name, key_id, passes, done_ms) "
    "VALUES (:name, :key_id, :passes, :done_ms) ON CONFLICT (name) DO UPDATE SET "
    "key_id = excluded.key_id, passes = excluded.passes, done_ms = excluded.done_ms",
)
PASSES = 2  # after which nothing of a column is under an older key


def _job(name: str, work: Callable[..., Awaitable[None]]) -> Job[...]:
    retry = RetryPolicy(max_attempts=ATTEMPTS_MAX)
    job = Job(name, work, queue="platform", retry=retry, timeout_s=TIMEOUT_S)
    job.attach(work)
    return job


class Resealing:
    """Goes through every sealed column when there are new data keys.

    ``columns`` are the services'; the keys of persons are there by themselves.
    """

    def __init__(
        self, columns: Iterable[SealedColumn], data_keys: DataKeys, database: Database
    ) -> None:
        self._columns = {column.name: column for column in (SEALED_SUBJECT_KEYS, *columns)}
        self._replace = {
            column.name: column.table.replaces(column.column) for column in self._columns.values()
        }
        self._data_keys = data_keys
        self._database = database
        self.job = _job("runtime.reseal", self.reseal)
        self.rewrap_job = _job("runtime.rewrap", self.rewrap)
        self.jobs: Sequence[Job[...]] = (self.job, self.rewrap_job)

    async def begin(self, dispatcher: Dispatcher, *, new: bool = False) -> list[str]:
        """Have the columns gone through that are not known to be under the newest data keys.

        Of a ``new`` database nothing is under others. Returns their names. Data keys that an
        earlier key of the keyring wrapped, or a KMS, are looked at too.
        """
        done = {row.name: row.key_id for row in await self._database.read(ALL_RESEALED, ())}
        wanted = await self._newest()
        due = [name for name in self._columns if done.get(name) != wanted[name]]
        call = dispatcher.call(SYSTEM, request_id=REQUEST_ID)
        if await self._data_keys.may_be_behind():
            call.enqueue(self.rewrap_job.configure(unique_key="rewrap"))
        for name in due:
            if new:
                call.write(_note(name, wanted[name], PASSES, call.now_ms))
            else:
                job = self.job.configure(unique_key=f"{name} {wanted[name]}")
                call.enqueue(job, name=name, newest=wanted[name])
        if call.writes or call.jobs:
            await dispatcher.commit(call)
        return due

    async def _newest(self) -> dict[str, str]:
        """Return the name of the newest generation of each column's data keys."""
        generations = dict(await self._database.read(GENERATIONS, ()))
        return {
            name: generation_name(column.purpose, generations.get(column.purpose, 1))
            for name, column in self._columns.items()
        }

    async def rewrap(self, call: Call) -> None:
        """Have every data key wrapped by the key that wraps now."""
        by = (await self._data_keys.describe()).name
        for row in await call.all(ALL_DATA_KEYS):
            if row.wrapped_by == by:
                continue
            try:
                wrapped = await self._data_keys.rewrapped(row)
            except (ValueError, NoSuchKms) as error:  # the next start looks again
                log.error("data_key_not_wrapped_anew", data_key=row.id, error=str(error))
                continue
            call.write(
                REWRAP(id=row.id, was=row.wrapped, wrapped=wrapped.text, wrapped_by=wrapped.by)
            )

    async def remove_unused(self, now_ms: int) -> tuple[int, int]:
        """Take older data keys out; return how many went, and how many stay.

        One goes when the newest of its purpose is a day old, every column of that purpose was gone
        through twice for it, and no value that is stored is under the older one: each is looked at.
        """
        rows = await self._database.read(ALL_DATA_KEYS, ())
        newest: dict[str, DataKeyRow] = {}
        for row in sorted(rows, key=lambda row: row.generation):
            newest[row.purpose] = row
        done = {row.name: row for row in await self._database.read(ALL_RESEALED, ())}
        settled = {
            purpose for purpose, row in newest.items() if row.created_ms <= now_ms - AGAIN_MS
        } & {column.purpose for column in self._columns.values()}
        for name, column in self._columns.items():
            if (current := newest.get(column.purpose)) is not None:
                wanted = generation_name(current.purpose, current.generation)
                noted = done.get(name)
                if noted is None or noted.key_id != wanted or noted.passes < PASSES:
                    settled.discard(column.purpose)
        older = [row for row in rows if row.generation < newest[row.purpose].generation]
        used: set[str] = set()
        for column in self._columns.values():
            if column.purpose in settled and any(row.purpose == column.purpose for row in older):
                used |= await self._used_in(column)
        gone = [row for row in older if row.purpose in settled and row.id not in used]
        await self._database.commit([DATA_KEYS.delete_unguarded(row) for row in gone])
        return len(gone), len(older) - len(gone)

    async def _used_in(self, column: SealedColumn) -> set[str]:
        """Return which data keys the values of a column are under."""
        first, later = column.table.pages(PAGE_ROWS)
        rows, used = await self._database.read(first, ()), set()
        while rows:
            texts = [getattr(row, column.column) for row in rows]
            used |= {key_id_of(text) for text in texts if text}
            last = {part: getattr(rows[-1], part) for part in column.table.key}
            rows = await self._database.read(later, later.sql.bind(last))
        return used

    async def reseal(
        self,
        call: Call,
        name: str,
        newest: str = "",
        again: bool = False,
        after: list[str | int] | None = None,
    ) -> None:
        """Seal a page of a column anew, where that is not under the newest data key.

        ``newest`` is the generation as it was when the column was begun: it is what is noted.
        """
        column = self._columns.get(name)
        if column is None:  # of a service that was taken out
            return
        self._data_keys.forget_newest()
        newest = newest or (await self._newest())[name]
        key = column.table.key
        first, later = column.table.pages(PAGE_ROWS)
        if after is None:
            rows = await call.all(first)
        else:
            rows = await call.all(later, **dict(zip(key, after, strict=True)))
        for row in rows:
            await self._seal(call, column, msgspec.structs.asdict(row))
        if len(rows) == PAGE_ROWS:
            last = [getattr(rows[-1], part) for part in key]
            page = self.job.configure(unique_key=f"{name} {newest} {again} {last}")
            call.enqueue(page, name=name, newest=newest, again=again, after=last)
            return
        call.write(_note(name, newest, PASSES if again else 1, call.now_ms))
        if not again:
            when = self.job.configure(
                run_at_ms=call.now_ms + AGAIN_MS, unique_key=f"{name} {newest} {again} end"
            )
            call.enqueue(when, name=name, newest=newest, again=True)

    async def _seal(self, call: Call, column: SealedColumn, row: Mapping[str, object]) -> None:
        sealed = row[column.column]
        if not isinstance(sealed, bytes) or not sealed:
            return
        key = {part: row[part] for part in column.table.key}
        tenant: str = row["tenant"]  # type: ignore[assignment]
        try:
            fresh = await self._data_keys.sealed_anew(tenant, column, sealed, *key.values())  # type: ignore[arg-type]
        except ValueError:
            log.warning("not_sealed_anew", column=column.name, error="no key of ours opens it")
            return
        if fresh is None:
            return
        named = {f"key_{part}": value for part, value in key.items()}
        call.write(self._replace[column.name](value=fresh, was=sealed, **named))


def generation_name(purpose: str, generation: int) -> str:
    """Name a generation of data keys, as it is noted of a column that is all under it."""
    return f"{purpose} {generation}"


def _note(name: str, newest: str, passes: int, now_ms: int) -> Command:
    return _NOTE(name=name, key_id=newest, passes=passes, done_ms=now_ms)

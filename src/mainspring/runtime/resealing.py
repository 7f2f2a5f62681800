"""Sealed anew: what is stored under older keys of the keyring, page by page, in the background.

Each page is a job that stages the next one, so that it goes on where a process died; a value that
was changed or erased meanwhile is left as it is. A day later all is looked at once more: a process
that was not restarted after the rotation has sealed under the older key until then.
"""

from collections.abc import Iterable, Mapping

import msgspec
import structlog

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.job import Job
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.table import Command, Query, Statement, Table
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.runtime.invoke.dispatcher import Dispatcher
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS

RESEALED_MIGRATION = "runtime/0023_resealed"
PAGE_ROWS = 100
AGAIN_MS = 24 * 3600 * 1000
ATTEMPTS_MAX = 20
TIMEOUT_S = 60.0
REQUEST_ID = "reseal"

log = structlog.get_logger()


class ResealedRow(msgspec.Struct, frozen=True):
    """Under which key all of a column is, since when, and how often it was gone through for it."""

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


class Resealing:
    """Goes through every sealed column when the keyring was given another key.

    ``columns`` are the services'; the keys of persons are there by themselves.
    """

    def __init__(
        self, columns: Iterable[SealedColumn], keyring: Keyring, database: Database
    ) -> None:
        self._columns = {column.name: column for column in (SEALED_SUBJECT_KEYS, *columns)}
        self._replace = {
            column.name: column.table.replaces(column.column) for column in self._columns.values()
        }
        self._keyring = keyring
        self._database = database
        self.job = Job(
            "runtime.reseal",
            self.reseal,
            queue="platform",
            retry=RetryPolicy(max_attempts=ATTEMPTS_MAX),
            timeout_s=TIMEOUT_S,
        )
        self.job.attach(self.reseal)

    async def begin(self, dispatcher: Dispatcher, *, new: bool = False) -> list[str]:
        """Have the columns gone through that are not known to be under the current key.

        Of a ``new`` database nothing is under another. Returns their names.
        """
        done = {row.name: row for row in await self._database.read(ALL_RESEALED, ())}
        current = self._keyring.current_key()
        due = [name for name in self._columns if name not in done or done[name].key_id != current]
        if not due:
            return []
        call = dispatcher.call(SYSTEM, request_id=REQUEST_ID)
        for name in due:
            if new:
                call.write(self._note(name, PASSES, call.now_ms))
            else:
                call.enqueue(self.job.configure(unique_key=f"{name} {current}"), name=name)
        await dispatcher.commit(call)
        return due

    async def reseal(
        self, call: Call, name: str, again: bool = False, after: list[str | int] | None = None
    ) -> None:
        """Seal a page of a column anew, where that is not under the current key."""
        column = self._columns.get(name)
        if column is None:  # of a service that was taken out
            return
        key = column.table.key
        first, later = column.table.pages(PAGE_ROWS)
        if after is None:
            rows = await call.all(first)
        else:
            rows = await call.all(later, **dict(zip(key, after, strict=True)))
        for row in rows:
            self._seal(call, column, msgspec.structs.asdict(row))
        if len(rows) == PAGE_ROWS:
            last = [getattr(rows[-1], part) for part in key]
            page = self.job.configure(unique_key=f"{name} {again} {last}")
            call.enqueue(page, name=name, again=again, after=last)
            return
        call.write(self._note(name, PASSES if again else 1, call.now_ms))
        if not again:
            when = self.job.configure(
                run_at_ms=call.now_ms + AGAIN_MS, unique_key=f"{name} {again} end"
            )
            call.enqueue(when, name=name, again=True)

    def _seal(self, call: Call, column: SealedColumn, row: Mapping[str, object]) -> None:
        sealed = row[column.column]
        if not isinstance(sealed, bytes) or not sealed or self._keyring.is_current(sealed):
            return
        key = {part: row[part] for part in column.table.key}
        about = column.about(row["tenant"], *key.values())  # type: ignore[arg-type]
        try:
            plain = self._keyring.unseal(sealed, purpose=column.purpose, about=about)
        except ValueError:
            log.warning("not_sealed_anew", column=column.name, error="no key of ours opens it")
            return
        fresh = self._keyring.seal(plain, purpose=column.purpose, about=about)
        named = {f"key_{part}": value for part, value in key.items()}
        call.write(self._replace[column.name](value=fresh, was=sealed, **named))

    def _note(self, name: str, passes: int, now_ms: int) -> Command:
        key_id = self._keyring.current_key()
        return _NOTE(name=name, key_id=key_id, passes=passes, done_ms=now_ms)

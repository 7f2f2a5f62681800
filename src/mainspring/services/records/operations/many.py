"""What is done to one record after the other, as many in a commit as fit: a page of a run.

Each is judged as a call of its own would be. Its own room because calls that do all at once and
runs share it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from mainspring import Call, Failure, Forbidden, NotFound, Unauthenticated
from mainspring.services.records import access, mutations, presenter
from mainspring.services.records.api import StillReferenced
from mainspring.services.records.api.runs import RunError
from mainspring.services.records.ending import Ending
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.records import Current, change_record, may_change
from mainspring.services.records.store import StoredRecord

TOLD_MAX = 20  # things wrong with one record that a run tells
TOLD_CHARS_MAX = 300  # of each, and of where it is
_REFUSED = (Forbidden, NotFound, Unauthenticated)  # by a rule, or by there being none


class PageOutcome(msgspec.Struct, frozen=True):
    """How many records were done, which could not be, and how many may not be by this caller."""

    done: int = 0
    skipped: int = 0
    errors: Sequence[RunError] = ()


class Deed(Protocol):
    """What is done to records, staged in a call. ``whole``: a failure fails the call."""

    async def __call__(
        self,
        call: Call,
        collection: CompiledCollection,
        rows: Sequence[StoredRecord],
        *,
        whole: bool,
    ) -> PageOutcome:
        """Stage it. Raises StillReferenced where fewer at once may do better."""
        ...


async def delete(
    call: Call, collection: CompiledCollection, rows: Sequence[StoredRecord], *, whole: bool
) -> PageOutcome:
    """Stage the end of those that the caller may delete, and of what goes with them."""
    rule = access.rule_for(call, collection, "delete")
    records = [collection.read(row.data, row.schema_version) for row in rows]
    may = await access.passing(call, collection, rule, "delete", records, hold=True)
    chosen = [(row, record) for row, record, ok in zip(rows, records, may, strict=True) if ok]
    ending = Ending(call)
    try:
        for row, record in chosen:
            await ending.add(collection, record, row.version)
        ending.stage()
    except StillReferenced as failure:
        if whole or len(rows) > 1:
            raise
        return PageOutcome(0, 0, [error_of(failure, id=rows[0].id)])
    return PageOutcome(len(chosen), len(rows) - len(chosen))


class EachUpdate:
    """Changes records as a PATCH with one body would."""

    def __init__(self, body: msgspec.Raw) -> None:
        self._body = body

    async def __call__(
        self,
        call: Call,
        collection: CompiledCollection,
        rows: Sequence[StoredRecord],
        *,
        whole: bool,
    ) -> PageOutcome:
        """Stage it for those that the caller may change so."""
        seen = mutations.Handover(())  # one body for all: what one has it gives to no other
        done = skipped = 0
        errors: list[RunError] = []
        for row in rows:
            try:
                await self._change(call, collection, row, seen)
            except _REFUSED:
                skipped += 1
            except Failure as failure:
                if whole:
                    raise
                errors.append(error_of(failure, id=row.id))
            else:
                done += 1
        return PageOutcome(done, skipped, errors)

    async def _change(
        self,
        call: Call,
        collection: CompiledCollection,
        row: StoredRecord,
        seen: mutations.Handover,
    ) -> None:
        record = collection.read(row.data, row.schema_version)
        etag = presenter.tag_as_shown(collection, row.version, row.schema_version)
        current = Current(collection, row.version, etag, record, len(row.data))
        values = await may_change(call, current, self._body, part="/set")
        await change_record(call, current, values, "/set", seen)


def error_of(failure: Failure, *, id: str | None = None, line: int | None = None) -> RunError:
    """Say what kept a record from being written."""
    errors: list[dict[str, Any]] = [
        {"pointer": error.pointer[:TOLD_CHARS_MAX], "detail": error.detail[:TOLD_CHARS_MAX]}
        for error in failure.errors[:TOLD_MAX]
    ]
    return RunError(failure.code, failure.detail[:TOLD_CHARS_MAX], id, line, errors)

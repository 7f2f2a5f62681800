"""What is done to many records: at once where one commit holds it, else page by page by a run."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mainspring import (
    Call,
    Failure,
    Invalid,
    NotFound,
    Response,
    Unauthenticated,
    handles,
)
from mainspring.cel.types import INTEGER_MAX
from mainspring.kernel.errors import NeedsIndex
from mainspring.kernel.ids import first_id_at
from mainspring.kernel.sweep import sweep_of
from mainspring.kernel.visibility import acting_for
from mainspring.services.records import access, api
from mainspring.services.records.api import runs as contract
from mainspring.services.records.api.runs import (
    AT_ONCE_MAX,
    RUN_ERRORS_MAX,
    RUN_PAGE_MAX,
    Run,
    RunError,
)
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations import many
from mainspring.services.records.operations.imports import ImportSpec, import_page
from mainspring.services.records.operations.lists import (
    ListCondition,
    count_records,
    read_after,
    visible,
)
from mainspring.services.records.operations.many import Deed, PageOutcome
from mainspring.services.records.operations.run_access import own_run
from mainspring.services.records.operations.run_reports import report
from mainspring.services.records.operations.run_slots import begin_run
from mainspring.services.records.presenter import decode_errors, present_run
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store.runs import RUN, RUNS, RunRow

# Once a run has ended: what it set may be of somebody, and its slot is for another.
FORGOTTEN = {"spec": "{}", "blob": None, "slot": None}
ATTEMPTS_MAX = 8  # of one page, before its run is given up
RunKind = Literal["delete", "update"]

_encode = msgspec.json.Encoder().encode
api.service.keeps(
    sweep_of("runs", "records_runs", "id", "updated_ms", kept_ms=contract.RUN_KEPT_MS)
)


class Spec(msgspec.Struct, frozen=True):
    """What a run does, and to which records of which collection."""

    collection: str  # its id: one of the same name that comes after it is another
    filter: str
    set: msgspec.Raw = msgspec.Raw(b"{}")
    limit_max: int | None = None


@handles(contract.delete_records)
async def delete_records(call: Call, collection: str, many: contract.DeleteMany) -> Response[Run]:
    found = await named(call, collection, api.WRITE)
    spec = Spec(found.id, many.filter, limit_max=many.limit_max)
    return await _begin(call, found, "delete", spec, dry_run=many.dry_run)


@handles(contract.update_records)
async def update_records(call: Call, collection: str, many: contract.UpdateMany) -> Response[Run]:
    found = await named(call, collection, api.WRITE)
    access.rule_for(call, found, "update")
    if found.read_sent(many.set, "id", "/set") is not None:
        raise Invalid.at("/set/id", "no record gets another id: leave it out")
    for name in found.personal:  # a run keeps what it sets, which no erasure would reach there
        if found.read_sent(many.set, name, "/set") is not None:
            raise Invalid.at(f"/set/{name}", "is personal: give it to each record by itself")
    spec = Spec(found.id, many.filter, many.set, many.limit_max)
    return await _begin(call, found, "update", spec, dry_run=many.dry_run)


async def _begin(
    call: Call, found: CompiledCollection, kind: RunKind, spec: Spec, *, dry_run: bool
) -> Response[Run]:
    """Count, do it at once, or stage a run. Raises TooMany, and what one record would."""
    access.rule_for(call, found, kind)
    asked = await visible(call, found, spec.filter)
    if spec.limit_max is not None:
        _require_within(spec.limit_max, await count_records(call, found, asked, spec.limit_max + 1))
    row = RunRow(
        "", call.tenant, found.name, kind, _encode(spec).decode(), call.caller.actor, "running",
        None, 0, 0, 0, "[]", None, "", RUN_PAGE_MAX, call.now_ms, call.now_ms,
    )  # fmt: skip
    if dry_run:
        total = await count_records(call, found, asked, INTEGER_MAX)
        return Response(present_run(msgspec.structs.replace(row, state="counted", total=total)))
    page = await read_after(call, found, asked, None, AT_ONCE_MAX)
    if not page.more:
        _require_within(spec.limit_max, len(page.items))  # which may be more by now
        outcome = await _deed(kind, spec)(call, found, page.items, whole=True)
        done = _after(row, outcome, state="done", total=len(page.items))
        return Response(present_run(done))
    if call.caller.kind == "anonymous":
        raise Unauthenticated(
            f"more than {AT_ONCE_MAX} records take a run, which is somebody's: log in"
        )
    row = msgspec.structs.replace(
        row, id=call.new_id("run"), total=await _total(call, found, asked)
    )
    return await begin_run(call, row)


def _require_within(most: int | None, counted: int) -> None:
    if most is not None and counted > most:
        raise contract.TooMany(
            f"more than {most:,} records pass the filter, which is limit_max: nothing was changed"
        )


async def _total(call: Call, found: CompiledCollection, asked: ListCondition) -> int | None:
    """Count what there is to do, unless that takes too long."""
    try:
        return await count_records(call, found, asked, INTEGER_MAX)
    except NeedsIndex:
        return None


def _deed(kind: str, spec: Spec) -> Deed:
    if kind == "delete":
        return many.delete
    return many.EachUpdate(spec.set)


@handles(contract.cancel_run)
async def cancel_run(call: Call, id: str) -> Run:
    row = await own_run(call, id)
    if row.state == "cancelled":
        return present_run(row)
    if row.state != "running":
        raise contract.RunEnded(f"the run has ended: it is {row.state}")
    changes: dict[str, Any] = {"state": "cancelled", "updated_ms": call.now_ms, **FORGOTTEN}
    call.write(RUNS.update(row, **changes))
    _drop_file(call, row)
    return present_run(msgspec.structs.replace(row, **changes))


@handles(contract.do_page)
async def do_page(call: Call, run: str, actor: str = "") -> None:
    row = await call.find(RUN, id=run, tenant=call.tenant)
    if row is None or row.state != "running":
        return
    acting = await acting_for(call, row.actor)
    problem = None
    if acting is None:
        problem = "whoever started it is gone, or may not call any more"
    elif call.attempt > ATTEMPTS_MAX:  # an import leaves what cannot be written before that
        problem = f"a page could not be written in {ATTEMPTS_MAX} attempts"
    if acting is None or problem is not None:
        _end(call, row, "failed", problem)
        return
    call.caller = acting.caller  # who does it: rules ask, and events say so
    try:
        await (_import_next if row.kind == "import" else _do_next)(call, row)
    except Failure as failure:  # what a list or a call of this kind would be answered
        if failure.status >= 500 or call.writes:  # it is tried again, and nothing of it kept
            raise
        _end(call, row, "failed", failure.detail)


async def _do_next(call: Call, row: RunRow) -> None:
    """Stage the next page of a run. Raises what a call of its kind would, with nothing staged."""
    spec = msgspec.json.decode(row.spec, type=Spec)
    found = await named(call, row.collection, api.WRITE)
    if found.id != spec.collection:
        raise NotFound("the collection is gone")
    access.rule_for(call, found, "delete" if row.kind == "delete" else "update")
    asked = await visible(call, found, spec.filter)
    page = await read_after(call, found, asked, row.place or None, row.at_once)
    # What was made since it began is not meant: or one that makes them faster had it never end.
    until = first_id_at(RECORD_PREFIX, row.created_ms + 1)
    handled = row.done + row.skipped + row.failed
    left = len(page.items) if spec.limit_max is None else spec.limit_max - handled
    rows = [stored for stored in page.items if stored.id < until][:left]
    try:
        outcome = await _deed(row.kind, spec)(call, found, rows, whole=False)
    except api.StillReferenced:  # one by one, to find what cannot go
        call.write(RUNS.update(row, at_once=1, updated_ms=call.now_ms))
        call.enqueue(contract.do_page, run=row.id, actor=row.actor)
        return
    more = page.more and len(rows) == len(page.items)
    place = rows[-1].id if rows else row.place
    at_once = min(2 * row.at_once, RUN_PAGE_MAX)
    ended = _after(row, outcome, state="running" if more else "done", place=place, at_once=at_once)
    _keep(call, row, ended, outcome)
    if more:
        call.enqueue(contract.do_page, run=row.id, actor=row.actor)


async def _import_next(call: Call, row: RunRow) -> None:
    """Stage the next page of an import. Raises what keeps it from going on."""
    outcome, place, whole = await import_page(call, row)
    state = "done" if whole else "running"
    ended = _after(row, outcome, state=state, place=_encode(place).decode())
    _keep(call, row, ended, outcome)
    if whole:
        _drop_file(call, row)
    else:
        call.enqueue(contract.do_page, run=row.id, actor=row.actor)


def _drop_file(call: Call, row: RunRow) -> None:
    """Enqueue the deletion of what was imported."""
    if row.kind == "import":
        spec = msgspec.json.decode(row.spec, type=ImportSpec)
        call.enqueue(api.delete_blobs, blobs=[spec.blob])


def _after(row: RunRow, outcome: PageOutcome, **changes: Any) -> RunRow:
    """A run as it is after a page."""
    errors: Sequence[RunError] = [*decode_errors(row.errors), *outcome.errors]
    return msgspec.structs.replace(
        row,
        done=row.done + outcome.done,
        skipped=row.skipped + outcome.skipped,
        failed=row.failed + len(outcome.errors),
        errors=_encode(errors[:RUN_ERRORS_MAX]).decode(),
        **changes,
    )


def _keep(call: Call, row: RunRow, now: RunRow, outcome: PageOutcome) -> None:
    """Stage how far a run is, guarded by how it was read: whoever cancels it comes first."""
    now = msgspec.structs.replace(now, reported=report(call, row, outcome.errors))
    values = msgspec.structs.asdict(now)
    changed = {name: v for name, v in values.items() if v != getattr(row, name)}
    changed |= {} if now.state == "running" else FORGOTTEN
    call.write(RUNS.update(row, **{**changed, "updated_ms": call.now_ms}))


def _end(call: Call, row: RunRow, state: str, problem: str | None) -> None:
    call.write(RUNS.update(row, state=state, problem=problem, updated_ms=call.now_ms, **FORGOTTEN))
    _drop_file(call, row)

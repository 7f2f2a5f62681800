"""What runs could not do: kept page by page beside the run, and downloaded as one report."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from mainspring import Call, Raw, Rerun, Rows, Unauthenticated, handles
from mainspring.kernel.sweep import sweep_of
from mainspring.services.records.api import runs as contract
from mainspring.services.records.api import service
from mainspring.services.records.api.runs import RUN_KEPT_MS, RUN_REPORT_MAX, RunError
from mainspring.services.records.operations.run_access import own_run
from mainspring.services.records.presenter import decode_errors
from mainspring.services.records.store.runs import REPORT_PAGE, REPORTS, ReportRow, RunRow
from mainspring.services.records.transfer_formats import row as csv_row

PAGE_ROWS = 20  # each has the errors of one page of a run

# With their runs: what they were made for ends later, and is kept from then on for as long.
service.keeps(
    sweep_of(
        "pages of reports", "records_run_reports", "run, begins_at", "made_ms", kept_ms=RUN_KEPT_MS,
        where="NOT EXISTS (SELECT 1 FROM records_runs WHERE id = records_run_reports.run)",
    )
)  # fmt: skip

_COLUMNS = ("line", "id", "code", "pointer", "detail")
_MEDIA = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}
_encode = msgspec.json.Encoder().encode


def report(call: Call, row: RunRow, errors: Sequence[RunError]) -> int:
    """Stage the next errors of a run, so far as its report takes them; return how many it has."""
    told = errors[: RUN_REPORT_MAX - row.reported]
    if told:
        text = _encode(told).decode()
        made = ReportRow(row.id, row.reported, text, call.now_ms)
        call.write(REPORTS.insert(made, on_conflict=Rerun))
    return row.reported + len(told)


@handles(contract.get_run_report)
async def get_run_report(call: Call, run_id: str, query: contract.ReportQuery) -> Raw:
    run = await own_run(call, run_id)
    name = f'attachment; filename="{run.id}.{query.format}"'
    return Raw(
        _body(call, run.id, query.format, await _page(call, run.id, 0)),
        media_type=_MEDIA[query.format],
        headers=(("Content-Disposition", name),),
    )


async def _page(call: Call, run: str, begins_at: int) -> Rows[ReportRow]:
    return await call.page(REPORT_PAGE, run=run, begins_at=begins_at, limit=PAGE_ROWS)


async def _body(call: Call, run: str, format: str, page: Rows[ReportRow]) -> AsyncIterator[bytes]:
    """Write page after page. Raises, which cuts the answer off, where it cannot go on."""
    if format == "csv":
        yield csv_row(_COLUMNS)
    while True:
        for row in page.items:
            yield b"".join(_written(format, error) for error in decode_errors(row.errors))
        if not page.more:
            return
        if not await call.still_allowed():
            raise Unauthenticated("the caller is no longer allowed to read this")
        await own_run(call, run)
        page = await _page(call, run, page.items[-1].begins_at + 1)


def _written(format: str, error: RunError) -> bytes:
    if format == "ndjson":
        return _encode(error) + b"\n"
    told = [(each["pointer"], each["detail"]) for each in error.errors] or [("", error.detail)]
    return b"".join(
        csv_row((error.line, error.id, error.code, pointer or None, detail), escape_formulas=True)
        for pointer, detail in told
    )

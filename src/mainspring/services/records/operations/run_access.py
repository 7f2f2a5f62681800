"""Who may see runs, and the list of them: whoever began one, and those who may write records."""

from typing import Any

from mainspring import Call, NotFound, Page, handles
from mainspring.services.records import api
from mainspring.services.records.api import runs as contract
from mainspring.services.records.presenter import present_run
from mainspring.services.records.schema_cache import denied
from mainspring.services.records.store.runs import RUN, RUNS_PAGE, RUNS_PAGE_OF, RunRow

_PREFIX = "run"
_LAST = f"{_PREFIX}_~"  # which every id of a run comes before


async def own_run(call: Call, id: str) -> RunRow:
    """Return a run that the caller may see. Raises NotFound."""
    row: RunRow | None = await call.find(RUN, id=id, tenant=call.tenant)
    if row is None or (row.actor != call.caller.actor and not call.caller.allows(api.WRITE)):
        if call.caller.kind == "anonymous":
            raise denied(call, api.WRITE)
        raise NotFound("no such run")
    return row


@handles(contract.get_run)
async def get_run(call: Call, id: str) -> contract.Run:
    return present_run(await own_run(call, id))


@handles(contract.list_runs)
async def list_runs(call: Call, query: contract.RunQuery) -> Page[contract.Run]:
    if call.caller.kind == "anonymous":
        raise denied(call, api.WRITE)
    asked: dict[str, Any] = {
        "tenant": call.tenant,
        "before": query.after_id(_PREFIX, _LAST),
        "collection": query.collection or "",
        "state": query.state or "",
        "limit": query.limit,
    }
    if call.caller.allows(api.WRITE):
        rows = await call.page(RUNS_PAGE, **asked)
    else:
        rows = await call.page(RUNS_PAGE_OF, actor=call.caller.actor, **asked)
    return Page.of(rows, present_run, lambda row: row.id)

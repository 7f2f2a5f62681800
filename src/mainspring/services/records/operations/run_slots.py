"""How a run begins, and how many one caller has going: each has one of the caller's slots.

Two that begin at once cannot take the same slot, so the bound holds exactly.
"""

import msgspec

from mainspring import Call, Rerun, Response
from mainspring.services.records.api import RecordsSettings
from mainspring.services.records.api.runs import RUNS_PATH, Run, TooManyRuns, do_page
from mainspring.services.records.presenter import present_run
from mainspring.services.records.store.runs import RUN_SLOTS, RUNS, RunRow


async def free_slot(call: Call) -> int:
    """Return a slot for another run of the caller's. Raises TooManyRuns."""
    most = call.use(RecordsSettings).open_runs_per_caller_max
    taken = await call.all(
        RUN_SLOTS, tenant=call.tenant, actor=call.caller.actor, limit=2 * most
    )  # as many as there are: more than the bound only where that was higher before
    if len(taken) >= most:
        raise TooManyRuns(
            f"{most} runs of yours are going on, which is [records] open_runs_per_caller_max: "
            f"wait until one ends, or cancel one; GET {RUNS_PATH}?state=running lists them"
        )
    return next(slot for slot in range(most) if slot not in taken)


async def begin_run(call: Call, row: RunRow) -> Response[Run]:
    """Stage a run and its first page. Raises TooManyRuns."""
    row = msgspec.structs.replace(row, slot=await free_slot(call))
    call.write(RUNS.insert(row, on_conflict=Rerun))
    call.enqueue(do_page, run=row.id, actor=row.actor)
    location = (("Location", f"{RUNS_PATH}/{row.id}"),)
    return Response(present_run(row), status=202, headers=location)

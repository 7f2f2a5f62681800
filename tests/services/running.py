"""A service on a whole platform, driven call by call: any caller, and the outcome as it is."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from mainspring import testing
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import Outcome
from mainspring.runtime.tables import JobRow

ALL_JOBS = Query(
    "test.all_jobs", f"SELECT {', '.join(JobRow.__struct_fields__)} FROM jobs ORDER BY id", JobRow
)


class Platform:
    """Short ways to call the operations of a platform, and to wait for it where it is running."""

    def __init__(self, whole: testing.Platform) -> None:
        self.whole = whole
        self.runtime = whole.app.runtime
        self.clock = whole.clock

    async def run(
        self, name: str, /, *, caller: Caller = SYSTEM, if_match: str | None = None, **args: Any
    ) -> Outcome:
        """Run an operation by its name."""
        call = self.runtime.dispatcher.call(caller, request_id="req_1", if_match=if_match)
        return await self.runtime.dispatcher.run(self.runtime.registry.operations[name], call, args)

    async def value(self, name: str, /, **args: Any) -> Any:
        """Run an operation and return what it answered as JSON."""
        return json.loads((await self.run(name, **args)).body or b"null")

    async def jobs(self, *states: str) -> list[JobRow]:
        rows = await self.runtime.database.read(ALL_JOBS, ())
        return [job for job in rows if not states or job.state in states]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        await self.whole.until(holds)

    async def idle(self) -> None:
        """Wait until nothing is due. What failed is for the test to look at."""
        await self.whole.until(self.whole.idle)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock and let what is due now run."""
        self.clock.move(seconds)
        await self.idle()

"""Commits outside of operations, jobs and consumers: at the start, and by a command."""

from typing import Protocol

from mainspring.kernel.call import Call
from mainspring.kernel.caller import Caller


class Committer(Protocol):
    """Makes calls and commits what was staged in them, as after a handler."""

    def call(self, caller: Caller, *, request_id: str) -> Call:
        """Make a call to read and stage with."""
        ...

    async def commit(self, call: Call) -> None:
        """Commit what a call staged, once. Raises what its writes say, Rerun, Unavailable."""
        ...

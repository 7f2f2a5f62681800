"""Notification channels: what a commit tells the tasks that wait for it.

Those of the platform are named here alone; an app's begin with its service: ``parcels.moved``.
"""

from contextlib import AbstractContextManager
from typing import NewType, Protocol

Channel = NewType("Channel", str)

LOCAL = "local:"  # channels with this prefix stay in the process that commits

EVENTS = Channel("events")  # events were committed
SEQUENCED = Channel("sequenced")  # events got their place in the log
SCHEDULED = Channel("scheduled")  # a job waits for a time
PARKED = Channel("local:parked")  # a job waits for its turn by the rate of its key
FINISHED = Channel("local:finished")  # a run of a job ended
CONSUMED = Channel("local:consumed")  # a consumer moved on
MEASURED = Channel("local:measured")  # counts were written down


class Woken(Protocol):
    """Set by wakes, until it is cleared."""

    def clear(self) -> None:
        """Wait for the next wake from now on."""
        ...

    async def wait(self) -> object:
        """Return once it is set."""
        ...


class Signals(Protocol):
    """Wakes, to wait for. Handlers of streams reach it with ``call.use``.

    ``call.wake(channel)`` of a call that has committed, in whatever process, wakes who listens.
    """

    def listen(self, *names: Channel) -> AbstractContextManager[Woken]:
        """Yield an event that is set whenever one of these channels is woken; set at first.

        Clear it, look at the database, then wait, and no wake falls between.
        """
        ...


def ready(queue: str) -> Channel:
    """Return the channel that says a queue has jobs to run, or runs again."""
    return Channel(f"jobs:{queue}")


def room(queue: str) -> Channel:
    """Return the channel that says a key with a limit has room, to the workers of this process."""
    return Channel(f"local:jobs:{queue}")

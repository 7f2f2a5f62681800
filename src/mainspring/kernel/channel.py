"""Notification channels: what a commit tells the tasks that wait for it, each named here alone."""

from typing import NewType

Channel = NewType("Channel", str)

LOCAL = "local:"  # channels with this prefix stay in the process that commits

EVENTS = Channel("events")  # events were committed
SEQUENCED = Channel("sequenced")  # events got their place in the log
SCHEDULED = Channel("scheduled")  # a job waits for a time
PARKED = Channel("local:parked")  # a job waits for its turn by the rate of its key
FINISHED = Channel("local:finished")  # a run of a job ended
CONSUMED = Channel("local:consumed")  # a consumer moved on
MEASURED = Channel("local:measured")  # counts were written down


def ready(queue: str) -> Channel:
    """Return the channel that says a queue has jobs to run, or runs again."""
    return Channel(f"jobs:{queue}")


def room(queue: str) -> Channel:
    """Return the channel that says a key with a limit has room, to the workers of this process."""
    return Channel(f"local:jobs:{queue}")

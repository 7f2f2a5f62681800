"""Jobs: the API of the runtime's queues, dead letters and schedules.

Owns no table: ``jobs``, ``queues`` and ``schedules`` are the runtime's. Emits what callers did
(``jobs.job.cancelled``, ``jobs.job.retried``, ``jobs.queue.*``); takes no events. Only jobs that
their service declares as ``public`` can be enqueued here: the others trust their arguments.
"""

from mainspring.services.jobs.api import service

__all__ = ["service"]

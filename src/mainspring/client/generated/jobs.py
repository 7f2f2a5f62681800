"""The operations of jobs. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Mapping
from typing import Any, Literal

from mainspring.client.client import Client, Pages
from mainspring.services.jobs.api import JobInfo, NewJob, Queue, Redrive, Redriven, ScheduleInfo


class Jobs:
    """The operations of jobs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def cancel(self, id: str, *, idempotency_key: str | None = None) -> JobInfo | None:
        """Cancel a job. One that runs is not interrupted, but nothing it staged takes effect.

        It is answered to those who may read jobs, others hear 204.

        A job that its service does not declare as public is that service's own affair, such as an
        erasure: this takes the service's ``write`` scope too.

        ``POST /v1/jobs/{id}:cancel``
        """
        return self._client.send(
            "POST", "/v1/jobs/{id}:cancel", {"id": id}, JobInfo, idempotency_key=idempotency_key
        )

    def create(
        self, new: NewJob | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> JobInfo | None:
        """Have a job done. Where the ``unique_key`` is in use, answers 200 with the job that has it.

        That one is shown to those who may read jobs, others hear 204.

        It runs while its caller may have jobs done: once that key or user is gone, or lost the scope,
        it is dead instead.

        ``POST /v1/jobs``
        """
        return self._client.send(
            "POST", "/v1/jobs", {}, JobInfo, json=new, idempotency_key=idempotency_key
        )

    def get(self, id: str) -> JobInfo:
        """Show a job: its state, attempts, progress and last error.

        ``GET /v1/jobs/{id}``
        """
        return self._client.send("GET", "/v1/jobs/{id}", {"id": id}, JobInfo)

    def get_queue(self, name: str) -> Queue:
        """Show a queue.

        ``GET /v1/queues/{name}``
        """
        return self._client.send("GET", "/v1/queues/{name}", {"name": name}, Queue)

    def list_dead_letters(self, queue: str, *, limit: int | None = None) -> Pages[JobInfo]:
        """List a queue's dead letters: jobs whose last attempt failed.

        ``GET /v1/queues/{queue}/dead``
        """
        return self._client.pages(
            "/v1/queues/{queue}/dead", {"queue": queue}, JobInfo, {"limit": limit}
        )

    def list(
        self,
        *,
        limit: int | None = None,
        queue: str | None = None,
        state: Literal["scheduled", "ready", "running", "done", "dead", "cancelled"] | None = None,
        name: str | None = None,
    ) -> Pages[JobInfo]:
        """List jobs, oldest first. A filter that would read too much is refused.

        ``GET /v1/jobs``
        """
        return self._client.pages(
            "/v1/jobs", {}, JobInfo, {"limit": limit, "queue": queue, "state": state, "name": name}
        )

    def list_queues(self) -> Pages[Queue]:
        """List the queues with their depth, latency and throughput.

        ``GET /v1/queues``
        """
        return self._client.pages("/v1/queues", {}, Queue, {})

    def list_schedules(self) -> Pages[ScheduleInfo]:
        """List the schedules that services declare, and when each fires next.

        ``GET /v1/schedules``
        """
        return self._client.pages("/v1/schedules", {}, ScheduleInfo, {})

    def pause_queue(self, name: str, *, idempotency_key: str | None = None) -> Queue:
        """Start no more jobs of a name, in any process. Those that run go on.

        ``POST /v1/queues/{name}:pause``
        """
        return self._client.send(
            "POST",
            "/v1/queues/{name}:pause",
            {"name": name},
            Queue,
            idempotency_key=idempotency_key,
        )

    def redrive_dead_letters(
        self, queue: str, batch: Redrive | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Redriven:
        """Return dead letters to their queue, oldest first, with all their attempts.

        One whose unique key is held by a job that waits or runs stays dead. Those that callers had
        done run for you then.

        ``POST /v1/queues/{queue}/dead:redrive``
        """
        return self._client.send(
            "POST",
            "/v1/queues/{queue}/dead:redrive",
            {"queue": queue},
            Redriven,
            json=batch,
            idempotency_key=idempotency_key,
        )

    def resume_queue(self, name: str, *, idempotency_key: str | None = None) -> Queue:
        """Start a queue's jobs again.

        ``POST /v1/queues/{name}:resume``
        """
        return self._client.send(
            "POST",
            "/v1/queues/{name}:resume",
            {"name": name},
            Queue,
            idempotency_key=idempotency_key,
        )

    def retry(self, id: str, *, idempotency_key: str | None = None) -> JobInfo | None:
        """Run a dead or cancelled job again with all its attempts, or a waiting one now.

        It is answered to those who may read jobs, others hear 204.

        One that its service does not declare as public takes the service's ``write`` scope too. One
        that a caller had done runs for you then.

        ``POST /v1/jobs/{id}:retry``
        """
        return self._client.send(
            "POST", "/v1/jobs/{id}:retry", {"id": id}, JobInfo, idempotency_key=idempotency_key
        )

"""The operations of jobs. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Mapping
from typing import Any, Literal

from mainspring.client.async_client import AsyncClient, AsyncPages
from mainspring.services.jobs.api import JobInfo, NewJob, Queue, Redrive, Redriven, ScheduleInfo


class AsyncJobs:
    """The operations of jobs."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def cancel(self, id: str, *, idempotency_key: str | None = None) -> JobInfo | None:
        """Cancel a job. One that runs is not interrupted, but nothing it staged takes effect."""
        return await self._client.send(
            "POST", "/v1/jobs/{id}:cancel", {"id": id}, JobInfo, idempotency_key=idempotency_key
        )

    async def create(
        self, new: NewJob | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> JobInfo | None:
        """Have a job done. Where the ``unique_key`` is in use, answers 200 with the job that has it."""
        return await self._client.send(
            "POST", "/v1/jobs", {}, JobInfo, json=new, idempotency_key=idempotency_key
        )

    async def get(self, id: str) -> JobInfo:
        """Show a job: its state, attempts, progress and last error."""
        return await self._client.send("GET", "/v1/jobs/{id}", {"id": id}, JobInfo)

    async def get_queue(self, name: str) -> Queue:
        """Show a queue."""
        return await self._client.send("GET", "/v1/queues/{name}", {"name": name}, Queue)

    def list_dead_letters(self, queue: str, *, limit: int | None = None) -> AsyncPages[JobInfo]:
        """List a queue's dead letters: jobs whose last attempt failed."""
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
    ) -> AsyncPages[JobInfo]:
        """List jobs, oldest first. A filter that would read too much is refused."""
        return self._client.pages(
            "/v1/jobs", {}, JobInfo, {"limit": limit, "queue": queue, "state": state, "name": name}
        )

    def list_queues(self) -> AsyncPages[Queue]:
        """List the queues with their depth, latency and throughput."""
        return self._client.pages("/v1/queues", {}, Queue, {})

    def list_schedules(self) -> AsyncPages[ScheduleInfo]:
        """List the schedules that services declare, and when each fires next."""
        return self._client.pages("/v1/schedules", {}, ScheduleInfo, {})

    async def pause_queue(self, name: str, *, idempotency_key: str | None = None) -> Queue:
        """Start no more jobs of a name, in any process. Those that run go on."""
        return await self._client.send(
            "POST",
            "/v1/queues/{name}:pause",
            {"name": name},
            Queue,
            idempotency_key=idempotency_key,
        )

    async def redrive_dead_letters(
        self, queue: str, batch: Redrive | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Redriven:
        """Return dead letters to their queue, oldest first, with all their attempts."""
        return await self._client.send(
            "POST",
            "/v1/queues/{queue}/dead:redrive",
            {"queue": queue},
            Redriven,
            json=batch,
            idempotency_key=idempotency_key,
        )

    async def resume_queue(self, name: str, *, idempotency_key: str | None = None) -> Queue:
        """Start a queue's jobs again."""
        return await self._client.send(
            "POST",
            "/v1/queues/{name}:resume",
            {"name": name},
            Queue,
            idempotency_key=idempotency_key,
        )

    async def retry(self, id: str, *, idempotency_key: str | None = None) -> JobInfo | None:
        """Run a dead or cancelled job again with all its attempts, or a waiting one now."""
        return await self._client.send(
            "POST", "/v1/jobs/{id}:retry", {"id": id}, JobInfo, idempotency_key=idempotency_key
        )

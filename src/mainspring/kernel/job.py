"""Jobs: durable work outside the call, staged with the write that needs it."""

import inspect
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import msgspec

from mainspring.kernel import declaration
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.policy import RetryPolicy

JobHandler = Callable[..., Awaitable[None]]

QUEUES = ("critical", "default", "bulk", "notifications", "webhooks")
PRIORITY_MAX = 9


class JobState(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


class JobFailed(Exception):
    """Raised by a job that must not be tried again: it goes to the dead letters at once.

    What it staged before is committed.
    """


class Snooze(Exception):
    """Raised by a job that wants to run again after ``delay_s``, as another counted attempt.

    What it staged before is committed. After the last attempt it goes to the dead letters.
    """

    def __init__(self, delay_s: float, why: str = "") -> None:
        super().__init__(why or f"again in {delay_s:g} s")
        self.delay_s = delay_s


class Job:
    """A declared kind of job. Calling it calls its handler, so tests need no worker."""

    __slots__ = (
        "args", "coalesces", "doc", "handler", "name", "public", "queue", "retry", "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        handler: JobHandler,
        *,
        queue: str,
        retry: RetryPolicy,
        timeout_s: float,
        coalesces: bool = False,
        public: bool = False,
    ) -> None:
        self.coalesces = coalesces
        self.public = public
        self.name = name
        self.handler = handler
        self.queue = queue
        self.retry = retry
        self.timeout_s = timeout_s
        self.doc = inspect.getdoc(handler) or ""
        names, hints = declaration.signature(name, handler)
        declaration.require_async(name, handler)
        parameters = inspect.signature(handler).parameters
        fields: list[Any] = []
        for parameter in names:
            declaration.require_json(name, hints[parameter], f"parameter {parameter!r}")
            default = parameters[parameter].default
            if default is inspect.Parameter.empty:
                fields.append((parameter, hints[parameter]))
            else:
                fields.append((parameter, hints[parameter], default))
        try:
            self.args: type[msgspec.Struct] = msgspec.defstruct(
                f"{name}.args", fields, kw_only=True, forbid_unknown_fields=True
            )
            for _, kind, *default in fields:
                for value in default:
                    msgspec.convert(msgspec.to_builtins(value), kind)
        except (TypeError, msgspec.ValidationError) as error:
            raise Misdeclared(f"{name}: a default does not fit: {error}") from None

    async def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the handler directly."""
        await self.handler(*args, **kwargs)

    def encode(self, args: dict[str, Any]) -> str:
        """Write arguments as JSON. Raises TypeError when they do not fit the signature."""
        return msgspec.json.encode(self.args(**args)).decode()

    def decode(self, text: str | bytes) -> dict[str, Any]:
        """Read arguments back. Raises msgspec.ValidationError when they do not fit."""
        return msgspec.structs.asdict(msgspec.json.decode(text, type=self.args))


class StagedJob(msgspec.Struct, frozen=True):
    """A job as a handler staged it."""

    job: Job
    id: str
    args: str
    queue: str
    priority: int
    run_at_ms: int
    unique_key: str | None


class Schedule(msgspec.Struct, frozen=True):
    """A cron line (five fields, UTC) that enqueues a job without arguments."""

    name: str
    cron: str
    job: Job

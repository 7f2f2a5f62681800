"""Jobs: durable work outside the call, staged with the write that needs it."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from enum import StrEnum
from typing import Any, Concatenate, Generic, ParamSpec

import msgspec

from mainspring.kernel import declaration
from mainspring.kernel.contract import Contract
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.policy import PerKey, Rate, RatePerKey, RetryPolicy

P = ParamSpec("P")  # what a job takes beside its call
JobHandler = Callable[Concatenate[Any, P], Awaitable[None]]

QUEUES = ("critical", "default", "bulk", "notifications")
# The platform's own: what its services do waits for no job of an app, however many hang.
PLATFORM_QUEUES = ("mails", "platform", "webhooks")
PRIORITY_MAX = 9
SNOOZES_MAX = 100_000  # of one job: one that is put off for ever is to be seen


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


class OtherVersion(Exception):
    """Raised for a job that this version of the program cannot read: another is to run it.

    It costs no attempt, and nothing of what it staged is kept.
    """


def require_queue(job: str, queue: str, open_: Collection[str]) -> None:
    """Raise Misdeclared for a queue that nobody declares, or that is kept for the platform."""
    if queue not in open_:
        kept = queue in PLATFORM_QUEUES
        raise Misdeclared(
            f"{job} goes to the queue {queue!r}, which "
            f"{'the platform keeps for itself' if kept else 'no service of this app declares'}: "
            f"there are {', '.join(sorted(open_))}; declare another with "
            "service.queue('imports', concurrency=4)"
        )


class Later(Exception):
    """Raised by a job that is to run again after ``delay_s``, in seconds.

    What it staged before is committed.
    """

    def __init__(self, delay_s: float, why: str = "") -> None:
        super().__init__(why or f"again in {delay_s:g} s")
        self.delay_s = delay_s


class Snooze(Later):
    """Raised by a job for which it is too early. It costs no attempt.

    One that has been put off ``SNOOZES_MAX`` times goes to the dead letters all the same.
    """


class RetryAfter(Later):
    """Raised by a job whose attempt failed and that knows when to try again.

    The attempt counts; after the last one the job goes to the dead letters.
    """


class Job(Contract[P]):
    """A declared kind of job. Calling it calls its handler, so tests need no worker."""

    __slots__ = (
        "args", "coalesces", "concurrency", "public", "queue", "rate", "retry", "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        declared: JobHandler[P],
        *,
        queue: str,
        retry: RetryPolicy,
        timeout_s: float,
        coalesces: bool = False,
        public: bool = False,
        concurrency: PerKey | None = None,
        rate: RatePerKey | None = None,
    ) -> None:
        super().__init__(name, declared)
        self.coalesces = coalesces
        self.concurrency = concurrency
        self.public = public
        self.queue = queue
        self.rate = rate
        self.retry = retry
        self.timeout_s = timeout_s
        names, hints = declaration.signature(name, declared)
        self._require_limits(names)
        declaration.require_async(name, declared)
        parameters = inspect.signature(declared).parameters
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

    def _require_limits(self, names: Sequence[str]) -> None:
        """Hold what is declared of limits against the arguments. Raises Misdeclared."""
        limits = {"concurrency": self.concurrency, "rate": self.rate}
        given = {word: limit for word, limit in limits.items() if limit is not None}
        for word, limit in given.items():
            if limit.argument not in names:
                raise Misdeclared(
                    f"{self.name}: {word} is per {limit.argument!r}, which it does not take: "
                    f"name one of {', '.join(names) or 'its arguments, of which it has none'}"
                )
            if self.coalesces:
                raise Misdeclared(
                    f"{self.name}: a job that coalesces gives its key up when it is claimed, which "
                    f"comes before its turn: leave out coalesces= or {word}="
                )
        if len({limit.argument for limit in given.values()}) > 1:
            words = " and ".join(f"{word} per {limit.argument!r}" for word, limit in given.items())
            raise Misdeclared(f"{self.name}: {words}: both limits of a job are per one argument")
        if self.rate is not None and isinstance(self.rate.at_most, str):
            try:
                Rate.parse(self.rate.at_most)
            except ValueError as error:
                raise Misdeclared(f"{self.name}: its rate: {error}") from None
        if self.rate is not None and self.rate.burst is not None and self.rate.burst < 1:
            raise Misdeclared(f"{self.name}: a burst is one start or more, not {self.rate.burst}")

    @property
    def limited_by(self) -> str | None:
        """Name the argument by whose value its runs are limited."""
        limit = self.concurrency or self.rate
        return None if limit is None else limit.argument

    def attach(self, handler: JobHandler[P]) -> None:
        """Have this function do it. Raises Misdeclared where it does not fit, or one does it."""
        declaration.require_async(self.name, handler)
        super().attach(handler)

    async def __call__(self, call: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the handler directly."""
        await self.handler(call, *args, **kwargs)

    def configure(
        self,
        *,
        queue: str | None = None,
        priority: int = 0,
        run_at_ms: int | None = None,
        unique_key: str | None = None,
    ) -> "ConfiguredJob[P]":
        """Say how one run is enqueued: ``call.enqueue(rescan.configure(run_at_ms=…), link_id=…)``.

        Apart from its arguments, which may have these names too. ``queue`` is the declared one
        unless given, ``priority`` 0 to 9 (highest first), ``run_at_ms`` now unless given.
        """
        where = self.queue if queue is None else queue
        return ConfiguredJob(self, where, priority, run_at_ms, unique_key)

    def encode(self, args: dict[str, Any]) -> str:
        """Write arguments as JSON. Raises TypeError when they do not fit the signature."""
        return msgspec.json.encode(self.args(**args)).decode()

    def decode(self, text: str | bytes) -> dict[str, Any]:
        """Read arguments back. Raises msgspec.ValidationError when they do not fit."""
        return msgspec.structs.asdict(msgspec.json.decode(text, type=self.args))


class ConfiguredJob(Generic[P]):
    """A job with how one run of it is enqueued. Made by ``Job.configure``."""

    __slots__ = ("job", "priority", "queue", "run_at_ms", "unique_key")

    def __init__(
        self,
        job: Job[P],
        queue: str,
        priority: int = 0,
        run_at_ms: int | None = None,
        unique_key: str | None = None,
    ) -> None:
        if not 0 <= priority <= PRIORITY_MAX:
            raise ValueError(f"priority is 0 to {PRIORITY_MAX}, not {priority}")
        self.job = job
        self.queue = queue
        self.priority = priority
        self.run_at_ms = run_at_ms
        self.unique_key = unique_key


class StagedJob(msgspec.Struct, frozen=True):
    """A job as a handler staged it."""

    job: Job[...]
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
    job: Job[[]]

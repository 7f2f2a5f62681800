"""Service: a bounded context, declared with decorators. Built-in and user services are alike."""

import importlib
import re
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import msgspec
from cronsim import CronSim, CronSimError

from mainspring.kernel import declaration
from mainspring.kernel.call import ANONYMOUS, SYSTEM, Call
from mainspring.kernel.contract import Contract
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.event import Envelope, EventType
from mainspring.kernel.impersonation import Impersonated
from mainspring.kernel.job import PLATFORM_QUEUES, QUEUES, Job, JobHandler, Schedule
from mainspring.kernel.measure import HOUR_S, KEEP_DAYS, Measure
from mainspring.kernel.metric import Metric
from mainspring.kernel.operation import (
    TIMEOUT_S,
    Describe,
    Kind,
    Operation,
    Prepare,
    Raw,
    StreamItem,
    Tells,
)  # fmt: skip
from mainspring.kernel.policy import (
    ATTEMPTS_DEFAULT,
    OWN_CLASSES,
    CachePolicy,
    PerKey,
    Rate,
    RateClass,
    RatePerKey,
    RetryPolicy,
)
from mainspring.kernel.resource import Resource
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.sweep import HowMany, Sweep
from mainspring.kernel.table import Query

E = TypeVar("E")
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[..., Any]
Streamed = AsyncIterator[StreamItem]
UnaryHandler = Callable[Concatenate[Any, P], Awaitable[R]]
Streaming = Callable[Concatenate[Any, P], Streamed]
Judge = Callable[[Call, Envelope], Awaitable[bool | Collection[str]]]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
_PATTERN = re.compile(r"\*|[a-z0-9_]+(?:\.[a-z0-9_]+)?\.(?:\*|[a-z0-9_]+)")
JOB_TIMEOUT_S = 300.0
CONSUMER_BATCH_MAX = 256  # events one call of a consumer is given


class Consumer(msgspec.Struct, frozen=True):
    """A handler that takes every event whose type matches, once, in order within its partition.

    With a ``batch`` it is given lists of up to so many.
    """

    name: str
    patterns: tuple[str, ...]
    handler: Handler
    retry: RetryPolicy
    from_start: bool
    batch: int | None = None

    def takes(self, event_type: str) -> bool:
        """Tell whether a pattern (exact, ``prefix.*`` or ``*``) covers this type."""
        return any(pattern_covers(pattern, event_type) for pattern in self.patterns)


def _check_batch(name: str, taken: object, batch: int | None) -> None:
    """Hold what a consumer says of batches against what its handler takes. Raises Misdeclared."""
    if batch is not None and not 1 <= batch <= CONSUMER_BATCH_MAX:
        raise Misdeclared(f"{name}: a batch has from 1 to {CONSUMER_BATCH_MAX} events, not {batch}")
    if (typing.get_origin(taken) is list) != (batch is not None):
        raise Misdeclared(
            f"{name} takes {'one event' if batch else 'a list of events'}: a handler with batch= "
            "takes a list, one without takes an event"
        )


def pattern_covers(pattern: str, event_type: str) -> bool:
    """Match an event type against ``*``, ``records.*`` or an exact name."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


class Contracts:
    """Declares operations and jobs of a service by a signature and a doc, without a body.

    ``handles`` attaches the handlers elsewhere, so that whoever calls needs not import them.
    """

    _with_handlers = False

    def __init__(self, service: str, impersonated: Impersonated | None = None) -> None:
        self.name = service
        self._impersonated_writes = impersonated
        self.operations: dict[str, Operation] = {}
        self.jobs: dict[str, Job[...]] = {}

    def operation(
        self,
        shape: str,
        *,
        scope: str | None,
        status: int | None = None,
        rate: RateClass = RateClass.DEFAULT,
        secret: bool = False,
        recent_s: int | None = None,
        raises: tuple[type, ...] = (),
        body_bytes_max: int | None = None,
        timeout_s: float = TIMEOUT_S,
        cache: CachePolicy | None = None,
        shows: Callable[..., Awaitable[bytes]] | None = None,
        impersonated: Impersonated | None = None,
        reads: bool = False,
        may_lag: bool = False,
    ) -> Callable[[UnaryHandler[P, R]], Operation[P, R]]:
        """Declare a unary operation. ``scope=None`` lets anyone call it.

        ``secret`` says the answer holds a secret: its idempotency record is sealed and kept 10 min.
        With ``recent_s`` a user must have logged in, or proved again who they are, within so many
        seconds, or hears ``step_up_required``; API keys pass.
        ``cache`` says who may keep the answer to a GET; without it whoever asked keeps it and asks
        again each time whether it still holds. ``shows`` as for ``handles``. ``impersonated`` says
        whether it is for somebody who acts as a user: by itself so is what reads, and what writes
        for who may write then, but nothing with ``secret`` or ``recent_s``. A POST that ``reads``
        has its question in the body, and changes nothing: it takes no idempotency key.
        What ``may_lag`` is answered by a replica of the database for callers that say how new it
        has to be (``Read-After``); what its handler reads with ``call.find``, ``all``, ``one`` and
        ``page`` comes from there, and all else from the newest.
        """
        return self._operation(
            shape, Kind.UNARY, scope=scope, status=status, rate=rate, secret=secret,
            recent_s=recent_s, raises=raises, body_bytes_max=body_bytes_max, timeout_s=timeout_s,
            cache=cache, shows=shows, impersonated=impersonated, reads=reads,
            may_lag=may_lag,
        )  # fmt: skip

    def transaction(
        self,
        shape: str,
        *,
        scope: str | None,
        status: int | None = None,
        raises: tuple[type, ...] = (),
        body_bytes_max: int | None = None,
    ) -> Callable[[UnaryHandler[P, R]], Operation[P, R]]:
        """Declare a unary operation whose handler runs inside the database's transaction."""
        return self._operation(
            shape, Kind.UNARY, scope=scope, status=status, raises=raises,
            body_bytes_max=body_bytes_max, in_transaction=True,
        )  # fmt: skip

    def stream(
        self, shape: str, *, scope: str | None
    ) -> Callable[[Streaming[P]], Operation[P, Streamed]]:
        """Declare a stream: an async generator of ``StreamItem`` that only reads.

        Without a body it is a plain ``def`` that returns an ``AsyncIterator[StreamItem]``.
        """
        return self._operation(shape, Kind.STREAM, scope=scope)

    def upload(
        self,
        shape: str,
        *,
        scope: str | None,
        status: int | None = 201,
        body_bytes_max: int | None = None,
        raises: tuple[type, ...] = (),
        prepare: Prepare | None = None,
        shows: Callable[..., Awaitable[bytes]] | None = None,
        impersonated: Impersonated | None = None,
    ) -> Callable[[UnaryHandler[P, R]], Operation[P, R]]:
        """Declare an upload: the blob is durable before the handler runs with its ``Upload``.

        Without ``body_bytes_max`` the settings say how large it may be: ``[uploads]``.
        ``prepare`` and ``shows`` as for ``handles``, ``impersonated`` as for ``operation``.
        """
        return self._operation(
            shape, Kind.UPLOAD, scope=scope, status=status, body_bytes_max=body_bytes_max,
            raises=raises, prepare=prepare, shows=shows, impersonated=impersonated,
        )  # fmt: skip

    def raw(
        self,
        shape: str,
        *,
        scope: str | None,
        rate: RateClass = RateClass.DEFAULT,
        cache: CachePolicy | None = None,
    ) -> Callable[[UnaryHandler[P, Raw]], Operation[P, Raw]]:
        """Declare a raw operation: it answers ``Raw`` (redirects, downloads).

        ``cache`` says who may keep the answer to a GET, where that names no ``Cache-Control`` of
        its own; without either nobody does.
        """
        return self._operation(shape, Kind.RAW, scope=scope, rate=rate, cache=cache)

    def _operation(
        self, shape: str, kind: Kind, **options: Any
    ) -> Callable[[Callable[..., Any]], Any]:
        def declare(function: Callable[..., Any]) -> Operation:
            name = f"{self.name}.{function.__name__}"
            if name in self.operations:
                raise Misdeclared(f"operation {name} is declared twice: rename this function")
            operation = Operation(name, shape, function, kind=kind, **options)
            if operation.writes and options.get("impersonated") is None:
                operation.impersonated = self._impersonated_writes or operation.impersonated
            if self._with_handlers:
                operation.attach(function)
            self.operations[name] = operation
            return operation

        return declare

    def job(
        self,
        *,
        queue: str = "default",
        max_attempts: int = ATTEMPTS_DEFAULT,
        retry: RetryPolicy | None = None,
        timeout_s: float = JOB_TIMEOUT_S,
        coalesces: bool = False,
        public: bool = False,
        concurrency: PerKey | None = None,
        rate: RatePerKey | None = None,
    ) -> Callable[[JobHandler[P]], Job[P]]:
        """Declare a job. Delivered at least once; what its handler stages takes effect once.

        A ``unique_key`` is held until the job is done; where it ``coalesces``, only until it
        starts: a burst becomes one run, and what comes during that run gets another.

        Callers with the scope ``jobs:write`` may enqueue a ``public`` job through the API with
        arguments of their choice; the others are the service's own affair.

        With ``concurrency=PerKey("endpoint_id", 4)`` at most four with one value of that argument
        run at a time, in all processes together; the others wait and hold no worker. With
        ``rate=RatePerKey("endpoint_id", "10/s")`` at most ten of them start in a second.
        """

        def declare(function: JobHandler[P]) -> Job[P]:
            name = f"{self.name}.{function.__name__}"
            if name in self.jobs:
                raise Misdeclared(f"job {name} is declared twice: rename this function")
            policy = retry or RetryPolicy(max_attempts=max_attempts)
            job = Job(
                name, function, queue=queue, retry=policy, timeout_s=timeout_s,
                coalesces=coalesces, public=public, concurrency=concurrency, rate=rate,
            )  # fmt: skip
            if self._with_handlers:
                job.attach(function)
            self.jobs[name] = job
            return job

        return declare


@overload
def handles(  # type: ignore[overload-overlap]
    contract: Operation[P, Streamed], /
) -> Callable[[Streaming[P]], Streaming[P]]: ...
@overload
def handles(
    contract: Operation[P, R],
    /,
    *,
    prepare: Prepare | None = None,
    shows: Callable[..., Awaitable[bytes]] | None = None,
    tells: Tells | None = None,
) -> Callable[[UnaryHandler[P, R]], UnaryHandler[P, R]]: ...
@overload
def handles(contract: Job[P], /) -> Callable[[JobHandler[P]], JobHandler[P]]: ...
def handles(contract: Contract[...], /, **options: Any) -> Any:
    """Attach the function below to an operation or a job that was declared without a body.

    It takes what the contract takes, by the same names, and returns what it returns.

    ``prepare`` is for uploads: given what the handler is before the body is read, it raises for
    whoever may not upload here, and returns the ``UploadTerms``. The handler asks again. An
    operation that takes ``Files`` beside its JSON is given that, and returns terms by their names.
    ``shows`` is for answers that not everybody who may make the call may see: given the call, the
    body of a stored answer and what the handler is given, it returns the body to show now, empty
    for 204. What is answered the first time is the handler's to decide.
    ``tells`` is for raw operations of a protocol with errors of its own: given a Failure, of the
    handler or from before it was called, it returns what is answered.
    """

    def attach(handler: Handler) -> Handler:
        contract.attach(handler, **options)
        return handler

    return attach


class Service(Contracts):
    """Owns its tables, operations, events, jobs and consumers.

    Its decorators declare and attach a handler at once. ``contract`` has the same ones for what is
    declared apart, in an ``api.py`` that is cheap to import; ``handlers`` names the modules, by
    their full names, that attach the handlers then. They are imported when the service starts.
    ``metrics`` are shown from then on, observed by ``call.use(Telemetry)``. ``impersonated`` is
    what its operations that write are for somebody who acts as a user, unless one says otherwise.
    """

    _with_handlers = True

    def __init__(
        self,
        name: str,
        *,
        doc: str,
        migrations: Traversable | None = None,
        settings: type[msgspec.Struct] | None = None,
        handlers: tuple[str, ...] = (),
        metrics: tuple[Metric, ...] = (),
        impersonated: Impersonated | None = None,
    ) -> None:
        if not name.isidentifier() or name != name.lower():
            raise Misdeclared(f"{name!r} cannot name a service: small letters, as in 'links'")
        if name in (ANONYMOUS.actor, SYSTEM.actor):
            raise Misdeclared(
                f"{name!r} cannot name a service: events name another caller so; choose another"
            )
        if migrations is not None and not (
            isinstance(migrations, Traversable) and migrations.is_dir()
        ):
            raise Misdeclared(
                f"{name}: {migrations} is not a folder of migrations: make it, with "
                f"0001_{name}.sql in it, and name it as Path(__file__).parent / 'migrations'"
            )
        if settings is not None:
            try:
                settings()
            except TypeError as error:
                raise Misdeclared(f"{name}: every setting needs a default: {error}") from None
        super().__init__(name, impersonated)
        self.contract = Contracts(name, impersonated)
        self.contract.operations, self.contract.jobs = self.operations, self.jobs
        self.doc = doc
        self.migrations = migrations
        self.settings = settings
        self.handlers = handlers
        self.scopes: frozenset[str] = frozenset()
        self.metrics = metrics
        self.measures: dict[str, Measure] = {}
        self.sweeps: tuple[Sweep, ...] = ()
        self.sealed: tuple[SealedColumn, ...] = ()
        self.counts: dict[str, Query[HowMany]] = {}
        self.events: dict[str, EventType[Any]] = {}
        self.consumers: dict[str, Consumer] = {}
        self.schedules: list[Schedule] = []
        self.resources: list[Resource] = []
        self.queues: dict[str, int] = {}
        self.rate_classes: dict[str, RateClass] = {}
        self.describe: Describe | None = None
        self.judge: Judge | None = None

    def acts(self, *scopes: str) -> None:
        """Declare what the service itself may do elsewhere, with ``call.as_service()``.

        Its own name in the audit trail, with these scopes and no others: for jobs and consumers,
        and for what a caller need not be allowed for.
        """
        for scope in scopes:
            declaration.require_scope(self.name, scope)
        self.scopes |= frozenset(scopes)

    def load(self) -> None:
        """Import what attaches the handlers. Raises Misdeclared when one is missing."""
        for module in self.handlers:
            importlib.import_module(module)
        for contract in (*self.operations.values(), *self.jobs.values()):
            contract.require_handler()

    # Measures, events, consumers, schedules

    def keeps(self, *sweeps: Sweep, **counts: Query[HowMany]) -> None:
        """Declare what is kept for a time only, and what else ``mainspring doctor`` counts."""
        self.sweeps = (*self.sweeps, *sweeps)
        self.counts = {**self.counts, **counts}

    def seals(self, *columns: SealedColumn) -> None:
        """Declare what is stored sealed with the keyring, so that it follows a rotation."""
        self.sealed = (*self.sealed, *columns)

    def measure(
        self, name: str, *, doc: str, bucket_s: int = HOUR_S, keep_days: int = KEEP_DAYS
    ) -> Measure:
        """Declare what ``call.measure`` counts: ``clicks = links.measure("clicks", doc=…)``."""
        full = f"{self.name}.{name}"
        if full in self.measures:
            raise Misdeclared(f"measure {full} is declared twice: rename one")
        if not name.isidentifier() or name != name.lower():
            raise Misdeclared(f"{name!r} cannot name a measure: small letters, as in 'clicks'")
        if bucket_s < 1 or keep_days < 1:
            raise Misdeclared(f"measure {full}: bucket_s and keep_days are 1 or more")
        self.measures[full] = Measure(full, doc, bucket_s, keep_days)
        return self.measures[full]

    def event(
        self,
        name: str,
        *,
        subject: str = "id",
        person: str | None = None,
        erases: str | None = None,
        partition_key: str | None = None,
        scope: str | None = None,
        withholds: Sequence[str] = (),
    ) -> Callable[[type[E]], type[E]]:
        """Declare the struct below as the data of events of type ``service.thing.happened``.

        ``scope`` lets a caller read them in the feed, in the audit trail and through webhooks; by
        default ``service:read``. ``erases`` names the field with the id of a person whose key is
        destroyed in the same commit: every process forgets it. Events keep their order within one
        ``partition_key``, a field of text; by default within one subject. ``withholds`` are fields
        that ``shows`` may leave out.
        """

        def declare(data: type[E]) -> type[E]:
            if not name.startswith(self.name + ".") or name.count(".") != 2:
                raise Misdeclared(f"{name!r} is not '{self.name}.thing.happened'")
            if name in self.events:
                raise Misdeclared(f"event {name} is declared twice: give one of them another type")
            if not (isinstance(data, type) and issubclass(data, msgspec.Struct)):
                raise Misdeclared(f"{name}: its data must be a msgspec.Struct")
            for field in {subject, person, erases, partition_key, *withholds} - {None}:
                if field not in data.__struct_fields__:
                    raise Misdeclared(
                        f"{name} has no field {field!r}: it has {', '.join(data.__struct_fields__)}"
                    )
            self.events[name] = EventType(
                name, data, subject=subject, person=person, erases=erases,
                partition_key=partition_key, scope=scope, withholds=withholds,
            )  # fmt: skip
            return data

        return declare

    def shows(self, judge: Judge) -> Judge:
        """Declare who reads an event of this service without the scope of its type.

        It is asked for one event at a time, for the caller of the call, and only reads. Without it
        nobody does. Of the fields that a type ``withholds`` it may return those that the caller
        does not see.
        """
        self.judge = judge
        return judge

    def on(
        self,
        *patterns: str,
        retry: RetryPolicy | None = None,
        from_start: bool = False,
        batch: int | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a consumer of events; what it stages takes effect once per event.

        It takes events in the order of the log, from its own first start on, or from the log's
        beginning. An event whose handler fails is set aside as a retried job; the others go on.

        With a ``batch`` the handler takes a list of up to so many, of one tenant and in order, and
        what it stages for them commits together. Where it fails on several, each comes again alone.
        """

        def declare(handler: Handler) -> Handler:
            name = f"{self.name}.{handler.__name__}"
            if name in self.consumers:
                raise Misdeclared(f"consumer {name} is declared twice: rename this function")
            wrong = [p for p in patterns if not _PATTERN.fullmatch(p)]
            if wrong or not patterns:
                raise Misdeclared(
                    f"{name}: {', '.join(map(repr, wrong)) or 'nothing'} names no events: write "
                    "'orders.order.paid', 'orders.*' or '*'"
                )
            declaration.require_async(name, handler)
            parameters, hints = declaration.signature(name, handler)
            if len(parameters) != 1:
                raise Misdeclared(f"{name} takes the call and the event, and nothing else")
            _check_batch(name, hints[parameters[0]], batch)
            self.consumers[name] = Consumer(
                name, patterns, handler, retry or RetryPolicy(), from_start, batch
            )
            return handler

        return declare

    def provide(
        self, kind: type[S], make: Callable[..., S] | None = None, *, needs: tuple[type, ...] = ()
    ) -> None:
        """Declare what each running process has one of, and handlers reach with ``call.use(kind)``.

        It is made at the start by ``make``, or by ``kind`` itself, with what it ``needs`` in that
        order: settings, ports, what services provide. Its ``close``, where it has one, is called at
        the end, before what it needs is closed, and its ``forget_all`` when the database may have
        gone back to an earlier state. Keep caches and limits there, not facts.
        """
        self.resources.append(Resource(self.name, kind, make or kind, needs))

    def queue(self, name: str, *, concurrency: int) -> str:
        """Declare a queue for jobs of this service, and return its name for ``job(queue=…)``.

        One process runs ``concurrency`` of its jobs at a time unless ``[queues] own`` says
        otherwise.
        """
        taken = (*QUEUES, *PLATFORM_QUEUES)
        if not _NAME.fullmatch(name) or name in taken:
            raise Misdeclared(
                f"{self.name}: {name!r} cannot name a queue: use small letters, digits, _ as in "
                f"'imports', and none of {', '.join(taken)}"
            )
        if concurrency < 1:
            raise Misdeclared(f"{self.name}: queue {name} runs at least one job at a time")
        self.queues[name] = concurrency
        return name

    def rate_class(self, name: str, rate: str) -> RateClass:
        """Declare a limit of its own for operations of this service: ``operation(rate=…)``.

        A caller may call those together at ``rate``, ``N/s``, ``N/m`` or ``N/h``, unless
        ``[limits] own`` says otherwise; who is anonymous, from one address. They do not count
        against what it may call of others.
        """
        taken = {*OWN_CLASSES, "anonymous"}
        if not _NAME.fullmatch(name) or name in taken:
            raise Misdeclared(
                f"{self.name}: {name!r} cannot name a rate class: use small letters, digits, _ as "
                f"in 'search', and none of {', '.join(sorted(taken))}"
            )
        if name in self.rate_classes:
            raise Misdeclared(f"{self.name} declares the rate class {name!r} twice: rename one")
        try:
            Rate.parse(rate)
        except ValueError as error:
            raise Misdeclared(f"{self.name}: rate class {name}: {error}") from None
        self.rate_classes[name] = RateClass(name, rate)
        return self.rate_classes[name]

    def every(self, cron: str, job: Job[[]]) -> None:
        """Enqueue a job without arguments at every moment a cron line (UTC) names."""
        if not isinstance(job, Job):
            raise Misdeclared(f"every({cron!r}) takes a job: declare it with @{self.name}.job()")
        try:
            next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as error:
            raise Misdeclared(
                f"{cron!r} is not a cron line: {error or 'it names no moment'}; write "
                "minute, hour, day, month and weekday, as in '0 4 * * *'"
            ) from None
        try:
            job.args()
        except TypeError as error:
            raise Misdeclared(f"{job.name} has no caller to give it arguments: {error}") from None
        self.schedules.append(Schedule(f"{job.name}@{cron}", cron, job))

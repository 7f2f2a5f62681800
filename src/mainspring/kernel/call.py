"""A call: who asks, when, and what its handler has staged so far."""

from collections.abc import Collection, Mapping
from typing import Any, ParamSpec, TypeVar, overload

import msgspec

from mainspring.kernel.authority import authorise
from mainspring.kernel.caller import ADDRESS_ACCOUNT, ANONYMOUS, SYSTEM, TENANT_DEFAULT, Caller
from mainspring.kernel.channel import Channel
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import AskFailed, Failure, NotFound, PreconditionFailed
from mainspring.kernel.etag import tag_matches
from mainspring.kernel.event import EventType, StagedEvent, require_size
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.impersonation import require_in_person
from mainspring.kernel.invocation import Invocation, Invoker
from mainspring.kernel.job import QUEUES, ConfiguredJob, Job, StagedJob, require_queue
from mainspring.kernel.measure import (
    NO_MEASURES,
    VALUE_MAX,
    Measure,
    require_countable,
    require_declared,
)
from mainspring.kernel.operation import ConfiguredRequest, Kind, Operation, Response
from mainspring.kernel.page import PAGE_BYTES_MAX
from mainspring.kernel.reader import Reader
from mainspring.kernel.recipient import Recipient
from mainspring.kernel.request import StoredRequest
from mainspring.kernel.sender import Sender
from mainspring.kernel.table import Command, Query, Rows, Update, Write

__all__ = [
    "ADDRESS_ACCOUNT", "ANONYMOUS", "STAGED_MAX", "SYSTEM", "TENANT_DEFAULT", "Call", "Caller",
    "Context", "ReadCall", "Reader", "Transaction",
]  # fmt: skip

T = TypeVar("T")
P = ParamSpec("P")

STAGED_MAX = 20_000  # writes, events and jobs one call may stage together
ASKS_MAX = 100  # of one run of a handler
ASK_DEPTH_MAX = 8  # handlers that wait for each other

_encode = msgspec.json.Encoder().encode
_READS = (
    "this call only reads: nothing commits what it stages. Where it is somebody else's, stage with "
    "the handler's own; in a stream write, emit, enqueue and measure in an operation of another "
    "kind, which the caller calls beside the stream"
)


class Context:
    """What is the same for every call of a running app.

    ``invoker`` reaches other operations, ``requests`` is the job that calls one later; ``acts`` has
    the scopes that each service holds itself.
    """

    __slots__ = (
        "acts", "event_types", "ids", "invoker", "measures", "queues", "reader", "requests",
        "resources",
    )  # fmt: skip

    def __init__(
        self,
        reader: Reader,
        ids: IdMaker,
        resources: Mapping[type, Any],
        event_types: Mapping[type, EventType[Any]],
        measures: Mapping[str, Measure] = NO_MEASURES,
        queues: Collection[str] = QUEUES,
    ) -> None:
        self.reader = reader
        self.ids = ids
        self.resources = resources
        self.event_types = event_types
        self.measures = measures
        self.queues = queues
        self.invoker: Invoker | None = None  # set once what runs calls is there
        self.requests: Job[[StoredRequest]] | None = None
        self.acts: Mapping[str, frozenset[str]] = {}

    def event_type(self, data: type) -> EventType[Any]:
        """Return the type of the events with this data. Raises Misdeclared when there is none."""
        event = self.event_types.get(data)
        if event is None:
            raise Misdeclared(
                f"{data.__qualname__} is the data of no event of this app: declare it with "
                "@service.event('service.thing.happened')"
            )
        return event


class Call:
    """One call of a handler. It reads, decides and stages; the dispatcher commits.

    Staged writes are not visible to the call's own reads. When a guard fails the handler runs again
    with the same ``now_ms`` and the same ids in the same order. In a job ``attempt`` counts its
    attempts from 1, and ``progress`` (0 to 1) is shown to whoever looks at the job. ``account`` is
    whose share of what all calls use together (readers, stored answers) this one draws on: the
    caller, the address of one that is anonymous, or the job. ``deadline_s`` is when its time is up,
    on the monotonic clock. ``path`` ends with the name of what is called: the operation, the job or
    the consumer; before it are the operations whose handlers wait for it. ``until_ms`` is when the
    credential ends that its caller came with, None where it does not or there is none. ``sender``
    is where a call that may write came from, None where no client sent it. With ``lagging`` its
    rows are read through that, from a replica; ``reader`` has the newest.
    """

    __slots__ = (
        "_asks", "_context", "_ids", "_ids_at", "_stages_in", "_updated", "account", "attempt",
        "caller", "causation_id", "correlation_id", "deadline_s", "events", "if_match", "jobs",
        "lagging", "measures", "now_ms", "path", "progress", "reader", "recipient", "request_id",
        "reruns", "sender", "until_ms", "wakes", "writes",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        caller: Caller,
        *,
        now_ms: int,
        request_id: str,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        if_match: str | None = None,
        attempt: int = 1,
        account: str = "",
        deadline_s: float | None = None,
        path: tuple[str, ...] = (),
    ) -> None:
        self._context = context
        self._asks = 0
        self._stages_in: Call | None = None  # of a call as the service: the handler's own
        self.path = path
        self._ids: list[str] = []
        self._ids_at = 0
        self.account = account or caller.actor
        self.attempt = attempt
        self.deadline_s = deadline_s
        self.progress: float | None = None
        self.reruns = 0
        self.until_ms: int | None = None
        self.sender: Sender | None = None
        self.caller = caller
        self.now_ms = now_ms
        self.request_id = request_id
        self.correlation_id = correlation_id or request_id
        self.causation_id = causation_id
        self.if_match = if_match
        self.recipient: Recipient | None = None  # set where a call lasts: a stream, a download
        self.reader: Reader = context.reader
        self.lagging: Reader | None = None
        self.writes: list[Write] = []
        self._updated: dict[tuple[object, tuple[Any, ...]], int] = {}  # where a row's update is
        self.events: list[StagedEvent] = []
        self.jobs: list[StagedJob] = []
        self.measures: dict[tuple[Measure, str], int] = {}
        self.wakes: set[Channel] = set()

    async def still_allowed(self) -> bool:
        """Make the caller whoever it is now; False when it may not go on with this.

        For what lasts: rights that were taken meanwhile are not to show any more.
        """
        if self.recipient is not None:
            caller = await self.recipient.renew()
            if caller is None:
                return False
            self.caller = caller
        return True

    def of(self, caller: Caller) -> "Call":
        """Return a call of somebody else at the same moment, to read with what they may."""
        return ReadCall(
            self._context,
            caller,
            now_ms=self.now_ms,
            request_id=self.request_id,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            account=self.account,
            deadline_s=self.deadline_s,
            path=self.path,
        )

    # Asking other services

    @overload
    async def ask(
        self, operation: Operation[P, Response[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def ask(self, operation: Operation[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def ask(self, operation: Operation[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a reading operation, of another service mostly, and return its answer's body.

        It is called by this call's own caller, with what that may do, in the time that is left and
        under the same correlation. A job and a consumer have no caller: they ask as the service.
        A re-run of the handler asks again. Raises AskFailed.
        """
        self._may_ask(operation)
        (self._stages_in or self)._asks += 1
        invocation = Invocation(
            operation.name,
            operation.named(args, kwargs),
            self.caller,
            self.request_id,
            account=self.account,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            deadline_s=None
            if self.recipient is not None
            else self.deadline_s,  # what lasts has none
            path=self.path,
        )
        assert self._context.invoker is not None  # it made this call
        try:
            outcome = await self._context.invoker.invoke(invocation)
        except Failure as failure:
            raise AskFailed.of(operation.name, failure) from failure
        if outcome.value is not None or not outcome.body:
            return outcome.value
        return msgspec.json.decode(outcome.body, type=operation.response)

    def _may_ask(self, operation: Operation[..., Any]) -> None:
        """Raise Misdeclared for what no handler does: it is a defect, whoever calls."""
        name, me = operation.name, self.path[-1] if self.path else "this handler"
        if operation.kind is not Kind.UNARY or operation.writes:
            raise Misdeclared(
                f"{me} cannot ask {name}: only a unary operation that reads is asked. To change "
                "something elsewhere write call.request(...), or emit an event that its service "
                "consumes"
            )
        if isinstance(self._stages_in or self, Transaction):
            raise Misdeclared(
                f"{me} cannot ask {name}: it runs inside a transaction, for which others wait"
            )
        self._require_caller("ask", name)
        if name in self.path:
            raise Misdeclared(f"asking goes in a circle: {' asks '.join((*self.path, name))}")
        if len(self.path) >= ASK_DEPTH_MAX:
            raise Misdeclared(
                f"more than {ASK_DEPTH_MAX} handlers wait for each other: "
                f"{' asks '.join((*self.path, name))}"
            )
        if (self._stages_in or self)._asks >= ASKS_MAX:
            raise Misdeclared(
                f"{me} asked {ASKS_MAX} times: ask for a page of what it needs instead of each"
            )

    def _require_caller(self, verb: str, name: str) -> None:
        """Raise Misdeclared where the platform itself would be the caller: it may do anything."""
        # What came through an invoker has a deadline; a job or a consumer acts as the platform.
        if self.caller.kind == SYSTEM.kind and self.deadline_s is None:
            me = self.path[-1] if self.path else "this handler"
            what = "read" if verb == "ask" else "do"
            raise Misdeclared(
                f"{me} has no caller for whom it could {verb} {name}: declare what the service may "
                f"{what} with service.acts(...) and write call.as_service().{verb}(...)"
            )

    def request(
        self,
        operation: Operation[P, Any] | ConfiguredRequest[P],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str:
        """Stage a call of a writing operation, of another service mostly, and return its id.

        It is made after this call's commit, by this call's own caller with what that one may do
        then, again and again until it is answered, and takes effect once. What is refused is a dead
        letter. ``Operation.then`` names the job that is told how it ended. A job and a consumer
        request as the service. Raises AskDenied when the caller may not by now.
        """
        how = operation if isinstance(operation, ConfiguredRequest) else operation.then(None)
        wanted, stages_in = how.operation, self._stages_in or self
        self._may_request(wanted)
        try:
            authorise(wanted.scope, self.caller)
            require_in_person(wanted.impersonated, self.caller)
        except Failure as failure:
            raise AskFailed.of(wanted.name, failure) from failure
        given = {
            name: msgspec.Raw(_encode(value)) for name, value in wanted.bound(args, kwargs).items()
        }
        then = None if how.told is None else how.told.name
        staged = StoredRequest(
            wanted.name, given, self.caller.actor, self.now_ms, then, self.caller.impersonation
        )
        assert self._context.requests is not None  # set with the invoker
        return stages_in.enqueue(self._context.requests, staged)

    def _may_request(self, operation: Operation[..., Any]) -> None:
        """Raise Misdeclared for what no handler does: it is a defect, whoever calls."""
        name, me = operation.name, self.path[-1] if self.path else "this handler"
        if operation.kind is not Kind.UNARY or not operation.writes:
            raise Misdeclared(
                f"{me} cannot request {name}: only a unary operation that writes is requested. "
                "What reads is asked: write await call.ask(...)"
            )
        if operation.secret:
            raise Misdeclared(
                f"{me} cannot request {name}: its answer holds a secret, which is kept for nobody"
            )
        self._require_caller("request", name)

    def as_service(self) -> "Call":
        """Return a call by the service itself, to ask and request with what ``acts`` declares.

        What it requests is staged in this call. Nothing else can be staged with it.

        Raises Misdeclared when the service declares nothing.
        """
        service = self.path[-1].partition(".")[0] if self.path else ""
        scopes = self._context.acts.get(service)
        if not scopes:
            raise Misdeclared(
                f"the service {service!r} declares no scopes of its own: write "
                "service.acts('orders:read'), say, beside it"
            )
        acting = self.of(Caller("service", service, self.tenant, scopes))
        acting._stages_in = self._stages_in or self
        return acting

    @property
    def tenant(self) -> str:
        """The tenant every row, event and job of this call belongs to."""
        return self.caller.tenant

    def use(self, resource: type[T]) -> T:
        """Return what the app put at this type: a port, a service's settings. For jobs mostly."""
        found: T = self._context.resources[resource]
        return found

    def offered(self, kind: type[T]) -> T | None:
        """Return what fills this type where somebody does; an app may leave it."""
        found: T | None = self._context.resources.get(kind)
        return found

    def event_type(self, data: type) -> EventType[Any]:
        """Return the type of the events with this data. Raises Misdeclared when there is none."""
        return self._context.event_type(data)

    def new_id(self, prefix: str) -> str:
        """Return a TypeID; a re-run of the handler gets the same ones in the same order."""
        if self._ids_at == len(self._ids):
            self._ids.append(self._context.ids.uuid7())
        value = self._ids[self._ids_at]
        self._ids_at += 1
        return f"{prefix}_{value}"

    # Reading

    def read_newest(self) -> None:
        """Read from a replica no more: for what decides who may see, beyond the row itself."""
        self.lagging = None

    @property
    def _rows(self) -> Reader:
        return self.lagging or self.reader

    async def all(self, query: Query[T], **params: Any) -> list[T]:
        """Return every row of a query."""
        return await self._rows.read(query, query.sql.bind(params))

    async def page(
        self, query: Query[T], *, limit: int, bytes_max: int = PAGE_BYTES_MAX, **params: Any
    ) -> Rows[T]:
        """Return the first rows of a query that takes ``limit``: what one answer may hold.

        At most ``limit`` of them with at most ``bytes_max`` bytes of text together, and no more is
        read than that. One comes however long it is.
        """
        values = query.sql.bind({**params, "limit": limit + 1})
        rows: Rows[T] = await self._rows.page(query, values, bytes_max)
        return rows if len(rows.items) <= limit else Rows(rows.items[:limit], more=True)

    async def find(self, query: Query[T], **params: Any) -> T | None:
        """Return the first row of a query, or None."""
        rows = await self._rows.read(query, query.sql.bind(params))
        return rows[0] if rows else None

    async def find_newest(self, query: Query[T], **params: Any) -> T | None:
        """Return the first row of a query as of now: of what is kept, or decides for others."""
        rows = await self.reader.read(query, query.sql.bind(params))
        return rows[0] if rows else None

    async def one(self, query: Query[T], **params: Any) -> T:
        """Return the first row of a query. Raises NotFound when there is none."""
        rows = await self._rows.read(query, query.sql.bind(params))
        if not rows:
            raise NotFound()
        row: T = rows[0]
        return row

    def require_match(self, etag: str) -> None:
        """Compare ``If-Match`` with the current tag, strongly: a weak tag never matches.

        RFC 9110, 13.1.1. Raises PreconditionFailed.
        """
        if self.if_match is None or self.if_match.strip() == "*":
            return
        if not tag_matches(self.if_match, etag, weak=False):
            raise PreconditionFailed(f"the current version is {etag}")

    # Staging

    def write(self, *writes: Write) -> None:
        """Stage writes. A second update of a row joins the first, so one guard covers both."""
        for write in writes:
            if isinstance(write, Update):
                row = (write.table, write.key)
                at = self._updated.setdefault(row, len(self.writes))
                if at < len(self.writes):
                    earlier = self.writes[at]
                    assert isinstance(earlier, Update)  # only an update is noted
                    self.writes[at] = _join(earlier, write)
                    continue
            self.writes.append(write)

    def write_first(self, *writes: Write) -> None:
        """Stage writes that come before all that is staged so far; for statements, not updates."""
        self.writes[:0] = writes
        self._updated = {row: at + len(writes) for row, at in self._updated.items()}

    def emit(self, data: object, *, subject: str | None = None) -> str:
        """Stage an event; its type is that of ``data``'s struct. Returns its id.

        Raises EventTooLarge, and Misdeclared for what no service declares.
        """
        event = self._context.event_type(type(data))
        about = subject if subject is not None else getattr(data, event.subject)
        return self._emit(event, data, about, _encode(data))

    def emit_json(self, kind: type, data: msgspec.Raw, *, subject: str) -> str:
        """Stage an event of the type declared by ``kind`` whose data is JSON already.

        For data with members that only a schema of the user's knows. Returns its id. Raises
        EventTooLarge.
        """
        return self._emit(self._context.event_type(kind), data, subject, bytes(data))

    def _emit(self, event: EventType[Any], data: object, subject: str, json: bytes) -> str:
        require_size(event.name, len(json))
        event_id = self.new_id("evt")
        self.events.append(StagedEvent(event, event_id, data, subject, json))
        return event_id

    def enqueue(self, job: Job[P] | ConfiguredJob[P], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Stage a job with its arguments, and return its id. ``Job.configure`` says how it runs.

        It is dropped while one of its name and ``unique_key`` waits or runs. Raises Misdeclared
        for a queue that no service declares.
        """
        how = job if isinstance(job, ConfiguredJob) else job.configure()
        if how.queue != how.job.queue:  # that one was looked at when the app started
            require_queue(how.job.name, how.queue, self._context.queues)
        job_id = self.new_id("job")
        run_at_ms = self.now_ms if how.run_at_ms is None else how.run_at_ms
        text = how.job.encode(how.job.named(args, kwargs))
        self.jobs.append(
            StagedJob(how.job, job_id, text, how.queue, how.priority, run_at_ms, how.unique_key)
        )
        return job_id

    def measure(self, measure: Measure, value: int = 1, *, key: str = "") -> None:
        """Count something, if this call holds: by its commit, or its answer where it only reads.

        It is no event and is not audited. It is written down within a second, and a process that is
        killed loses no more than that. Raises ValueError for a value below 1 or a long key,
        and Misdeclared for a measure that no service declares.
        """
        require_declared(measure, self._context.measures)
        require_countable(measure, value, key)
        counted = self.measures.get((measure, key), 0) + value
        self.measures[measure, key] = min(counted, VALUE_MAX)

    def wake(self, name: Channel) -> None:
        """After the commit, wake whoever listens on this channel.

        Staged events and jobs wake by themselves.
        """
        self.wakes.add(name)

    def reset(self) -> None:
        """Forget what was staged, for a re-run."""
        self.reruns += 1
        self._asks = 0
        self._ids_at = 0
        self.writes = []
        self._updated = {}
        self.events = []
        self.jobs = []
        self.measures = {}
        self.wakes = set()


class ReadCall(Call):
    """The call of a stream, or on behalf of somebody: never committed, with nothing to stage."""

    __slots__ = ()

    def write(self, *writes: Write) -> None:
        """Raise TypeError."""
        raise TypeError(_READS)

    def write_first(self, *writes: Write) -> None:
        """Raise TypeError."""
        raise TypeError(_READS)

    def emit(self, data: object, *, subject: str | None = None) -> str:
        """Raise TypeError."""
        raise TypeError(_READS)

    def emit_json(self, kind: type, data: msgspec.Raw, *, subject: str) -> str:
        """Raise TypeError."""
        raise TypeError(_READS)

    def enqueue(self, job: Job[P] | ConfiguredJob[P], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Raise TypeError."""
        raise TypeError(_READS)

    def measure(self, measure: Measure, value: int = 1, *, key: str = "") -> None:
        """Raise TypeError."""
        raise TypeError(_READS)


class Transaction(Call):
    """A call whose handler runs inside the database's transaction (the second form).

    For what only the database knows: counters, ``RETURNING``. Its reads see its own executed
    statements. It may await nothing but its own reads, and blocks other writers while it runs.
    """

    __slots__ = ()

    async def execute(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement now and return the rows of its ``RETURNING``."""
        return await self.reader.execute(command)  # type: ignore[attr-defined, no-any-return]

    async def apply(self) -> None:
        """Run what is staged now, so that what this call reads from here on has it."""
        writes, self.writes, self._updated = self.writes, [], {}
        await self.reader.apply(writes)  # type: ignore[attr-defined]


def _join(first: Update, second: Update) -> Update:
    changes = dict(zip(first.names, first.values, strict=True))
    changes.update(zip(second.names, second.values, strict=True))
    return Update(first.table, first.key, tuple(changes), tuple(changes.values()), first.version)

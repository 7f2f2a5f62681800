"""The ASGI application: routes, and the way of a request through the gateway and back."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from mainspring.gateway.pipeline import Admission, Gateway
from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.cors import Cors
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.hosts import Hosts
from mainspring.interfaces.http.mounts import Mounts
from mainspring.interfaces.http.problem import MEDIA_TYPE, Defect, body_of, headers_of
from mainspring.interfaces.http.proxies import Proxies
from mainspring.interfaces.http.request import PeerGone
from mainspring.interfaces.http.responses import answer_json
from mainspring.interfaces.http.router import Router
from mainspring.interfaces.http.server_settings import CorsSettings, ServerSettings
from mainspring.interfaces.http.streams import Encoders, Lasting, StreamAnswer, answer_raw
from mainspring.interfaces.rest.arguments import ArgumentReader, without_stream_token
from mainspring.interfaces.rest.invocations import invocation_of
from mainspring.interfaces.rest.multipart import Form, is_form
from mainspring.interfaces.rest.uploads import file_head
from mainspring.kernel.authority import authorise
from mainspring.kernel.byte_range import WantedRange
from mainspring.kernel.caller import Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import (
    Failure,
    MethodNotAllowed,
    NotFound,
    NotServedHere,
    OutcomeUnknown,
    Unavailable,
    no_room,
)
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.impersonation import Impersonated, require_in_person
from mainspring.kernel.invocation import Invocation, Invoker, Opened, Outcome
from mainspring.kernel.operation import Kind, Operation, OwnCredentials, Tells
from mainspring.kernel.policy import RateClass
from mainspring.kernel.pool import Pool
from mainspring.kernel.read_after import ANY, require_known
from mainspring.kernel.user_app import Asgi
from mainspring.runtime.metrics.telemetry import Metrics, RouteMeter

BODIES_BYTES_MAX = 256 << 20  # of bodies in memory that take a while to come
BODIES_BYTES_SHARE = 64 << 20
REFUSED_ORIGINS_LOGGED_MAX = 10  # in REFUSED_ORIGINS_WINDOW_S
REFUSED_ORIGINS_WINDOW_S = 60.0
CLIENT_GONE = 499  # what metrics and logs say of a caller that left before its answer
CUT_OFF = "the server stopped before the end"
CUT_OFF_WRITING = (
    "the server stopped before the end: whether this was done is not known. Repeat the call with "
    "the same Idempotency-Key; without one look first"
)

Handle = Callable[[Exchange], Awaitable[None]]


class Route:
    """What serves one method of one path template, and what counts it."""

    __slots__ = ("handle", "meter", "operation", "template")

    def __init__(
        self, handle: Handle, meter: RouteMeter, template: str, operation: Operation | None = None
    ) -> None:
        self.handle = handle
        self.meter = meter
        self.template = template
        self.operation = operation


class RestApp:
    """Serves operations, pages and mounted apps over HTTP.

    One that does not ``serves`` has only the pages that are added to it. With ``lags`` who does not
    say how new its reads have to be is answered from replicas as well.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        gateway: Gateway,
        invoker: Invoker,
        *,
        clock: Clock,
        ids: IdMaker,
        metrics: Metrics,
        mounts: Mapping[str, tuple[Asgi, str | None]] | None = None,
        server: ServerSettings | None = None,
        cors: CorsSettings | None = None,
        serves: bool = True,
        lags: bool = False,
    ) -> None:
        self.gateway = gateway
        self._lags = lags
        self.serves = serves
        self._invoker = invoker
        self.settings = server or ServerSettings()
        self.metrics = metrics
        self._clock = clock
        self._ids = ids
        self._cors = Cors(cors or CorsSettings())
        self._hosts = Hosts(self.settings.hosts)
        self.proxies = Proxies(self.settings.trusted_proxies)
        self._hsts = security_headers.hsts(
            self.settings.hsts_max_age_s, subdomains=self.settings.hsts_subdomains
        )
        self._log = structlog.get_logger("mainspring.rest")
        self.memory = Pool("bytes of bodies", BODIES_BYTES_MAX, BODIES_BYTES_SHARE)
        self.streams = Pool(
            "streams", self.settings.streams_max, self.settings.streams_per_caller_max
        )
        self._encoders = Encoders()
        self._refusals_logged_s: deque[float] = deque(maxlen=REFUSED_ORIGINS_LOGGED_MAX)
        self._unrouted: dict[str, RouteMeter] = {}
        self.router: Router[Route] = Router()
        self.mounts = Mounts((mounts or {}) if serves else {}, gateway)
        for operation in operations if serves else ():
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        serve = {
            Kind.UNARY: self._unary, Kind.UPLOAD: self._upload, Kind.RAW: self._raw,
            Kind.STREAM: self._stream,
        }[operation.kind]  # fmt: skip
        self.add(operation.method, operation.path, serve(operation), operation)

    def add(
        self, method: str, template: str, handle: Handle, operation: Operation | None = None
    ) -> None:
        """Serve a path; GET serves HEAD too."""
        for name in (method, "HEAD") if method == "GET" else (method,):
            meter = self.metrics.route(template, name)
            self.router.add(name, template, Route(handle, meter, template, operation))

    async def start(self) -> None:
        """Start the mounted apps. Raises RuntimeError when one fails."""
        await self.mounts.start()

    async def stop(self) -> None:
        """Stop the mounted apps."""
        await self.mounts.stop()

    # The way of a request

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        started_s = self._clock.monotonic_s()
        exchange.request_id = self._ids.new("req")
        self.metrics.active_requests.add()
        meter = route = None
        try:
            exchange.read_headers(self._hosts)
            if self._cors.on or self.proxies or exchange.scheme == "https":
                self._environs(exchange)
            path = exchange.path
            if b"%" in exchange.target:
                path = exchange.target.decode("ascii")
            found = self.router.find(path)
            if found is None:
                meter = await self._elsewhere(exchange, path)
            else:
                methods, exchange.path_values = found
                route = methods.get(exchange.method)
                if route is None:
                    await self._other_method(exchange, methods)
                else:
                    meter = route.meter
                    exchange.route = route.template
                    await route.handle(exchange)
        except Failure as failure:
            if failure.status == 403:
                self.log_denial(exchange, failure, None if route is None else route.operation)
            await self._fail(exchange, failure)
        except PeerGone:
            exchange.status = CLIENT_GONE
        except asyncio.CancelledError as error:
            # Only draining cancels, when its time is up; else the app cancelled its own task.
            # A commit may be on its way in either case.
            if not exchange.drains:
                self.broken(exchange, error)
            await self._fail(exchange, _cut_off(route, exchange.method))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the last resort: whatever broke is answered
            await self._fail(exchange, self.broken(exchange, error))
        finally:
            exchange.let_go()
            self.metrics.active_requests.add(-1)
            (meter or self._unrouted_meter(exchange.method)).observe(
                exchange.status, self._clock.monotonic_s() - started_s
            )
            if self.settings.access_log:
                self._log_access(exchange, started_s)

    def broken(self, exchange: Exchange, error: BaseException) -> Failure:
        """Log what broke, and say what the caller is told: of a full machine, to come again."""
        named = {
            "request_id": exchange.request_id, "method": exchange.method, "path": exchange.route,
        }  # fmt: skip
        if (without := no_room(error)) is not None:
            self._log.error("no_room", error=str(error), **named)
            return without
        self._log.error("defect", exc_info=error, **named)
        return Defect()

    def _environs(self, exchange: Exchange) -> None:
        """Work out address, scheme and origin; a plain setup has none of these.

        Where TLS ends at a proxy, only one that is trusted can say it.
        """
        if self.proxies:
            forwarded = exchange.text(b"forwarded")
            x_forwarded = (
                exchange.text(b"x-forwarded-for") or "",
                exchange.text(b"x-forwarded-proto") or "",
            )
            address, exchange.scheme = self.proxies.origin(
                exchange.wire.address, exchange.scheme, forwarded, x_forwarded
            )
            exchange.comes_from(address)
        if exchange.scheme == "https":
            exchange.extra += self._hsts
        if self._cors.on:
            origin = exchange.headers.get(b"origin")
            exchange.extra += self._cors.headers(origin)
            if self._cors.refuses(origin):
                self._log_refused(exchange)

    def _log_refused(self, exchange: Exchange) -> None:
        """Say which origin was refused: the browser tells nobody but its user.

        A few lines each minute and no more, for anyone can write an ``Origin``.
        """
        logged_s, now_s = self._refusals_logged_s, self._clock.monotonic_s()
        if len(logged_s) == logged_s.maxlen and now_s - logged_s[0] < REFUSED_ORIGINS_WINDOW_S:
            return
        logged_s.append(now_s)
        origin = (exchange.text(b"origin") or "")[:200]
        self._log.warning("origin_refused", origin=origin, request_id=exchange.request_id)

    async def _elsewhere(self, exchange: Exchange, path: str) -> RouteMeter | None:
        if not self.serves:
            raise NotServedHere(
                "this process works and takes no calls: call one whose [platform] role is "
                "serve or all"
            )
        mount = self.mounts.find(path)
        if mount is None:
            raise NotFound("nothing is at this path")
        exchange.route = mount.prefix + "/*"
        await self.mounts.serve(mount, exchange)
        return self.metrics.route(exchange.route, exchange.method)

    async def _other_method(self, exchange: Exchange, methods: Mapping[str, Route]) -> None:
        allow = ", ".join(sorted({*methods, "OPTIONS"}))
        if exchange.method != "OPTIONS":
            raise MethodNotAllowed(f"allowed here: {allow}", headers={"Allow": allow})
        headers = [(b"allow", allow.encode())]
        if self._cors.on and b"access-control-request-method" in exchange.headers:
            always = self._hsts if exchange.scheme == "https" else ()
            exchange.extra = always + self._cors.preflight(
                exchange.headers.get(b"origin"), allow.encode()
            )
        await exchange.answer(204, headers, b"")

    def log_denial(self, exchange: Exchange, failure: Failure, operation: Operation | None) -> None:
        """Say who was not allowed what. Callers' limits bound these lines too."""
        self._log.warning(
            "denied",
            **_who(exchange.admission.caller),
            operation=None if operation is None else operation.name,
            scope=None if operation is None else operation.scope,
            code=failure.code,
            detail=failure.detail,
            method=exchange.method,
            path=exchange.path,
            address=exchange.address,
            request_id=exchange.request_id,
        )

    async def _fail(self, exchange: Exchange, failure: Failure) -> None:
        if exchange.started:
            # The answer has begun: only breaking it off can tell the caller that it is not whole.
            self._log.warning(
                "answer_broken_off", code=failure.code, path=exchange.route,
                request_id=exchange.request_id,
            )  # fmt: skip
            exchange.break_off()
            return
        body = body_of(
            failure,
            instance=exchange.target.decode("ascii", "replace"),
            request_id=exchange.request_id,
        )
        headers = [(b"content-type", MEDIA_TYPE), security_headers.NO_STORE, *security_headers.API]
        headers.extend(headers_of(failure))
        await exchange.answer(failure.status, headers, body)

    def _unrouted_meter(self, method: str) -> RouteMeter:
        """Paths that are nowhere count together, or anyone could make series without end."""
        if method not in self._unrouted and len(self._unrouted) < 16:
            self._unrouted[method] = self.metrics.route("", method)
        return self._unrouted.get(method) or self.metrics.route("", "_OTHER")

    def _log_access(self, exchange: Exchange, started_s: float) -> None:
        """Log a request by its route: what stands in a path or a query may be about a person."""
        self._log.info(
            "request",
            method=exchange.method,
            path=exchange.route,
            status=exchange.status,
            duration_ms=round((self._clock.monotonic_s() - started_s) * 1000, 3),
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id or exchange.request_id,
            **_who(exchange.admission.caller),
            address=exchange.address,
        )

    # Kinds of operations

    async def admit(
        self,
        exchange: Exchange,
        scope: str | None,
        rate: RateClass = RateClass.DEFAULT,
        impersonated: Impersonated = Impersonated.READS,
    ) -> None:
        """Let a caller in who may do this, before anything is read for it.

        Raises Unauthenticated, Refused, Forbidden or NotForImpersonators.
        """
        admission = self.gateway.admit(
            exchange.authorization, exchange.network, rate, address=exchange.address
        )
        if not isinstance(admission, Admission):
            admission = await admission
        exchange.admission = admission
        authorise(scope, admission.caller)
        require_in_person(impersonated, admission.caller)

    async def _admit(self, exchange: Exchange, operation: Operation) -> None:
        await self.admit(exchange, operation.scope, operation.rate, operation.impersonated)

    def _unary(self, operation: Operation) -> Handle:
        invoker, reader, kept = self._invoker, ArgumentReader(operation), _kept(operation)
        unsaid = ANY if self._lags and operation.may_lag else None

        async def serve(exchange: Exchange) -> None:
            await self._admit(exchange, operation)
            if operation.files_param is not None and is_form(exchange.content_type):
                outcome = await self._with_files(exchange, operation, reader)
                await answer_json(exchange, outcome, kept=kept, secret=operation.secret)
                return
            if exchange.body_unread and operation.takes_body:
                await self._read_body(exchange, operation)
            arguments = _arguments(reader, exchange)
            asked = _invocation(exchange, operation, arguments, unsaid)
            outcome = await invoker.invoke(asked)
            await answer_json(exchange, outcome, kept=kept, secret=operation.secret)

        return serve

    def _upload(self, operation: Operation) -> Handle:
        invoker, reader, file = self._invoker, ArgumentReader(operation), operation.upload_param
        assert file is not None  # Kind.UPLOAD binds one
        idle_s = self.settings.body_timeout_s

        async def serve(exchange: Exchange) -> None:
            await self._admit(exchange, operation)
            arguments = _arguments(reader, exchange)
            arguments[file] = file_head(exchange)
            outcome = await invoker.upload(
                _invocation(exchange, operation, arguments),
                exchange.body_chunks(idle_s),
            )
            await answer_json(exchange, outcome)

        return serve

    def _raw(self, operation: Operation) -> Handle:
        invoker, reader, kept = self._invoker, ArgumentReader(operation), _kept(operation)

        async def serve(exchange: Exchange) -> None:
            own, param = None, operation.credentials_param
            if param is not None:
                own = OwnCredentials(
                    exchange.text(b"authorization"),
                    exchange.text(b"cookie"),
                    exchange.text(b"accept-language"),
                )
                exchange.authorization = None
            await self._admit(exchange, operation)
            if exchange.body_unread and operation.takes_body:
                await self._read_body(exchange, operation)
            arguments = _arguments(reader, exchange)
            if param is not None:
                arguments[param] = own
            invocation = _invocation(exchange, operation, arguments)
            wanted = exchange.text(b"range") if exchange.method == "GET" else None
            if wanted is not None:  # RFC 9110, 14.2: of GET only
                part = WantedRange(wanted, exchange.text(b"if-range"))
                invocation = msgspec.structs.replace(invocation, wanted=part)
            recipient = Lasting(exchange, self.gateway)
            await answer_raw(exchange, await invoker.open(invocation, recipient), kept)

        return serve if operation.tells is None else _telling(serve, operation.tells)

    def _stream(self, operation: Operation) -> Handle:
        invoker, reader, scope = self._invoker, ArgumentReader(operation), operation.scope

        async def serve(exchange: Exchange) -> None:
            if exchange.authorization is None and exchange.query:
                token, exchange.query = without_stream_token(exchange.query)
                if token is not None:
                    exchange.authorization = await self.gateway.redeem(token, exchange.network)
            await self._admit(exchange, operation)
            invocation = _invocation(exchange, operation, _arguments(reader, exchange))
            answer = StreamAnswer(exchange, self.gateway, scope, self._encoders)
            with self.streams.place(exchange.admission.account):
                await answer.send(await invoker.open(invocation, answer))

        return serve

    async def _with_files(
        self, exchange: Exchange, operation: Operation, reader: ArgumentReader
    ) -> Outcome:
        """Call an operation with the JSON and the files of a form."""
        exchange.check_coding()
        assert exchange.content_type is not None  # it is a form's
        form = Form(exchange.content_type, exchange.body_chunks(self.settings.body_timeout_s))
        size_max = operation.body_bytes_max or self.settings.body_bytes_max
        body = await form.json(size_max, lambda size: exchange.hold(size, self.memory))
        arguments = reader.read(exchange.path_values, exchange.query, body, "application/json")
        return await self._invoker.receive(
            _invocation(exchange, operation, arguments), form.files()
        )

    async def _read_body(self, exchange: Exchange, operation: Operation) -> None:
        exchange.check_coding()
        size_max = operation.body_bytes_max or self.settings.body_bytes_max
        exchange.body = await exchange.read_body(
            size_max, self.settings.body_timeout_s, self.memory
        )


def _telling(serve: Handle, tells: Tells) -> Handle:
    """Answer a failure in the words of the operation's own protocol."""

    async def serve_or_tell(exchange: Exchange) -> None:
        try:
            await serve(exchange)
        except Failure as failure:
            if exchange.started:
                raise
            told = tells(failure)
            assert isinstance(told.body, bytes)  # a failure is short
            headers = (*told.headers, *failure.headers.items())
            if failure.retry_after_s is not None:
                headers += (("Retry-After", str(math.ceil(failure.retry_after_s))),)
            await answer_raw(exchange, Opened(told.body, told.status, told.media_type, headers))

    return serve_or_tell


def _kept(operation: Operation) -> security_headers.Headers | None:
    return None if operation.cache is None else security_headers.kept(operation.cache)


def _cut_off(route: Route | None, method: str) -> Failure:
    """What is said of a call that did not come to its end: one that reads can be repeated."""
    operation = None if route is None else route.operation
    reads = method in {"GET", "HEAD"} if operation is None else not operation.writes
    if reads:
        return Unavailable(CUT_OFF, retry_after_s=1)
    return OutcomeUnknown(CUT_OFF_WRITING, retry_after_s=1)


def _who(caller: Caller) -> dict[str, str]:
    """Return how log lines name who called, and who acted as them."""
    if caller.impersonator is None:
        return {"caller": caller.actor}
    return {"caller": caller.actor, "impersonator": caller.impersonator}


def _arguments(reader: ArgumentReader, exchange: Exchange) -> dict[str, Any]:
    return reader.read(exchange.path_values, exchange.query, exchange.body, exchange.content_type)


def _invocation(
    exchange: Exchange,
    operation: Operation,
    arguments: Mapping[str, Any],
    unsaid: str | None = None,
) -> Invocation:
    """Write down what was asked, for whoever owns the operation."""
    read_after = exchange.text(b"read-after")
    return invocation_of(
        exchange,
        operation,
        arguments,
        key=exchange.idempotency_key,
        if_match=exchange.if_match,
        resume_after=exchange.text(b"last-event-id") if operation.kind is Kind.STREAM else None,
        read_after=unsaid if read_after is None else require_known(read_after),
    )

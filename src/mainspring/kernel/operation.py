"""Operations: typed request to typed response, with scope, rate class, limits and HTTP shape."""

import re
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from mainspring.kernel import declaration
from mainspring.kernel.contract import Contract
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.errors import Failure
from mainspring.kernel.impersonation import Impersonated
from mainspring.kernel.job import Job
from mainspring.kernel.policy import CACHED_S_MAX, CachePolicy, RateClass
from mainspring.kernel.request import RequestOutcome

T = TypeVar("T")
if TYPE_CHECKING:  # ``Operation`` alone is any operation
    from typing_extensions import ParamSpec
    from typing_extensions import TypeVar as DefaultedTypeVar

    P = ParamSpec("P", default=...)
    R = DefaultedTypeVar("R", default=Any)
else:
    P = typing.ParamSpec("P")
    R = TypeVar("R")

UPLOAD_HEAD_BYTES = 8_192  # of a file: what its media type is judged from
TIMEOUT_S = 30.0
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_SHAPE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Kind(StrEnum):
    """How an operation answers."""

    UNARY = "unary"
    STREAM = "stream"
    UPLOAD = "upload"
    RAW = "raw"


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request body or query is made of: unknown fields are refused."""


class ForeignForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody else's page sends on: in a query, or posted as a form.

    What is not known of it is ignored, as RFC 6749, 4.1.2 demands of a client: a ``query``.
    """


class OwnCredentials(msgspec.Struct, frozen=True):
    """What a request says of who sent it, for a raw operation that judges that by itself.

    One that takes it is called by nobody in particular: the gateway looks at none of this.
    """

    authorization: str | None = None
    cookie: str | None = None
    accept_language: str | None = None


class Response(msgspec.Struct, Generic[T], frozen=True):
    """A response with more than its body: status, entity tag, headers.

    ``etag`` is the strong tag with its quotes.
    """

    body: T
    status: int | None = None
    etag: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def shown_if(
        allowed: bool, body: T, *, status: int | None = None, etag: str | None = None
    ) -> "Response[T | None]":
        """Answer a write with what it left, to those who may read that; others hear 204."""
        return Response(body, status, etag) if allowed else Response(None, status=204)


class Seekable(msgspec.Struct, frozen=True):
    """A body of known size of which a part can be read: from an offset, so many bytes."""

    size_bytes: int
    read: Callable[[int, int], AsyncIterator[bytes]]


class Raw(msgspec.Struct, frozen=True):
    """What a raw operation answers: bytes, or a stream of them, and their own headers.

    Of a ``Seekable`` body callers may ask for a part (RFC 9110, 14), by its ``ETag``. Who gets it
    is sent to ``elsewhere`` for it, where that is given: a URL that is good for this body alone,
    for a while. What asks only about it (HEAD, ``If-None-Match``) is answered here.
    """

    body: bytes | AsyncIterator[bytes] | Seekable = b""
    status: int = 200
    media_type: str = "application/octet-stream"
    headers: tuple[tuple[str, str], ...] = ()
    elsewhere: str | None = None


class Upload(msgspec.Struct, frozen=True):
    """A blob that is already durable when its handler runs."""

    key: str
    size_bytes: int
    sha256: str
    media_type: str
    filename: str | None


class UploadTerms(msgspec.Struct, frozen=True):
    """What an upload may be: told by ``prepare``, asked while its bytes come.

    Its blob's key begins with ``prefix``. ``what`` names it in refusals: ``'photo'``. With
    ``size_bytes_max`` it is smaller than the platform's settings and its operation let it be.
    ``judge`` is given its first bytes (``UPLOAD_HEAD_BYTES``, or all there are) and the media type
    that was claimed. It returns the media type that counts, or raises a Failure. A form may bring
    up to ``parts_max`` of them under one name. ``stored`` is given what comes and yields what is
    put into the store in its place, as sealed; it grows by less than a tenth.
    """

    prefix: str = ""
    what: str = "the file"
    size_bytes_max: int | None = None
    judge: Callable[[bytes, str], str] | None = None
    parts_max: int = 1
    stored: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] | None = None


Files = Mapping[str, Upload]  # what came in one request beside its JSON, by the name of its part
NO_FILES: Files = types.MappingProxyType({})


# Of an upload its terms; of files that come beside JSON those of each part, by its name.
Prepare = Callable[..., Awaitable[UploadTerms | Mapping[str, UploadTerms]]]
# How a raw operation tells a failure in the words of its own protocol.
Tells = Callable[[Failure], Raw]


class StreamItem(msgspec.Struct, frozen=True):
    """One item of a stream: on SSE ``id`` resumes and ``event`` names the kind."""

    data: bytes
    id: str | None = None
    event: str | None = None


class Operation(Contract[P], Generic[P, R]):
    """A declared operation: what it takes beside its call, and what its handler returns.

    ``impersonated`` says whether somebody may call it who acts as a user: none that answers with a
    secret, or asks for a recent log-in, unless it is declared so. ``body_bytes_max`` is None where
    the settings say how large a body or a file may be. A POST that ``reads`` takes no idempotency
    key: nothing of its answer is kept, so each is judged by what its caller may see then. One that
    ``may_lag`` is read from a replica for who asks for that.

    Calling it calls its handler, so tests need no database.
    """

    __slots__ = (
        "body",
        "body_bytes_max",
        "body_param",
        "cache",
        "credentials_param",
        "files_param",
        "impersonated",
        "in_transaction",
        "kind",
        "may_be_silent",
        "may_lag",
        "method",
        "path",
        "path_params",
        "prepare",
        "query",
        "query_param",
        "raises",
        "rate",
        "recent_s",
        "response",
        "scope",
        "secret",
        "shows",
        "status",
        "summary",
        "takes_body",
        "takes_form",
        "tells",
        "timeout_s",
        "upload_param",
        "writes",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        shape: str,
        declared: Callable[..., Any],
        *,
        kind: Kind = Kind.UNARY,
        scope: str | None,
        status: int | None = None,
        rate: RateClass = RateClass.DEFAULT,
        secret: bool = False,
        recent_s: int | None = None,
        in_transaction: bool = False,
        raises: tuple[type, ...] = (),
        body_bytes_max: int | None = None,
        timeout_s: float = TIMEOUT_S,
        cache: CachePolicy | None = None,
        prepare: Prepare | None = None,
        shows: Callable[..., Awaitable[bytes]] | None = None,
        impersonated: Impersonated | None = None,
        reads: bool = False,
        may_lag: bool = False,
    ) -> None:
        super().__init__(name, declared)
        match = _SHAPE.fullmatch(shape)
        if match is None:
            raise Misdeclared(
                f"{name}: {shape!r} is not 'METHOD /path': write 'POST /v1/links', say"
            )
        if scope is not None:
            declaration.require_scope(name, scope)
        self.method, self.path = match[1], match[2]
        self.kind = kind
        if recent_s is not None and (scope is None or recent_s <= 0):
            raise Misdeclared(
                f"{name}: recent_s is how many seconds ago the user proved who they are: more than "
                "0, and of an operation with a scope"
            )
        self.scope = scope
        self.rate = rate
        self.secret = secret
        self.recent_s = recent_s
        self.in_transaction = in_transaction
        self.raises = raises
        self.body_bytes_max = body_bytes_max
        self.timeout_s = timeout_s
        self.prepare = prepare
        self.shows = shows
        self.tells: Tells | None = None
        if reads and (self.method != "POST" or kind is not Kind.UNARY):
            raise Misdeclared(
                f"{name}: reads=True is for a question that comes as the body of a POST: "
                f"{self.method} says by itself whether it writes"
            )
        self.takes_body = self.method in WRITING_METHODS
        self.writes = self.takes_body and not reads
        if impersonated is None:
            impersonated = Impersonated.WRITES if self.writes else Impersonated.READS
            if secret or recent_s is not None:
                impersonated = Impersonated.REFUSED
        self.impersonated = impersonated
        self.may_lag = self._lagging(may_lag)
        self.cache = self._cached(cache)
        self.summary = self.doc.partition("\n")[0]
        self._read_signature()
        self.status = status or (204 if self.response is type(None) else 200)

    def _lagging(self, declared: bool) -> bool:
        """Whether a replica may answer. Raises Misdeclared for what no replica could."""
        if declared and (self.writes or self.secret or self.kind is not Kind.UNARY):
            raise Misdeclared(
                f"{self.name}: may_lag=True is for a unary operation that reads, and answers no "
                "secret: what is decided or written goes by the newest"
            )
        return declared

    def _cached(self, policy: CachePolicy | None) -> CachePolicy | None:
        """Who may keep its answers: what is said, or who asked, asking again each time."""
        if policy is None:
            revalidated = self.method == "GET" and self.kind is Kind.UNARY and not self.secret
            return CachePolicy() if revalidated else None
        if self.method != "GET" or self.secret:
            what = "a secret" if self.secret else f"an answer to {self.method}"
            raise Misdeclared(f"{self.name}: {what} is kept by nobody: leave out cache=")
        if policy.public and self.scope is not None:
            raise Misdeclared(
                f"{self.name}: a public answer is shown to everybody, with the scope "
                f"{self.scope} or without: leave out public=True, or write scope=None"
            )
        for name in ("max_age_s", "stale_while_revalidate_s"):
            seconds = getattr(policy, name)
            if not 0 <= seconds <= CACHED_S_MAX:
                raise Misdeclared(
                    f"{self.name}: {name} is from 0 to {CACHED_S_MAX} seconds, not {seconds}"
                )
        return policy

    def _read_signature(self) -> None:
        parameters, hints = declaration.signature(self.name, self.declared)
        if self.kind is not Kind.STREAM:
            declaration.require_async(self.name, self.declared)
        found = _PLACEHOLDER.findall(self.path)
        placeholders = set(found)
        if len(placeholders) < len(found) or set("{}") & set(_PLACEHOLDER.sub("", self.path)):
            raise Misdeclared(
                f"{self.name}: {self.path} is not a path: write each {{parameter}} once, in small "
                "letters and underscores"
            )
        self.path_params: dict[str, Any] = {}
        self.query: Any = None
        self.query_param: str | None = None
        self.body: Any = None
        self.body_param: str | None = None
        self.upload_param: str | None = None
        self.files_param: str | None = None
        self.credentials_param: str | None = None
        for parameter in parameters:
            annotation = hints[parameter]
            if parameter in placeholders:
                self.path_params[parameter] = annotation
            elif annotation is Upload:
                self.upload_param = parameter
            elif annotation == Files:
                self.files_param = parameter
            elif annotation is OwnCredentials:
                self.credentials_param = parameter
            elif parameter == "query":
                self.query, self.query_param = annotation, parameter
            elif self.body_param is None and self.takes_body:
                self.body, self.body_param = annotation, parameter
            else:
                raise Misdeclared(
                    f"{self.name}: parameter {parameter!r} is bound to nothing: name it in the "
                    f"path, as in {self.path}/{{{parameter}}}, or make it a field of query: Input"
                )
        if missing := sorted(placeholders - set(self.path_params)):
            raise Misdeclared(
                f"{self.name}: the path names {', '.join(missing)}, which the handler does not "
                f"take: add {missing[0]}: str"
            )
        if self.query is not None and not declaration.is_struct(self.query):
            raise Misdeclared(f"{self.name}: query must be a struct of the parameters (Input)")
        self.takes_form = isinstance(self.query, type) and issubclass(self.query, ForeignForm)
        if self.body_param is not None:
            declaration.require_json(self.name, self.body, self.body_param)
        for part in (self.body, self.query):
            if part is self.query and self.takes_form:
                continue
            if declaration.is_struct(part) and not part.__struct_config__.forbid_unknown_fields:
                raise Misdeclared(
                    f"{self.name}: {part.__name__} must refuse unknown fields (Input)"
                )
        if "return" not in hints:
            raise Misdeclared(f"{self.name} does not say what it answers: write -> None, say")
        response = hints["return"]
        self._check_raw(response)
        if typing.get_origin(response) is Response:
            response = typing.get_args(response)[0]
        # ``Response[User | None]``: those who may not read what they wrote are answered 204.
        parts = typing.get_args(response) if isinstance(response, types.UnionType) else ()
        self.may_be_silent = type(None) in parts
        if self.may_be_silent:
            (response,) = (part for part in parts if part is not type(None))
        if self.kind in (Kind.UNARY, Kind.UPLOAD):
            declaration.require_json(self.name, response, "what it answers")
        self.response: Any = response

    def _check_raw(self, response: object) -> None:
        if self.kind is Kind.RAW and response is not Raw:
            raise Misdeclared(f"{self.name}: a raw operation answers Raw: write -> Raw")
        if self.credentials_param is not None and (self.kind, self.scope) != (Kind.RAW, None):
            raise Misdeclared(
                f"{self.name}: only a raw operation without a scope judges credentials by itself"
            )

    def attach(
        self,
        handler: Callable[..., Any],
        *,
        prepare: Prepare | None = None,
        shows: Callable[..., Awaitable[bytes]] | None = None,
        tells: Tells | None = None,
    ) -> None:
        """Have this function do it. Raises Misdeclared where it does not fit, or one does it."""
        declaration.require_async(self.name, handler, generator=self.kind is Kind.STREAM)
        super().attach(handler)
        self.prepare, self.shows = prepare or self.prepare, shows or self.shows
        self.tells = tells or self.tells

    def then(self, told: Job[[RequestOutcome]] | None) -> "ConfiguredRequest[P]":
        """Say which job is told how a request ended: ``call.request(take.then(taken), thing=…)``.

        It is enqueued in the commit that ends the request: when it took effect, was refused, or
        failed for the last time. A dead letter that is retried by hand tells again.
        """
        return ConfiguredRequest(self, told)

    async def __call__(self, call: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the handler of a unary operation directly."""
        answer: R = await self.handler(call, *args, **kwargs)
        return answer


class ConfiguredRequest(Generic[P]):
    """An operation with the job that is told how a request ended. Made by ``Operation.then``."""

    __slots__ = ("operation", "told")

    def __init__(self, operation: Operation[P, Any], told: Job[[RequestOutcome]] | None) -> None:
        self.operation = operation
        self.told = told


class OperationVariant(msgspec.Struct, frozen=True):
    """A face of an operation that only the data knows: one collection of records, say.

    Interfaces that describe operations (OpenAPI, GraphQL) show it instead of the general form.
    ``values`` are the path parameters it stands for; ``body``, ``response`` are JSON Schemas.
    ``files`` are the files it takes beside its body by their names, with the media types that fit.
    """

    operation: str
    name: str
    values: Mapping[str, str]
    body: Mapping[str, Any] | None
    response: Mapping[str, Any] | None
    public: bool
    files: Mapping[str, Sequence[str]] = types.MappingProxyType({})


# Given a call; it answers the same list for as long as nothing in it has changed. Of its caller it
# looks at kind, tenant and scopes alone: a gateway keeps what was told for these.
Describe = Callable[[Any], Awaitable[list[OperationVariant]]]

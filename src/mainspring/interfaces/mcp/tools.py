"""The three tools: ``search`` and ``describe`` what can be called, and ``call`` it."""

from typing import Any

import msgspec

from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.router import PATH_CHARS_MAX
from mainspring.interfaces.mcp.catalog import (
    FOUND_MAX,
    Catalog,
    DescribeArguments,
    SearchArguments,
    Shapes,
)
from mainspring.interfaces.rest.arguments import (
    QUERY_BYTES_MAX,
    QUERY_FIELDS_MAX,
)
from mainspring.interfaces.rest.invocations import invocation_of
from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import Invalid, TooLarge
from mainspring.kernel.invocation import Invocation, Invoker, Outcome
from mainspring.kernel.json_reader import fields_of
from mainspring.kernel.operation import Input, Operation

ANSWER_BYTES_MAX = 64 << 10  # of what an operation answers: some 16,000 tokens
RETRIES_MAX = 3  # of a page that is too long, each shorter
ROOM = 0.9  # of an answer's bytes that a shorter page is to take

_encode = msgspec.json.Encoder().encode
_NOTHING = msgspec.Raw(b"null")
_TEXT: dict[str, Any] = {"type": "string"}
_ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

INSTRUCTIONS = (
    "A backend's operations behind three tools. search finds operations by words, describe tells "
    "what one takes and answers, call does it. What writes takes dry_run=true first, which shows "
    "what would come of it and commits nothing, and an idempotency_key, so that a repeat has one "
    "effect. Lists answer next_cursor: pass it on as query.cursor."
)


class CallArguments(Input, frozen=True):
    """What ``call`` takes."""

    operation: str
    path: dict[str, str | int] = msgspec.field(default_factory=dict)
    query: dict[str, Any] = msgspec.field(default_factory=dict)
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    idempotency_key: str | None = None
    if_match: str | None = None
    dry_run: bool = False


class Called(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operation answered. ``cut`` says why the body is not all of it."""

    status: int
    request_id: str
    body: msgspec.Raw = _NOTHING
    etag: str | None = None
    replayed: bool = False
    dry_run: bool = False
    would_commit: dict[str, Any] = msgspec.field(default_factory=dict)
    cut: str | None = None


def definitions(*, may_write: bool) -> list[dict[str, Any]]:
    """DescribeArguments the tools, always in the same order and words."""
    return [
        _tool(
            "search",
            "Find operations by words, best first; without words list all that you may call.",
            {
                "query": {**_TEXT, "description": "Words: 'create webhook', or a collection."},
                "limit": {"type": "integer", "minimum": 1, "maximum": FOUND_MAX, "default": 20},
                "cursor": {**_TEXT, "description": "next_cursor of the page before."},
            },
            [],
            reads=True,
        ),
        _tool(
            "describe",
            "Tell what an operation takes and answers, as JSON Schemas.",
            {
                "operation": {**_TEXT, "description": "A name that search found."},
                "collection": {**_TEXT, "description": "As the records of this one have it."},
            },
            ["operation"],
            reads=True,
        ),
        _tool(
            "call",
            "Call an operation with what describe says it takes.",
            {
                "operation": _TEXT,
                "path": {**_ANY_OBJECT, "description": "The parameters of its path."},
                "query": {**_ANY_OBJECT, "description": "The parameters of its query."},
                "body": {"description": "Its body."},
                "idempotency_key": {
                    **_TEXT,
                    "maxLength": 255,
                    "description": "Makes a repeat safe: one key and request, one effect.",
                },
                "if_match": {**_TEXT, "description": "The etag that was read."},
                "dry_run": {
                    "type": "boolean",
                    "default": False,
                    "description": "Show what a write would answer, and commit nothing.",
                },
            },
            ["operation"],
            reads=not may_write,
        ),
    ]


def _tool(
    name: str, said: str, takes: dict[str, Any], required: list[str], *, reads: bool
) -> dict[str, Any]:
    schema = {
        "type": "object", "properties": takes, "required": required, "additionalProperties": False,
    }  # fmt: skip
    hints = {"readOnlyHint": reads, "destructiveHint": not reads, "openWorldHint": False}
    return {"name": name, "description": said, "inputSchema": schema, "annotations": hints}


class Tools:
    """Runs the tools for one caller at a time."""

    def __init__(self, catalog: Catalog, invoker: Invoker) -> None:
        self._catalog = catalog
        self._invoker = invoker

    def search(self, asked: SearchArguments, caller: Caller, shapes: Shapes) -> bytes:
        """Find operations."""
        return _encode(self._catalog.search(asked, caller, shapes))

    def describe(self, asked: DescribeArguments, caller: Caller, shapes: Shapes) -> bytes:
        """DescribeArguments one. Raises NotFound."""
        return _encode(self._catalog.describe(asked, caller, shapes))

    async def call(self, exchange: Exchange, operation: Operation, asked: CallArguments) -> bytes:
        """Call an operation. Raises its Failures, Forbidden for what may not be written."""
        invocation = self._invocation(exchange, operation, asked)
        outcome = await self._invoker.invoke(invocation)
        outcome, cut = await self._fitted(invocation, operation, outcome)
        # Of what a write touches beside its answer only as much is told as the log would tell.
        caller, staged = exchange.admission.caller, outcome.staged
        told: dict[str, Any] = {}
        if staged is not None and caller.allows("audit:read"):
            told |= {"rows": staged.rows, "events": staged.events}
        if staged is not None and caller.allows("jobs:read"):
            told["jobs"] = staged.jobs
        body = msgspec.Raw(outcome.body) if outcome.body else _NOTHING
        called = Called(
            outcome.status, exchange.request_id, body, outcome.etag, outcome.replayed,
            staged is not None, told, cut,
        )  # fmt: skip
        return _encode(called)

    async def read(
        self, exchange: Exchange, operation: Operation, asked: CallArguments
    ) -> tuple[str, str | None]:
        """Read a resource, and say where it is not all of it. Raises the operation's Failures."""
        invocation = self._invocation(exchange, operation, asked)
        outcome = await self._invoker.invoke(invocation)
        outcome, cut = await self._fitted(invocation, operation, outcome)
        if cut is not None and not outcome.body:
            raise TooLarge(cut)
        return outcome.body.decode(), cut

    def _invocation(
        self, exchange: Exchange, operation: Operation, asked: CallArguments
    ) -> Invocation:
        if asked.dry_run and asked.idempotency_key is not None:
            raise Invalid.at("/idempotency_key", "leave it out of a dry run: nothing is kept of it")
        arguments: dict[str, Any] = {name: str(value) for name, value in asked.path.items()}
        if sum(map(len, arguments.values())) > PATH_CHARS_MAX:
            raise Invalid.at("/path", f"at most {PATH_CHARS_MAX} characters")
        if unknown := sorted(arguments.keys() - operation.path_params.keys()):
            raise Invalid.at(
                f"/path/{unknown[0]}",
                f"the path takes {', '.join(operation.path_params) or 'nothing'}",
            )
        if asked.query:
            if operation.query_param is None:
                raise Invalid.at("/query", f"{operation.name} takes no query")
            arguments[operation.query_param] = _query(asked.query)
        if asked.body is not msgspec.UNSET:
            if operation.body_param is None:
                raise Invalid.at("/body", f"{operation.name} takes no body")
            size_max = operation.body_bytes_max
            if size_max is not None and len(asked.body) > size_max:
                raise TooLarge(f"the body has at most {size_max} bytes here")
            arguments[operation.body_param] = asked.body
        return invocation_of(
            exchange,
            operation,
            arguments,
            key=asked.idempotency_key,
            if_match=asked.if_match,
            dry_run=asked.dry_run,
        )

    async def _fitted(
        self, invocation: Invocation, operation: Operation, outcome: Outcome
    ) -> tuple[Outcome, str | None]:
        """Return an answer that fits, and what is said where it is not all of it.

        A page is asked for again, shorter, so that its cursor leads on from where it ends.
        """
        size, tries = len(outcome.body), RETRIES_MAX
        query, fields = operation.query_param, fields_of(operation.query)
        if operation.writes or query is None or not {"limit", "cursor"} <= fields.keys():
            tries = 0
        while len(outcome.body) > ANSWER_BYTES_MAX and tries:
            tries -= 1
            items = _count(outcome.body)
            if items <= 1:
                break
            fits = max(1, int(items * ROOM * ANSWER_BYTES_MAX / len(outcome.body)))
            given = {**invocation.arguments.get(query or "", {}), "limit": str(fits)}
            shorter = {**invocation.arguments, str(query): given}
            invocation = msgspec.structs.replace(invocation, arguments=shorter)
            outcome = await self._invoker.invoke(invocation)
        if len(outcome.body) > ANSWER_BYTES_MAX:
            said = (
                f"the answer has {size} bytes and is left out: at most {ANSWER_BYTES_MAX} are told "
                "here. Ask for less of it (query.fields), or read it over REST"
            )
            return msgspec.structs.replace(outcome, body=b""), said
        if len(outcome.body) < size and tries < RETRIES_MAX and size > ANSWER_BYTES_MAX:
            return outcome, "the page ends early, for its length: next_cursor leads on"
        return outcome, None


def _count(body: bytes) -> int:
    page = msgspec.json.decode(body)
    return len(page["items"]) if isinstance(page, dict) and "items" in page else 0


def _query(given: dict[str, Any]) -> dict[str, str | list[str]]:
    """Write parameters as an address holds them, within its bounds. Raises Invalid."""
    query = {name: _texts(value) for name, value in given.items()}
    fields = [text for each in query.values() for text in ([each] if type(each) is str else each)]
    size = sum(map(len, query)) + sum(map(len, fields))
    if size > QUERY_BYTES_MAX or len(fields) > QUERY_FIELDS_MAX:
        raise Invalid.at(
            "/query", f"at most {QUERY_BYTES_MAX} characters and {QUERY_FIELDS_MAX} fields"
        )
    return query


def _texts(value: Any) -> str | list[str]:
    """A parameter as an address would hold it."""
    return [_text(each) for each in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def content(structured: bytes, *, is_error: bool = False) -> dict[str, Any]:
    """The result of a tool: the same once as JSON, and once as the text that older clients read."""
    return {
        "content": [{"type": "text", "text": structured.decode()}],
        "structuredContent": msgspec.Raw(structured),
        "isError": is_error,
    }

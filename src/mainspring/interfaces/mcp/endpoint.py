"""``POST /mcp``: streamable HTTP without streams. Every message is a request of its own."""

from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog

from mainspring.interfaces.http import security_headers
from mainspring.interfaces.http.cors import Cors
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.hosts import Hosts
from mainspring.interfaces.http.proxies import is_loopback
from mainspring.interfaces.http.responses import answer_json
from mainspring.interfaces.http.server_settings import CorsSettings
from mainspring.interfaces.mcp import resources, revisions, tools
from mainspring.interfaces.mcp.catalog import Catalog, DescribeArguments, SearchArguments, Shapes
from mainspring.interfaces.mcp.messages import (
    INVALID_PARAMS,
    LEGACY_NOT_FOUND,
    METHOD_NOT_FOUND,
    Params,
    Refusal,
    RpcMessage,
    RpcReply,
    error_reply,
    problem_of,
    read_message,
    read_params,
    result_reply,
)
from mainspring.interfaces.mcp.settings import McpSettings
from mainspring.interfaces.mcp.tools import CallArguments, Tools
from mainspring.interfaces.rest.arguments import require_json
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.kernel.authority import authorise
from mainspring.kernel.errors import Failure, Forbidden, NotAcceptable, NotFound, Unauthenticated
from mainspring.kernel.impersonation import require_in_person
from mainspring.kernel.invocation import Invoker, Outcome
from mainspring.kernel.json_reader import reader_of
from mainspring.kernel.operation import Operation
from mainspring.kernel.policy import RateClass
from mainspring.kernel.registry import Registry
from mainspring.runtime.invoke.descriptions import Descriptions

PATH = "/mcp"
KEPT_MS = 300_000  # for so long a client may go by what it was told of tools

_TAKEN = ("application/json", "application/*", "*/*")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mainspring"'}


class McpEndpoint:
    """Adds MCP to a REST app, which lets its callers in and counts them.

    ``descriptions`` knows what the data adds to operations.
    """

    def __init__(
        self,
        rest: RestApp,
        registry: Registry,
        invoker: Invoker,
        settings: McpSettings,
        cors: CorsSettings,
        descriptions: Descriptions,
    ) -> None:
        self._rest = rest
        self._settings = settings
        self._descriptions = descriptions
        self._cors = Cors(cors)
        self._hosts = Hosts(rest.settings.hosts) if rest.settings.hosts else None
        self._catalog = Catalog(registry, settings)
        self._tools = Tools(self._catalog, invoker)
        self._log = structlog.get_logger("mainspring.mcp")
        self._server = {"name": "mainspring", "version": version("mainspring")}
        mount = rest.mounts.find(PATH)
        taken = mount is not None and mount.prefix == PATH
        if settings.enabled and rest.serves and not taken and rest.router.find(PATH) is None:
            rest.add("POST", PATH, self.serve)

    async def serve(self, exchange: Exchange) -> None:
        """Answer one message."""
        self._require_origin(exchange)
        await self._rest.admit(exchange, None)
        if exchange.admission.caller.id is None and not self._settings.anonymous:
            raise Unauthenticated("send Authorization: Bearer TOKEN", headers=_CHALLENGE)
        _require_accept(exchange.text(b"accept"))
        require_json(exchange.content_type)
        exchange.check_coding()
        rest = self._rest
        body = await exchange.read_body(
            rest.settings.body_bytes_max, rest.settings.body_timeout_s, rest.memory
        )
        reply = await self._reply(exchange, body)
        if not reply.body:
            headers = [security_headers.NO_STORE, *security_headers.API]
            await exchange.answer(reply.status, headers, b"")
            return
        outcome = Outcome(reply.status, reply.body)
        await answer_json(exchange, outcome, kept=None, secret=reply.secret)

    def _require_origin(self, exchange: Exchange) -> None:
        """Refuse a page whose name was made to lead here (DNS rebinding). Raises Forbidden."""
        origin = exchange.headers.get(b"origin")
        if origin is None or not self._cors.refuses(origin):
            return
        try:
            parts = urlsplit(origin.decode("latin-1"))
            name = parts.hostname or ""
            if is_loopback(name) and is_loopback(exchange.wire.address):
                return
            if self._hosts is not None:
                self._hosts.require(parts.netloc.encode("latin-1"))
                return
        except (ValueError, Failure):  # no origin of ours, or none at all
            pass
        raise Forbidden("pages of this origin may not call here: see [cors] origins")

    async def _reply(self, exchange: Exchange, body: bytes) -> RpcReply:
        message, modern = None, revisions.seems_modern(exchange)
        try:
            message = read_message(body)
            params = read_params(message.params)
            modern = modern or revisions.VERSION_KEY in (params.meta or {})
            modern = revisions.is_modern(exchange, message, params)
            if message.id is None:
                return RpcReply(202)
            result, secret = await self._result(exchange, message, params, modern=modern)
            if modern:
                result = {"resultType": "complete", **result}
                result["_meta"] = {revisions.SERVER_KEY: self._server}
            return result_reply(message.id, result, secret=secret)
        except Refusal as refusal:
            return error_reply(None if message is None else message.id, refusal, modern=modern)

    async def _result(
        self, exchange: Exchange, message: RpcMessage, params: Params, *, modern: bool
    ) -> tuple[dict[str, Any], bool]:
        kept = {"ttlMs": KEPT_MS, "cacheScope": "private"} if modern else {}
        fresh = {"ttlMs": 0, "cacheScope": "private"} if modern else {}
        match message.method:
            case "tools/call":
                return await self._call_tool(exchange, params.text("name"), params.arguments)
            case "tools/list":
                may_write = self._catalog.may_write(exchange.admission.caller)
                return {"tools": tools.definitions(may_write=may_write), **kept}, False
            case "resources/list":
                cursor = None if params.cursor is None else params.text("cursor")
                return {**resources.listed(await self._shapes(exchange), cursor), **fresh}, False
            case "resources/templates/list":
                return {"resourceTemplates": resources.TEMPLATES, **kept}, False
            case "resources/read":
                uri = params.text("uri")
                return {**await self._read(exchange, uri, modern=modern), **fresh}, False
            case "server/discover" if modern:
                told = {"supportedVersions": list(revisions.SUPPORTED), **self._said(), **kept}
                return told, False
            case "initialize" if not modern:
                agreed = {"protocolVersion": revisions.negotiated(params.protocol_version)}
                return {**agreed, "serverInfo": self._server, **self._said()}, False
            case "ping" if not modern:
                return {}, False
        raise Refusal(METHOD_NOT_FOUND, f"there is no method {message.method[:100]!r}")

    def _said(self) -> dict[str, Any]:
        return {"capabilities": {"tools": {}, "resources": {}}, "instructions": tools.INSTRUCTIONS}

    async def _call_tool(
        self, exchange: Exchange, name: str, arguments: msgspec.Raw
    ) -> tuple[dict[str, Any], bool]:
        """Run a tool. What it refuses is its result, so that a model can mend its call."""
        kinds = {"search": SearchArguments, "describe": DescribeArguments, "call": CallArguments}
        kind = kinds.get(name)
        if kind is None:
            raise Refusal(INVALID_PARAMS, f"there is no tool {name[:100]!r}")
        operation = None
        try:
            given: Any = reader_of(kind).read(arguments)
            if isinstance(given, CallArguments):
                operation = self._catalog.operation(given.operation)
                await self._admit(exchange, operation)
                if not given.dry_run:
                    self._catalog.require_write(operation, exchange.admission.caller)
                told = await self._tools.call(exchange, operation, given)
                return tools.content(told), operation.secret
            caller, shapes = exchange.admission.caller, await self._shapes(exchange)
            if isinstance(given, SearchArguments):
                return tools.content(self._tools.search(given, caller, shapes)), False
            return tools.content(self._tools.describe(given, caller, shapes)), False
        except Failure as failure:
            self._log_denial(exchange, failure, operation)
            return tools.content(problem_of(failure, exchange.request_id), is_error=True), False

    async def _admit(self, exchange: Exchange, operation: Operation) -> None:
        """Count a call that has a limit of its own; that of all calls has counted it already."""
        caller = exchange.admission.caller
        authorise(operation.scope, caller)
        require_in_person(operation.impersonated, caller)
        if operation.rate not in {RateClass.DEFAULT, RateClass.UNLIMITED}:
            await self._rest.admit(
                exchange, operation.scope, operation.rate, operation.impersonated
            )

    async def _read(self, exchange: Exchange, uri: str, *, modern: bool) -> dict[str, Any]:
        operation = None
        try:
            wanted = resources.read_uri(uri)
            operation = self._catalog.operation(wanted.operation)
            asked = CallArguments(operation=wanted.operation, path=wanted.path, query=wanted.query)
            text, cut = await self._tools.read(exchange, operation, asked)
        except Failure as failure:
            self._log_denial(exchange, failure, operation)
            problem = msgspec.json.decode(problem_of(failure, exchange.request_id))
            code = failure.status
            if isinstance(failure, NotFound):
                code = INVALID_PARAMS if modern else LEGACY_NOT_FOUND
            raise Refusal(code, failure.detail, {"uri": uri, **problem}) from None
        content: dict[str, Any] = {"uri": uri, "mimeType": "application/json", "text": text}
        if cut is not None:
            content["_meta"] = {"mainspring/cut": cut}
        return {"contents": [content]}

    async def _shapes(self, exchange: Exchange) -> Shapes:
        """What the data adds to operations, as far as the caller gets through to it."""
        admission = exchange.admission
        told = await self._descriptions.of(
            admission.caller, request_id=exchange.request_id, account=admission.account
        )
        known = admission.caller.id is not None
        return [shape for service in told for shape in service.shapes if known or shape.public]

    def _log_denial(
        self, exchange: Exchange, failure: Failure, operation: Operation | None
    ) -> None:
        if failure.status != 403:
            return
        self._log.warning(
            "denied",
            caller=exchange.admission.caller.actor,
            operation=None if operation is None else operation.name,
            scope=None if operation is None else operation.scope,
            code=failure.code,
            detail=failure.detail,
            path=PATH,
            address=exchange.address,
            request_id=exchange.request_id,
        )


def _require_accept(accept: str | None) -> None:
    """Raise NotAcceptable for who takes no JSON: that is all there is."""
    if accept is None:
        return
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if kinds.isdisjoint(_TAKEN):
        raise NotAcceptable("send Accept: application/json, text/event-stream")

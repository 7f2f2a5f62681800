"""Serving GraphQL: POST runs any document, GET what only reads."""

import asyncio
from importlib.metadata import version
from typing import Any

import msgspec

from mainspring.interfaces.graphql.documents import (
    DocumentPlan,
    GraphqlDocument,
    compile_plan,
    read_document,
)
from mainspring.interfaces.graphql.endpoint import DocumentRefused
from mainspring.interfaces.graphql.execution import Execution
from mainspring.interfaces.graphql.requests import (
    RESPONSE,
    GraphqlRequest,
    accepted,
    read_posted,
    read_queried,
    refusal_of,
)
from mainspring.interfaces.graphql.schema import Schema
from mainspring.interfaces.graphql.settings import GraphqlSettings
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.responses import answer_json
from mainspring.interfaces.openapi import OpenApiDocument
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.kernel.errors import Invalid, Malformed, MethodNotAllowed
from mainspring.kernel.invocation import Invoker, Outcome
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.operation import OperationVariant
from mainspring.kernel.registry import Registry
from mainspring.runtime.invoke.descriptions import Descriptions

SCHEMAS_MAX = 8  # of callers who are told different shapes, and of versions of these
DOCUMENTS_BYTES_MAX = 8 << 20  # of what has been read and judged, by an estimate
TREE_BYTES_PER_CHAR = 100  # of a document once it is read

_encode = msgspec.json.Encoder().encode


class _Made(msgspec.Struct, frozen=True):
    """A schema, and the lists it was made of: kept, so that no other takes their identity."""

    schema: Schema
    of: tuple[Any, ...]
    documents: LruCache[str, GraphqlDocument]


class GraphqlServing:
    """Answers requests of callers that were let in, by the schema that each may see."""

    def __init__(
        self,
        rest: RestApp,
        registry: Registry,
        invoker: Invoker,
        settings: GraphqlSettings,
        descriptions: Descriptions,
    ) -> None:
        self._rest, self._invoker, self._settings = rest, invoker, settings
        self._descriptions = descriptions
        self._operations = sorted(registry.operations.values(), key=lambda o: o.name)
        self._document = OpenApiDocument(
            registry.services.values(), title="Mainspring", version=version("mainspring")
        )
        self._schemas: LruCache[tuple[int, ...], _Made] = LruCache(SCHEMAS_MAX)
        self._making = asyncio.Lock()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request. Raises what is no matter of GraphQL: a body too large, say."""
        media_type = accepted(exchange.text(b"accept"))
        try:
            asked = await self._read(exchange)
            made = await self._schema(exchange)
            document, plan = self._plan(made, asked)
            self._require_fit(exchange, plan)
        except MethodNotAllowed:
            raise
        except (DocumentRefused, Malformed, Invalid) as failure:
            # Plain JSON says with 200 that the document was looked at (GraphQL over HTTP, 6.4.1).
            looked_at = isinstance(failure, DocumentRefused) and media_type != RESPONSE
            body = _encode(refusal_of(failure, exchange.request_id))
            await self._answer(exchange, 200 if looked_at else 400, body, media_type)
            return
        run = Execution(self._rest, self._invoker, exchange, made.schema, document, plan)
        answer = await run.run()
        await self._answer(exchange, 200, answer.body, media_type, secret=answer.secret)

    async def _answer(
        self, exchange: Exchange, status: int, body: bytes, media_type: str, *, secret: bool = False
    ) -> None:
        await answer_json(
            exchange, Outcome(status, body), kept=None, secret=secret,
            media_type=f"{media_type}; charset=utf-8".encode(),
        )  # fmt: skip

    async def _read(self, exchange: Exchange) -> GraphqlRequest:
        if exchange.method != "POST":
            return read_queried(exchange.query)
        exchange.check_coding()
        rest = self._rest
        body = await exchange.read_body(
            rest.settings.body_bytes_max, rest.settings.body_timeout_s, rest.memory
        )
        return read_posted(exchange, body)

    async def _schema(self, exchange: Exchange) -> _Made:
        """Return the schema as the caller may see it; another one where a shape has changed."""
        admission = exchange.admission
        told = await self._descriptions.of(
            admission.caller, request_id=exchange.request_id, account=admission.account
        )
        known = admission.caller.id is not None
        lists = tuple(service.shapes for service in told)
        key = (int(known), *(id(each) for each in lists))
        made = self._schemas.get(key)
        if made is not None:
            return made
        async with self._making:  # one at a time: it takes a while, beside the event loop
            made = self._schemas.get(key)
            if made is None:
                shapes = [s for each in lists for s in each if known or s.public]
                documents: LruCache[str, GraphqlDocument] = LruCache(
                    DOCUMENTS_BYTES_MAX, size_of=lambda kept: len(kept.text) * TREE_BYTES_PER_CHAR
                )
                made = _Made(await asyncio.to_thread(self._make, shapes), lists, documents)
                self._schemas.put(key, made)
        return made

    def _make(self, shapes: list[OperationVariant]) -> Schema:
        return Schema(self._document, self._operations, shapes)

    def _plan(self, made: _Made, asked: GraphqlRequest) -> tuple[GraphqlDocument, DocumentPlan]:
        schema = made.schema
        document = made.documents.get(asked.query)
        if document is None:
            document = read_document(asked.query, schema, self._settings)
            made.documents.put(asked.query, document)
        operation = document.operation(asked.operation_name)
        plan = compile_plan(document, schema, self._settings, operation, asked.variables)
        return document, plan

    def _require_fit(self, exchange: Exchange, plan: DocumentPlan) -> None:
        """Refuse what writes over GET, and one key for several writes."""
        if not plan.writes:
            return
        if exchange.method != "POST":
            raise MethodNotAllowed("a mutation is sent by POST", headers={"Allow": "POST"})
        if exchange.idempotency_key is not None and len(plan.roots) > 1:
            raise Malformed(
                "Idempotency-Key is for one call: give each mutation its own idempotencyKey"
            )

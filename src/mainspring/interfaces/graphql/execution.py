"""Running a plan: each root field is a call like any other, and its answer is cut to what is asked.

Nothing of GraphQL's executor runs for these. It answers introspection alone.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from graphql import GraphQLError, OperationDefinitionNode, SelectionSetNode, execute_sync
from graphql.execution.values import get_argument_values
from graphql.language import DocumentNode

from mainspring.interfaces.graphql.documents import DocumentPlan, GraphqlDocument, Root, Selected
from mainspring.interfaces.graphql.endpoint import PATH
from mainspring.interfaces.graphql.schema import (
    KEY_ARGUMENT,
    MATCH_ARGUMENT,
    RootField,
    Schema,
)
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.problem import body_of
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.interfaces.rest.invocations import invocation_of
from mainspring.kernel.authority import authorise
from mainspring.kernel.errors import Failure, Invalid, TooLarge
from mainspring.kernel.impersonation import require_in_person
from mainspring.kernel.invocation import Invocation, Invoker
from mainspring.kernel.operation import Operation
from mainspring.kernel.policy import RateClass
from mainspring.kernel.pool import Pool

INTROSPECTIONS_MAX = 16  # at once; others are told to come again
INTROSPECTIONS_SHARE = 4
ANSWERS_BYTES_MAX = 16 << 20  # of all root fields of a document together

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Json = dict[str, Any]

introspections = Pool("introspections", INTROSPECTIONS_MAX, INTROSPECTIONS_SHARE)


class GraphqlAnswer(msgspec.Struct, frozen=True):
    """What a document is answered with."""

    body: bytes
    secret: bool = False


class Execution:
    """One document being run for one request."""

    def __init__(
        self, rest: RestApp, invoker: Invoker, exchange: Exchange, schema: Schema,
        document: GraphqlDocument, plan: DocumentPlan,
    ) -> None:  # fmt: skip
        self._rest, self._invoker, self._exchange = rest, invoker, exchange
        self._schema, self._document, self._plan = schema, document, plan
        self._counted = True  # the request itself has counted one call
        self._left_bytes = ANSWERS_BYTES_MAX
        self._secret = False
        self._errors: list[Json] = []
        self._tags: dict[str, str] = {}

    async def run(self) -> GraphqlAnswer:
        """Make the calls: those that write one after the other, others together."""
        plan = self._plan
        data: Json = {}
        if plan.writes:
            for root in plan.roots:
                data[root.key] = await self._answer(root)
        else:
            # A task each, so that none is left behind when this one is cancelled.
            async with asyncio.TaskGroup() as group:
                tasks = [(r.key, group.create_task(self._answer(r))) for r in plan.roots]
            data = {key: task.result() for key, task in tasks}
        told: Json = {"data": data}
        if self._errors:
            told["errors"] = self._errors
        extensions: Json = {"request_id": self._exchange.request_id}
        if self._tags:
            extensions["etags"] = self._tags
        return GraphqlAnswer(_encode({**told, "extensions": extensions}), self._secret)

    async def _answer(self, root: Root) -> Any:
        name = root.node.name.value
        if name == "__typename":
            return self._plan.root_type
        try:
            if name.startswith("__"):
                return await self._introspect(root)
            return await self._call(root, self._schema.roots[name])
        except Failure as failure:
            self._fail(root, failure, self._schema.roots.get(name))
        except GraphQLError as error:
            self._fail(root, Invalid(error.message), None)
        except Exception as error:  # noqa: BLE001 - logged; others of this document took effect
            self._fail(root, self._rest.broken(self._exchange, error), None)
        return None

    def _fail(self, root: Root, failure: Failure, called: RootField | None) -> None:
        """Tell a failure as REST would, beside what the others answered."""
        exchange = self._exchange
        if failure.status == 403:
            self._rest.log_denial(exchange, failure, None if called is None else called.operation)
        problem = _decode(body_of(failure, instance=PATH, request_id=exchange.request_id))
        if failure.retry_after_s is not None:
            problem["retry_after_s"] = failure.retry_after_s
        place = root.node.loc
        located = {} if place is None else {
            "locations": [{"line": place.start_token.line, "column": place.start_token.column}]
        }  # fmt: skip
        detail = problem.pop("detail")
        self._errors.append(
            {"message": detail, **located, "path": [root.key], "extensions": problem}
        )

    async def _call(self, root: Root, called: RootField) -> Any:
        field = self._plan_field(root)
        arguments = get_argument_values(
            field, root.node, self._plan.variables, hide_suggestions=True
        )
        operation = called.operation
        self._secret = self._secret or operation.secret
        await self._admit(operation)
        outcome = await self._invoker.invoke(self._invocation(root, called, arguments))
        self._left_bytes -= len(outcome.body)
        if self._left_bytes < 0 and not operation.writes:
            raise TooLarge(
                f"the answers of this document have more than {ANSWERS_BYTES_MAX} bytes: ask for "
                "fewer, or less of each"
            )
        if outcome.etag is not None:
            self._tags[root.key] = outcome.etag
        if not outcome.body:
            return None
        return _taken(_decode(outcome.body), root.below)

    def _plan_field(self, root: Root) -> Any:
        schema = self._schema.graphql
        kind = schema.mutation_type if self._plan.writes else schema.query_type
        assert kind is not None  # the document was validated against it
        return kind.fields[root.node.name.value]

    async def _admit(self, operation: Operation) -> None:
        """Count each call against its limit. Raises what REST would before reading a body."""
        caller = self._exchange.admission.caller
        authorise(operation.scope, caller)
        require_in_person(operation.impersonated, caller)
        if operation.rate is RateClass.UNLIMITED:
            return
        if operation.rate is RateClass.DEFAULT and self._counted:
            self._counted = False
            return
        await self._rest.admit(
            self._exchange, operation.scope, operation.rate, operation.impersonated
        )

    def _invocation(self, root: Root, called: RootField, given: Mapping[str, Any]) -> Invocation:
        operation, exchange = called.operation, self._exchange
        arguments: Json = dict(called.values)
        arguments |= {name: str(given[name]) for name in called.path if name in given}
        query = {name: _texts(given[name]) for name in called.query if given.get(name) is not None}
        if called.chooses and "fields" not in query and (chosen := _chosen(root.below)):
            query["fields"] = chosen
        if query and operation.query_param is not None:
            arguments[operation.query_param] = query
        if operation.body_param is not None and "body" in given:
            arguments[operation.body_param] = msgspec.Raw(_encode(given["body"]))
        key = given.get(KEY_ARGUMENT)
        return invocation_of(
            exchange,
            operation,
            arguments,
            key=exchange.idempotency_key if key is None else key,
            if_match=given.get(MATCH_ARGUMENT),
        )

    async def _introspect(self, root: Root) -> Any:
        """Have the executor answer, one question at a time; the same one out of memory."""
        name = self._plan.operation.name
        asked = self._document.text, "" if name is None else name.value, root.key
        variables = self._plan.variables.coerced
        kept = None if variables else self._schema.introspected.get(asked)
        if kept is not None:
            return msgspec.Raw(kept)
        account = self._exchange.admission.account
        introspections.take(account)
        try:
            async with self._schema.introspecting:
                told = await asyncio.to_thread(self._introspected, root, dict(variables))
        finally:
            introspections.give_back(account)
        if not variables:
            self._schema.introspected.put(asked, told)
        return msgspec.Raw(told)

    def _introspected(self, root: Root, variables: Json) -> bytes:
        node = OperationDefinitionNode(
            operation=self._plan.operation.operation,
            variable_definitions=self._plan.operation.variable_definitions,
            selection_set=SelectionSetNode(selections=(root.node, *root.also)),
        )
        definitions = (node, *self._document.fragments.values())
        result = execute_sync(
            self._schema.graphql, DocumentNode(definitions=definitions), variable_values=variables
        )
        if result.errors:
            raise result.errors[0]
        return _encode((result.data or {}).get(root.key))


def _taken(value: Any, below: tuple[Selected, ...] | None) -> Any:
    """Cut a value to what is selected of it; what is not there is null."""
    if below is None or value is None:
        return value
    if type(value) is list:
        return [_taken(each, below) for each in value]
    if type(value) is not dict:
        return None
    get = value.get
    return {
        each.key: (get(each.name) if each.below is None else _taken(get(each.name), each.below))
        if each.typename is None
        else each.typename
        for each in below
    }


def _chosen(below: tuple[Selected, ...] | None) -> str | None:
    """What ``fields`` asks for, of records or of a page of them."""
    for each in below or ():
        if each.name == "items":
            return _chosen(each.below)
    names = {each.name for each in below or () if each.typename is None} - _ALWAYS
    return ",".join(sorted(names)) or None


# What records have whether or not it is asked for, and what stands beside them.
_ALWAYS = frozenset({"expand", "next_cursor", "total", "total_is"})


def _texts(value: Any) -> str | list[str]:
    """A parameter as an address would hold it."""
    return [_text(each) for each in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()

"""GraphQL over HTTP: what a request asks, and in which form it is answered."""

from typing import Any

import msgspec
from graphql import GraphQLError

from mainspring.interfaces.graphql.endpoint import DocumentRefused
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.rest.arguments import query_fields, require_json
from mainspring.kernel.errors import Failure, Malformed, NotAcceptable, UnsupportedMedia
from mainspring.kernel.json_reader import reader_of

RESPONSE = "application/graphql-response+json"
JSON = "application/json"

_JSON_WANTED = frozenset({JSON, "application/*", "*/*"})
_MEMBERS = {"query": str, "operationName": str, "variables": dict, "extensions": dict}
_KINDS = {str: "text", dict: "an object"}
Json = dict[str, Any]


class GraphqlRequest(msgspec.Struct, frozen=True):
    """A document, which of its operations is meant, and its variables."""

    query: str
    operation_name: str | None
    variables: Json


def accepted(accept: str | None) -> str:
    """Return the media type to answer in. Raises NotAcceptable."""
    if accept is None or not accept.strip():
        return JSON
    best, found = 0.0, None
    for part in accept.split(",")[:50]:
        kind, _, parameters = part.strip().lower().partition(";")
        weight = _weight(parameters)
        made = RESPONSE if kind.strip() == RESPONSE else JSON
        if weight > best and (made == RESPONSE or kind.strip() in _JSON_WANTED):
            best, found = weight, made
    if found is None:
        raise NotAcceptable(f"send Accept: {RESPONSE}, or {JSON}")
    return found


def _weight(parameters: str) -> float:
    for each in parameters.split(";"):
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def read_posted(exchange: Exchange, body: bytes) -> GraphqlRequest:
    """Read a request out of a body. Raises Malformed, UnsupportedMedia.

    JSON alone is taken: a page elsewhere cannot send that without having been let by CORS.
    """
    if exchange.content_type is None:
        raise UnsupportedMedia("send Content-Type: application/json", headers={"Accept": JSON})
    require_json(exchange.content_type)
    if not body:
        raise Malformed('a JSON body is required: {"query": "{ __typename }"}')
    given = reader_of(Any).read(msgspec.Raw(body))
    if isinstance(given, list):
        raise Malformed("send one document per request: batches are not taken")
    if not isinstance(given, dict):
        raise Malformed('the body is an object: {"query": "{ __typename }"}')
    return _request(given)


def read_queried(query: bytes) -> GraphqlRequest:
    """Read a request out of an address. Raises Malformed, Invalid."""
    given: Json = dict(query_fields(query))
    for name in ("variables", "extensions"):
        text = given.get(name)
        if isinstance(text, str):
            try:
                given[name] = reader_of(Any).read(msgspec.Raw(text.encode())) if text else None
            except Failure:
                raise Malformed(f"{name} is a JSON object, written into the address") from None
    return _request(given)


def _request(given: Json) -> GraphqlRequest:
    for name, kind in _MEMBERS.items():
        value = given.get(name)
        if value is not None and not isinstance(value, kind):
            raise Malformed(f"{name} is {_KINDS[kind]}, or left out")
    if given.get("query") is None:
        raise Malformed("query is missing: the text of the document")
    return GraphqlRequest(
        given["query"], given.get("operationName") or None, given.get("variables") or {}
    )


def refusal_of(failure: Failure, request_id: str) -> Json:
    """Write a request that was not run: errors and no data."""
    extensions = {"code": failure.code, "status": failure.status, "request_id": request_id}
    found = failure.found if isinstance(failure, DocumentRefused) else ()
    if not found:
        return {"errors": [{"message": failure.detail, "extensions": extensions}]}
    return {"errors": [{**_located(error), "extensions": extensions} for error in found]}


def _located(error: GraphQLError) -> Json:
    places = [{"line": each.line, "column": each.column} for each in error.locations or ()]
    return {"message": error.message, **({"locations": places} if places else {})}

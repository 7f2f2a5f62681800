"""JSON-RPC 2.0 as MCP has it: one message per request, read with bounds, answered or refused."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.interfaces.http.problem import body_of
from mainspring.kernel.errors import Failure, Invalid, Malformed
from mainspring.kernel.json_reader import reader_of

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
LEGACY_NOT_FOUND = -32002  # of a resource, up to 2025-11-25

# What an HTTP status says of an error where the revision asks for one.
_STATUSES = {METHOD_NOT_FOUND: 404}

_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]
MessageId = str | int


class _Wire(msgspec.Struct, frozen=True):
    jsonrpc: Any = None
    id: Any = msgspec.UNSET
    method: Any = None
    params: msgspec.Raw = msgspec.Raw(b"{}")


class RpcMessage(msgspec.Struct, frozen=True):
    """A request, or a notification, which has no id."""

    method: str
    id: MessageId | None
    params: msgspec.Raw


class Params(msgspec.Struct, frozen=True):
    """The parameters that count here, of whatever method. Others are not looked at."""

    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")
    name: Any = None
    uri: Any = None
    cursor: Any = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    protocol_version: Any = msgspec.field(default=None, name="protocolVersion")

    def text(self, name: str) -> str:
        """Return one that has to be a text. Raises Refusal."""
        value = getattr(self, name)
        if not isinstance(value, str):
            raise Refusal(INVALID_PARAMS, f"params.{name} is a text")
        return value


class RpcReply(msgspec.Struct, frozen=True):
    """What goes back over HTTP. Without a body it is only a status."""

    status: int
    body: bytes = b""
    secret: bool = False


class Refusal(Exception):
    """An error of JSON-RPC: what is answered in place of a result."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


def read_message(body: bytes) -> RpcMessage:
    """Read a body. Raises Refusal."""
    try:
        given: _Wire = reader_of(_Wire).read(body)
    except Malformed as failure:
        raise Refusal(PARSE_ERROR, failure.detail) from None
    except Invalid as failure:
        if body.lstrip()[:1] == b"[":
            batch = "send one message per request: batches are not taken"
            raise Refusal(INVALID_REQUEST, batch) from None
        raise Refusal(INVALID_REQUEST, _told(failure)) from None
    message_id = given.id
    if message_id is not msgspec.UNSET and type(message_id) not in {str, int}:
        raise Refusal(INVALID_REQUEST, "id is a text or a whole number")
    if given.jsonrpc != "2.0" or not isinstance(given.method, str):
        raise Refusal(
            INVALID_REQUEST, 'send a request: {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
        )
    return RpcMessage(
        given.method, None if message_id is msgspec.UNSET else message_id, given.params
    )


def read_params(params: msgspec.Raw) -> Params:
    """Read the parameters of a method. Raises Refusal."""
    try:
        read: Params = reader_of(Params).read(params)
    except (Invalid, Malformed) as failure:
        raise Refusal(INVALID_PARAMS, _told(failure)) from None
    return read


def _told(failure: Failure) -> str:
    found = "; ".join(f"{error.pointer}: {error.detail}" for error in failure.errors[:5])
    return f"{failure.detail}: {found}" if found else failure.detail


def result_reply(message_id: MessageId, result: Mapping[str, Any], *, secret: bool) -> RpcReply:
    """Answer a request."""
    body = _encode({"jsonrpc": "2.0", "id": message_id, "result": result})
    return RpcReply(200, body, secret)


def error_reply(message_id: MessageId | None, refusal: Refusal, *, modern: bool) -> RpcReply:
    """Refuse a message: with the HTTP status of its kind, as the stateless revision has it."""
    status = 200
    if modern or message_id is None:
        status = _STATUSES.get(refusal.code, 400 if refusal.code < 0 else 200)
    error: Json = {"code": refusal.code, "message": refusal.message}
    if refusal.data is not None:
        error["data"] = refusal.data
    return RpcReply(status, _encode({"jsonrpc": "2.0", "id": message_id, "error": error}))


def problem_of(failure: Failure, request_id: str) -> bytes:
    """The problem document of a failure, as REST answers it."""
    return body_of(failure, instance="/mcp", request_id=request_id)

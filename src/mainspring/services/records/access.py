"""Who may do what with a record: the scope lets in everywhere, a rule row by row."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mainspring.gateway.faults import explain
from mainspring.kernel.call import Call, Caller
from mainspring.kernel.cel import Program
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Failure, Fault, Invalid, NotFound
from mainspring.services.records.catalog import denied
from mainspring.services.records.model import Compiled

READ, WRITE = "records:read", "records:write"
Action = Literal["list", "view", "create", "update", "delete"]

_METHODS = {"list": "GET", "view": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}


def scope_of(action: Action) -> str:
    """The scope that stands above the rule."""
    return READ if action in ("list", "view") else WRITE


def rule_for(call: Call, collection: Compiled, action: Action) -> Program | None:
    """The rule this caller has to pass; None when the scope lets it in.

    Raises Unauthenticated or Forbidden when there is neither.
    """
    scope = scope_of(action)
    if call.caller.allows(scope):
        return None
    rule = collection.rules.get(action)
    if rule is None:
        raise denied(call, scope)
    return rule


def context(
    call: Call, action: Action, asks: frozenset[str], body: msgspec.Raw | None = None
) -> dict[str, Any]:
    """What rules and filters know of the call, as far as they ask.

    Raises Invalid for a number in the body beyond a double.
    """
    known: dict[str, Any] = {}
    if "caller" in asks:
        known["caller"] = _who(call.caller)
    if "request" in asks:
        known["request"] = {"method": _METHODS[action], "data": _decoded(body)}
    if "now" in asks:
        known["now"] = rfc3339(call.now_ms)
    return known


def _who(caller: Caller) -> dict[str, Any]:
    """A caller as rules see it: one who is nobody has no scopes, rather than none of them."""
    somebody = caller.kind != "anonymous"
    return {
        "id": caller.id,
        "kind": caller.kind,
        "scopes": sorted(caller.scopes) if somebody else None,
        "known": somebody or None,
    }


def _decoded(body: msgspec.Raw | None) -> Any:
    try:
        return None if body is None else msgspec.json.decode(body)
    except msgspec.ValidationError as error:  # a raw body was only scanned for its syntax
        pointer, detail = explain(error)
        raise Invalid("the record does not fit", faults=(Fault(pointer, detail),)) from None


def require(
    call: Call,
    collection: Compiled,
    action: Action,
    record: Mapping[str, Any],
    body: msgspec.Raw | None = None,
) -> None:
    """Raise unless the caller may do this with this record.

    A record that the caller may not even view is NotFound.
    """
    rule = rule_for(call, collection, action)
    if rule is None or rule.test(record, context(call, action, rule.asks_context, body)):
        return
    if action == "create":
        raise denied(call, WRITE)
    raise _hidden(call, collection, action, record)


def may_view(call: Call, collection: Compiled, record: Mapping[str, Any]) -> bool:
    """Tell whether the caller may see this record."""
    if call.caller.allows(READ):
        return True
    rule = collection.rules.get("view")
    return rule is not None and rule.test(record, context(call, "view", rule.asks_context))


def _hidden(call: Call, collection: Compiled, action: Action, record: Mapping[str, Any]) -> Failure:
    if action != "view" and may_view(call, collection, record):
        return denied(call, WRITE)
    return NotFound("no such record")

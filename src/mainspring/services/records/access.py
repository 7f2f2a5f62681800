"""Who may do what with a record: the scope lets in everywhere, a rule row by row."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from mainspring import Call, Caller, Forbidden, rfc3339
from mainspring.cel import Program
from mainspring.kernel.errors import Hidden
from mainspring.services.records.api import READ, WRITE
from mainspring.services.records.model import CompiledCollection, changed
from mainspring.services.records.schema_cache import denied

Action = Literal["list", "view", "create", "update", "delete"]

_METHODS = {"list": "GET", "view": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}


def scope_of(action: Action) -> str:
    """The scope that stands above the rule."""
    return READ if action in ("list", "view") else WRITE


def rule_for(call: Call, collection: CompiledCollection, action: Action) -> Program | None:
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
    call: Call,
    action: Action,
    asks: frozenset[str],
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
) -> dict[str, Any]:
    """What rules and filters know of the call, as far as they ask."""
    known: dict[str, Any] = {}
    if "caller" in asks:
        known["caller"] = _who(call.caller)
    if "request" in asks:
        known["request"] = {
            "method": _METHODS[action], "data": _decoded(body), "changes": sorted(changes)
        }  # fmt: skip
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
    """What was sent; null where it cannot be read, which reading it as a record tells."""
    try:
        return None if body is None else msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def holds(
    call: Call,
    rule: Program | None,
    action: Action,
    record: Mapping[str, Any],
    *,
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
) -> bool:
    """Tell whether a rule lets this caller do this; without one it may."""
    if rule is None:
        return True
    return rule.test(record, context(call, action, rule.asks_context, body, changes))


def require(
    call: Call,
    collection: CompiledCollection,
    action: Action,
    record: Mapping[str, Any],
    *,
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
    pointer: str = "",
) -> None:
    """Raise unless the caller may do this with this record, as it is or is to be created.

    A record that the caller may not even view is Hidden, which is told as NotFound.
    """
    rule = rule_for(call, collection, action)
    if holds(call, rule, action, record, body=body, changes=changes):
        return
    if action == "create" or (action != "view" and may_view(call, collection, record)):
        raise denied(call, WRITE)
    raise Hidden(nowhere(pointer))


def require_change(
    call: Call,
    collection: CompiledCollection,
    record: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    body: msgspec.Raw | None = None,
    pointer: str = "",
) -> None:
    """Raise unless the caller may change this record, and may make of it what these values do.

    ``updated_at`` is in both as it is: what the platform sets is no change of the caller's.
    """
    rule = rule_for(call, collection, "update")
    if rule is None:
        return
    changes = changed(record, values)
    require(call, collection, "update", record, body=body, changes=changes, pointer=pointer)
    known = context(call, "update", rule.asks_context, body, changes)
    if changes and not rule.test({**record, **values}, known):
        if call.caller.kind == "anonymous":
            raise denied(call, WRITE)
        raise Forbidden("the collection's update rule does not allow what the record would become")


def nowhere(pointer: str = "") -> str:
    """What is said where there is no record, or none that the caller may know of."""
    return f"no such record{pointer and f' ({pointer})'}"


def may_view(call: Call, collection: CompiledCollection, record: Mapping[str, Any]) -> bool:
    """Tell whether the caller may see this record."""
    if call.caller.allows(READ):
        return True
    rule = collection.rules.get("view")
    return rule is not None and rule.test(record, context(call, "view", rule.asks_context))

"""Who may do what with a record: the scope lets in everywhere, a rule row by row."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from mainspring import Authority, Call, Caller, Failure, Forbidden, rfc3339
from mainspring.cel.types import BEFORE
from mainspring.kernel.errors import Hidden
from mainspring.services.records import reach
from mainspring.services.records.api import READ, WRITE, Action
from mainspring.services.records.model import AccessRule, CompiledCollection, changed
from mainspring.services.records.schema_cache import denied

Record = Mapping[str, Any]
_PERSONAL = frozenset({
    "caller.user", "caller.email", "caller.email_verified", "caller.roles", "caller.profile",
})  # fmt: skip
_ORGANIZATIONS, _BY_ROLE = "caller.organizations", "caller.organizations_by_role."

_METHODS = {"list": "GET", "view": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}


def scope_of(action: Action) -> str:
    """The scope that stands above the rule."""
    return READ if action in ("list", "view") else WRITE


def rule_for(call: Call, collection: CompiledCollection, action: Action) -> AccessRule | None:
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


def has_way(call: Call, collection: CompiledCollection, action: Action) -> bool:
    """Tell whether this caller may do this with any record, as far as that can be told."""
    return call.caller.allows(scope_of(action)) or action in collection.rules


async def context(
    call: Call,
    action: Action,
    asks: frozenset[str],
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
    caller: Caller | None = None,
    before: Record | None = None,
) -> dict[str, Any]:
    """What rules and filters know of the call, as far as they ask; or if ``caller`` made it.

    ``before`` is the record as it is stored, where one is changed.
    """
    known: dict[str, Any] = {}
    if BEFORE in asks:
        known[BEFORE] = None if before is None else dict(before)
    if "caller" in asks:
        caller = caller or call.caller
        known["caller"] = _who(caller)
        belonging = {name for name in asks if name.startswith(_ORGANIZATIONS)}
        if belonging or not _PERSONAL.isdisjoint(asks):
            known["caller"] |= await person(call, caller)
        if belonging and (user := known["caller"].get("user")) is not None:
            known["caller"] |= await _organizations(call, user, belonging)
    if "request" in asks:
        known["request"] = {
            "method": _METHODS[action], "data": _decoded(body), "changes": sorted(changes)
        }  # fmt: skip
    if "now" in asks:
        known["now"] = rfc3339(call.now_ms)
    return known


async def person(call: Call, caller: Caller) -> dict[str, Any]:
    """The user behind a caller, as far as there is one: else nothing is known of them."""
    id, authority = caller.id, call.use(Authority)
    person = (
        None if id is None else await authority.person(call.reader, id, call.tenant, call.now_ms)
    )
    if person is None:
        return {}
    return {
        "user": person.id, "email": person.email, "email_verified": person.email_verified,
        "roles": person.roles, "profile": person.profile,
    }  # fmt: skip


async def _organizations(call: Call, user: str, asks: Collection[str]) -> dict[str, Any]:
    """The organisations that a user belongs to, and in which as what: as far as that is asked.

    Who has a role nowhere has it in none of them, which is a list without items.
    """
    found = await call.use(Authority).memberships(call.reader, user, call.tenant)
    roles = [name.removeprefix(_BY_ROLE) for name in asks if name.startswith(_BY_ROLE)]
    by_role = {
        role: tuple(one.organization_id for one in found if one.role == role) for role in roles
    }
    return {
        "organizations": tuple(one.organization_id for one in found),
        "organizations_by_role": by_role,
    }


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


async def passing(
    call: Call,
    collection: CompiledCollection,
    rule: AccessRule | None,
    action: Action,
    records: Sequence[Record],
    *,
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
    hold: bool = False,
    before: Record | None = None,
) -> list[bool]:
    """Tell which records a rule lets this caller do this with; without one it may with all.

    What changes is ``before`` and what it would become.

    A rule may reach other records. With ``hold`` it is asked again in the commit, of which the
    caller's write is a part: what it asks for does not change in between.
    """
    if rule is None:
        return [True] * len(records)
    program = rule.program
    if program is not None:
        known = await context(call, action, program.asks_context, body, changes, before=before)
        return [program.test(record, known) for record in records]
    reached = await reach.rule_of(call, collection, rule)
    asks = reached.program.asks_context
    known = await context(call, action, asks, body, changes, before=before)
    return await reach.judge(call, collection, reached, known, records, action, hold=hold)


async def require(
    call: Call,
    collection: CompiledCollection,
    action: Action,
    record: Record,
    *,
    body: msgspec.Raw | None = None,
    changes: Collection[str] = (),
    pointer: str = "",
    hold: bool = False,
) -> None:
    """Raise unless the caller may do this with this record, as it is or is to be created.

    A record that the caller may not even view is Hidden, which is told as NotFound.
    """
    rule = rule_for(call, collection, action)
    before = record if action == "update" else None
    passed = await passing(
        call, collection, rule, action, [record], body=body, changes=changes, hold=hold,
        before=before,
    )  # fmt: skip
    if not passed[0]:
        raise await _refusal(call, collection, action, record, pointer)


async def _refusal(
    call: Call, collection: CompiledCollection, action: Action, record: Record, pointer: str
) -> Failure:
    seen = action == "create" or (action != "view" and await may_view(call, collection, record))
    return denied(call, WRITE) if seen else Hidden(nowhere(pointer))


async def require_change(
    call: Call,
    collection: CompiledCollection,
    record: Record,
    values: Record,
    *,
    body: msgspec.Raw | None = None,
    pointer: str = "",
    stamps: Record | None = None,
    touched: Collection[str] = (),
) -> None:
    """Raise unless the caller may change this record, and may make of it what these values do.

    ``updated_at`` is in both as it is: what the platform sets is no change of the caller's, nor are
    ``stamps``, which the rule sees. ``touched`` fields count as changed whatever they become.
    """
    rule = rule_for(call, collection, "update")
    if rule is None:
        return
    changes = list(dict.fromkeys([*changed(record, values), *touched]))
    judged = [record, {**record, **values, **(stamps or {})}] if changes else [record]
    passed = await passing(
        call, collection, rule, "update", judged, body=body, changes=changes, hold=True,
        before=record,
    )  # fmt: skip
    if not passed[0]:
        raise await _refusal(call, collection, "update", record, pointer)
    if not passed[-1]:
        if call.caller.kind == "anonymous":
            raise denied(call, WRITE)
        raise Forbidden("the collection's update rule does not allow what the record would become")


def nowhere(pointer: str = "") -> str:
    """What is said where there is no record, or none that the caller may know of."""
    return f"no such record{pointer and f' ({pointer})'}"


async def may_view(call: Call, collection: CompiledCollection, record: Record) -> bool:
    """Tell whether the caller may see this record."""
    return (await viewable(call, collection, [record]))[0]


async def viewable(
    call: Call, collection: CompiledCollection, records: Sequence[Record]
) -> list[bool]:
    """Tell which of these records the caller may see."""
    if call.caller.allows(READ):
        return [True] * len(records)
    rule = collection.rules.get("view")
    if rule is None:
        return [False] * len(records)
    return await passing(call, collection, rule, "view", records)

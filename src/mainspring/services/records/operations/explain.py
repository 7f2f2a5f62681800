"""Why a caller may do something, or may not: the rule taken apart, each part judged by itself."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from mainspring import Authority, Call, Caller, Invalid, NotFound, handles
from mainspring.cel import Program, compile_cel, parts
from mainspring.kernel.caller import ANONYMOUS
from mainspring.services.records import access, api, chosen_ids, field_rights, reach, stamps
from mainspring.services.records.guards import names_of
from mainspring.services.records.model import CompiledCollection, changed
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import RECORD

Which = Literal["as_it_is", "as_it_would_be"]


class _Case(msgspec.Struct, frozen=True):
    """The records that a rule is asked about, and what the call would have brought."""

    records: Sequence[tuple[Which, Mapping[str, Any]]]
    body: msgspec.Raw | None = None
    changes: Sequence[str] = ()
    before: Mapping[str, Any] | None = None


@handles(api.explain_rule)
async def explain_rule(
    call: Call, collection: str, question: api.RuleQuestion
) -> api.RuleExplanation:
    found = await named(call, collection, api.EXPLAIN)
    caller = await _caller(call, question.caller)
    case = await _case(call, found, question, caller)
    scope, rule = access.scope_of(question.action), found.rules.get(question.action)
    source = None if rule is None else rule.source
    if caller.allows(scope):
        return api.RuleExplanation(True, "scope", scope, source, [])
    fields = await _fields(call, found, question.action, caller, case)
    if source is None:
        return api.RuleExplanation(False, "no_rule", scope, None, [], fields)
    judgements = [
        await _judgement(call, found, source, question.action, caller, case, which, record)
        for which, record in case.records
    ]
    allowed = all(judgement.holds for judgement in judgements)
    if allowed and any(field.right == "write" and not field.allowed for field in fields):
        return api.RuleExplanation(False, "field", scope, source, judgements, fields)
    return api.RuleExplanation(allowed, "rule", scope, source, judgements, fields)


async def _caller(call: Call, id: str | None) -> Caller:
    """Return the caller that is asked about, with the scopes it holds now. Raises Invalid."""
    if id is None:
        return call.caller
    if id == api.NOBODY:
        return ANONYMOUS
    found = await call.use(Authority).current(id, call.tenant, call.now_ms)
    if found is None:
        raise Invalid.at(
            "/caller",
            f"cannot call now: name a user, an API key that is good, or {api.NOBODY!r}",
        )
    return found


async def _case(
    call: Call, collection: CompiledCollection, question: api.RuleQuestion, caller: Caller
) -> _Case:
    """Work out what the rule would be asked. Raises Invalid, NotFound."""
    action = question.action
    body = None if question.data is UNSET else question.data
    if (action == "create") != (question.record is None):
        fits = "leave it out: a new record has none" if action == "create" else "name the record"
        raise Invalid.at("/record", fits)
    if body is not None and action not in ("create", "update"):
        raise Invalid.at("/data", f"leave it out: a {action} brings none")
    if question.record is None:
        values = collection.read_new(body or msgspec.Raw(b"{}"), "/data", with_id=True)
        record_id = chosen_ids.of_new(call, values, "/data")
        stamped = await stamps.of_new(call, collection, values, "/data", caller)
        made = collection.represent(record_id, None, {**values, **stamped})
        return _Case([("as_it_would_be", made)], body, changed(collection.unset, values))
    found = await call.find(RECORD, tenant=call.tenant, name=collection.name, id=question.record)
    if found is None or found.data is None:
        raise NotFound("no such record")
    record = collection.read(found.data, found.schema_version)
    values = {} if body is None else collection.read_change(body, record, "/data")
    withheld = (await field_rights.sight(call, collection, caller)).withheld(record)
    touched = [name for name in values if name in withheld]
    changes = field_rights.changes_of(record, values, touched)
    stamped = await stamps.of_change(
        call, collection, record, values, "/data", caller, touched=touched
    )
    then: list[tuple[Which, Mapping[str, Any]]] = (
        [("as_it_would_be", {**record, **values, **stamped})] if changes else []
    )
    return _Case([("as_it_is", record), *then], body, changes, record)


async def _judgement(
    call: Call,
    collection: CompiledCollection,
    source: str,
    action: api.Action,
    caller: Caller,
    case: _Case,
    which: Which,
    record: Mapping[str, Any],
) -> api.Judgement:
    async def holds(expression: str) -> bool:
        reached = await reach.compiled_with(
            call, collection, expression, f"/rules/{action}", action=action
        )
        program = reached.program
        known = await access.context(
            call, action, program.asks_context, case.body, case.changes, caller, case.before
        )
        if not program.reaches:
            return program.test(record, known)
        judged = await reach.judge(call, collection, reached, known, [record], action, hold=False)
        return judged[0]

    return await _taken_apart(which, source, holds)


async def _taken_apart(
    which: Which, source: str, holds: Callable[[str], Awaitable[bool]]
) -> api.Judgement:
    judged = [
        api.JudgedPart(part.source, part.at + 1, await holds(part.source)) for part in parts(source)
    ]
    return api.Judgement(which, await holds(source), judged)


async def _fields(
    call: Call, collection: CompiledCollection, action: api.Action, caller: Caller, case: _Case
) -> list[api.FieldExplanation]:
    """Judge the rules of the fields that are shown or written, for who lacks the scope."""
    if action in ("list", "view"):
        reading = [(guard.field, guard.read) for guard in collection.withholding]
        return [await _field(call, collection, *each, "read", caller, case) for each in reading]
    if action == "delete":
        return []
    return [
        await _field(call, collection, guard.field, guard.write, "write", caller, case)
        for guard in collection.guards
        if guard.write is not None and guard.field in case.changes
    ]


async def _field(
    call: Call,
    collection: CompiledCollection,
    field: str,
    rule: Program | None,
    right: Literal["read", "write"],
    caller: Caller,
    case: _Case,
) -> api.FieldExplanation:
    if rule is None:  # it is hidden
        return api.FieldExplanation(field, right, False, None, [])
    names = names_of(right, collection.shape.names())
    writes: api.Action = "create" if case.before is None else "update"
    action: api.Action = "view" if right == "read" else writes
    judgements = []
    for which, record in case.records:

        async def holds(expression: str, record: Mapping[str, Any] = record) -> bool:
            program = compile_cel(expression, names)
            known = await access.context(
                call, action, program.asks_context, case.body, case.changes, caller, case.before
            )
            return program.test(record, known)

        judgements.append(await _taken_apart(which, rule.source, holds))
    allowed = all(judgement.holds for judgement in judgements)
    return api.FieldExplanation(field, right, allowed, rule.source, judgements)

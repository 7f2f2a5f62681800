"""Writes in several collections as one commit, each judged after the ones before it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring import Call, Failure, FieldError, Invalid, Transaction, handles
from mainspring.kernel.json_reader import unreadable
from mainspring.services.records import access, api, ending, presenter
from mainspring.services.records.api import steps as contract
from mainspring.services.records.operations.records import (
    Current,
    change_record,
    create,
    current_record,
    may_change,
    upsert,
)
from mainspring.services.records.schema_cache import named

Answered = Mapping[str, Any]  # what of a step's answer its caller may know


@handles(contract.batch_steps, shows=presenter.steps_again)
async def batch_steps(call: Call, batch: contract.Steps) -> api.BatchAnswer:
    assert isinstance(call, Transaction)  # as it is declared
    known: dict[str, Answered] = {}
    answers: list[msgspec.Raw | None] = []
    counted = changed_bytes = 0
    for i, step in enumerate(batch.steps):
        pointer = f"/steps/{i}"
        try:
            _require_whole(step, known, pointer)
            told, answer = await _take(call, step, known, pointer)
            await call.apply()
            changed_bytes += sum(len(event.json) for event in call.events[counted:])
            counted = len(call.events)
            if changed_bytes > api.BATCH_BYTES_MAX:
                most = api.BATCH_BYTES_MAX
                raise Invalid.at(
                    pointer, f"up to here more than {most} bytes of records change: send fewer"
                )
        except Failure as failure:
            _locate(failure, pointer)
            raise
        if step.name is not None:
            known[step.name] = told
        answers.append(answer)
    return api.BatchAnswer(answers)


def _require_whole(step: contract.Step, known: Mapping[str, Answered], pointer: str) -> None:
    """Raise Invalid for a step that names too much or too little."""
    if (step.action == "upsert") != (step.by is not None):
        raise Invalid.at(f"{pointer}/by", "name the unique field to upsert by; else leave it out")
    if (step.action in ("create", "upsert")) != (step.id is None):
        fits = "leave it out to create; name the record to update or delete it"
        raise Invalid.at(f"{pointer}/id", fits)
    if step.name in known:
        raise Invalid.at(f"{pointer}/name", "an earlier step has this name: choose another")


async def _take(
    call: Call, step: contract.Step, known: Mapping[str, Answered], pointer: str
) -> tuple[Answered, msgspec.Raw | None]:
    """Stage one step. Returns what its caller may know of the record, and what is answered."""
    data = _filled(step.data, known, f"{pointer}/data")
    if step.id is not None:
        id = step.id
        if isinstance(id, contract.StepValue):
            id = str(_value(id.ref, known, f"{pointer}/id"))
        assert step.action in ("update", "delete")  # else it has been refused
        current = await current_record(call, step.collection, id, step.action, pointer)
        answer = await _change(call, current, step.action, data, pointer)
        return _told(answer, {"id": id}), answer
    collection = await named(call, step.collection, api.WRITE)
    if step.by is not None:
        response = await upsert(call, collection, step.by, data, pointer, "/data")
        # Who may not view what they changed is not told which record it was, but what they made.
        location = dict(response.headers).get("Location")
        made_id = {} if location is None else {"id": location.rpartition("/")[2]}
        return _told(response.body or None, made_id), response.body or None
    access.rule_for(call, collection, "create")
    made, raw = await create(call, collection, data, f"{pointer}/data")
    shown = await presenter.seen(call, collection, made, raw)
    return _told(shown, {"id": made["id"]}), shown


async def _change(
    call: Call, current: Current, action: api.Action, data: msgspec.Raw, pointer: str
) -> msgspec.Raw | None:
    collection, record = current.collection, current.record
    if action == "delete":
        await access.require(call, collection, "delete", record, pointer=pointer, hold=True)
        await ending.end(call, collection, record, current.version)
        return None
    values = await may_change(call, current, data, pointer, "/data")
    return (await change_record(call, current, values, f"{pointer}/data")).body or None


def _told(answer: msgspec.Raw | None, otherwise: Answered) -> Answered:
    if answer is None:
        return otherwise
    told: Answered = msgspec.json.decode(answer)
    return told


def _filled(data: msgspec.Raw, known: Mapping[str, Answered], pointer: str) -> msgspec.Raw:
    """Put in the place of ``$ref`` what earlier steps answered. Raises Invalid."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(bytes(data), error) from None
    if not isinstance(body, dict) or "$ref" not in body:
        return data
    refs = body.pop("$ref")
    if not isinstance(refs, dict) or not all(isinstance(ref, str) for ref in refs.values()):
        raise Invalid.at(f"{pointer}/$ref", 'fits fields and earlier steps: {"order": "order.id"}')
    for field, ref in refs.items():
        at = f"{pointer}/$ref/{field}"
        if field in body:
            raise Invalid.at(at, f"{field!r} has a value beside it: send one of them")
        body[field] = _value(ref, known, at)
    return msgspec.Raw(msgspec.json.encode(body))


def _value(ref: str, known: Mapping[str, Answered], pointer: str) -> Any:
    """Return what an earlier step answered. Raises Invalid."""
    step, _, member = ref.partition(".")
    if step not in known:
        raise Invalid.at(pointer, f"no earlier step is named {step!r}")
    if member not in known[step]:
        raise Invalid.at(pointer, f"the step {step!r} answered no {member!r}")
    return known[step][member]


def _locate(failure: Failure, pointer: str) -> None:
    """Say of a failure in which step it was, where it does not say so itself."""
    if not any(f"{error.pointer}/".startswith(f"{pointer}/") for error in failure.errors):
        failure.errors = (FieldError(pointer, failure.detail), *failure.errors)

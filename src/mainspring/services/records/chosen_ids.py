"""Ids that callers choose for new records: of a moment that can be, and nobody's, now or before.

Its own room because an id that is given again would hand its second record what the first one left
behind: links from outside, tags that clients keep, and the events that tell of both.
"""

from typing import Any

import msgspec

from mainspring import Call, EventLog, Invalid, is_id
from mainspring.services.records.api import WRITE, IdTaken
from mainspring.services.records.body_structs import ID_FITS
from mainspring.services.records.fields import RECORD_PREFIX
from mainspring.services.records.model import UNFIT, CompiledCollection, created_ms
from mainspring.services.records.store import DATA, HEAD
from mainspring.services.records.visibility import RECORD_EVENTS, time_of

APART_MS = 5 * 60 * 1000  # that a caller's clock may be ahead, or behind where it is to be now


class _About(msgspec.Struct, frozen=True):
    collection: str


def of_new(call: Call, values: dict[str, Any], pointer: str = "") -> str:
    """Take the id out of what was sent, or make one. Raises Invalid where its moment cannot be.

    Its moment is the record's ``created_at``, which rules may go by: so only who holds
    ``records:write`` says that something was made long ago.
    """
    chosen: str | None = values.pop("id", None)
    if chosen is None:
        return call.new_id(RECORD_PREFIX)
    moment_ms = created_ms(chosen)
    problem = ""
    if not is_id(chosen, RECORD_PREFIX):  # a pattern takes a line break at its end
        problem = ID_FITS
    elif moment_ms > call.now_ms + APART_MS:
        problem = "is of a moment to come: make it with the time of now"
    elif moment_ms < call.now_ms - APART_MS and not call.caller.allows(WRITE):
        problem = (
            f"is of a moment more than {APART_MS // 60_000} minutes ago, which takes {WRITE}: "
            "make it with the time of now"
        )
    if problem:
        raise Invalid.at(f"{pointer}/id", problem, UNFIT)
    return chosen


def of_changed(values: dict[str, Any], record_id: str, pointer: str = "") -> None:
    """Take the id out of what is to change a record, which keeps its own. Raises Invalid."""
    if values.pop("id", record_id) != record_id:
        raise Invalid.at(f"{pointer}/id", "the record that is found has another: leave it out")


async def require_free(
    call: Call, collection: CompiledCollection, record_id: str, pointer: str = ""
) -> None:
    """Raise IdTaken for an id that a record has, or has had while its collection was there.

    Both are told alike. Who may see which of the two it is reads the record.
    """
    if (
        await call.find(DATA, collection=collection.id, id=record_id) is not None
        or await _was_used(call, record_id)
    ):  # fmt: skip
        raise taken(pointer)


def taken(pointer: str) -> IdTaken:
    """Say that an id cannot be had."""
    return IdTaken.at(
        f"{pointer}/id", "is or was the id of a record: choose another", "the id is taken"
    )


async def _was_used(call: Call, record_id: str) -> bool:
    """Tell whether an event tells of a record with this id, in a collection that is there."""
    event = await call.use(EventLog).last_about(call, record_id, RECORD_EVENTS)
    if event is None:
        return False
    name = msgspec.json.decode(event.data, type=_About).collection
    head = await call.find(HEAD, tenant=call.tenant, name=name)
    return head is not None and time_of(event.id) >= time_of(head.id)

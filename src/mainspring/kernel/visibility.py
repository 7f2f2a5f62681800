"""Who may read which event: the one place that the feed, webhooks and the audit trail ask.

The scope of an operation (``events:read``, ``audit:read``, ``webhooks:write``) lets a caller in. It
shows nothing of what happened elsewhere: for that the caller holds the scope which the type of an
event declares, or passes the judgement of the service it comes from.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from mainspring.kernel.authority import Authority
from mainspring.kernel.call import ANONYMOUS, SYSTEM, Call, Caller
from mainspring.kernel.event import Envelope, EventType, envelope
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import Judge

PERSONAL_SCOPE = "events:personal"  # who has it sees personal fields of what it may read
_ALWAYS = {caller.actor: caller for caller in (ANONYMOUS, SYSTEM)}


class Logged(Protocol):
    """An event as far as it takes to judge it."""

    @property
    def seq(self) -> int:
        """Its place."""
        ...

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def type(self) -> str:
        """What happened."""
        ...

    @property
    def body(self) -> str:
        """The event without its place."""
        ...


class Visibility:
    """What the caller of a call may read. What lasts makes a new one whenever it asks again."""

    __slots__ = ("_by_type", "_call", "_registry")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._registry = call.use(Registry)
        self._by_type: dict[str, bool] = {}  # as many as there are types of event

    @property
    def personal(self) -> bool:
        """Whether personal fields are shown."""
        return self._call.caller.allows(PERSONAL_SCOPE)

    def shows_type(self, event_type: str) -> bool:
        """Tell whether a scope shows every event of this type."""
        shown = self._by_type.get(event_type)
        if shown is None:
            scope = scope_of(self._registry.events, event_type)
            shown = self._by_type[event_type] = self._call.caller.allows(scope)
        return shown

    async def shows(self, event: Logged | Envelope) -> bool:
        """Tell whether a scope, or the judgement of the event's service, shows all of this one."""
        return await self.withheld(event) == ()

    async def withheld(self, event: Logged | Envelope) -> Collection[str] | None:
        """Tell which members of its data are left out of this one; None where it is not shown."""
        if event.tenant != self._call.tenant:
            return None
        if self.shows_type(event.type):
            return ()
        judge = self._judge_of(event.type)
        if judge is None:
            return None
        told = event if isinstance(event, Envelope) else envelope(event.body, event.seq or None)
        verdict = await judge(self._call, told)
        if isinstance(verdict, bool):
            return () if verdict else None
        return tuple(verdict)

    def unasked(self, event_type: str) -> Sequence[str]:
        """Return the members of data that no filter of the caller's asks for.

        Those are what may be withheld of an event that takes a judgement: a filter would tell.
        """
        declared = self._registry.events.get(event_type)
        if declared is None or not declared.withholds or self.shows_type(event_type):
            return ()
        return declared.withholds

    def is_judged(self, event_type: str) -> bool:
        """Tell whether it takes a judgement to say whether an event of this type is shown."""
        return not self.shows_type(event_type) and self._judge_of(event_type) is not None

    def _judge_of(self, event_type: str) -> Judge | None:
        service = self._registry.services.get(event_type.partition(".")[0])
        return None if service is None else service.judge


def scope_of(events: Mapping[str, EventType[object]], event_type: str) -> str:
    """Return the scope that shows events of a type; one that nobody declares is its service's."""
    declared = events.get(event_type)
    return declared.scope if declared else f"{event_type.partition('.')[0]}:read"


async def acting_for(call: Call, actor: str) -> Call | None:
    """Return a call, to read with, of somebody who acts later; None once there is no such caller.

    What the platform itself does, it does as before, and so does who is nobody; a service with what
    it declares to act with.
    """
    caller: Caller | None
    if actor in _ALWAYS:
        caller = msgspec.structs.replace(_ALWAYS[actor], tenant=call.tenant)
    elif (service := call.use(Registry).services.get(actor)) and service.scopes:
        caller = Caller("service", actor, call.tenant, service.scopes)
    else:
        caller = await call.use(Authority).current(actor, call.tenant, call.now_ms)
    return None if caller is None else call.of(caller)

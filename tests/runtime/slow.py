"""A service whose consumer never comes back, and says when it was called."""

import asyncio

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.service import Service

slow = Service("slow", doc="For these tests.")


class Called(asyncio.Event):
    """Set once the consumer was called."""


slow.provide(Called)


@slow.event("slow.thing.happened")
class ThingHappened(msgspec.Struct, frozen=True):
    id: str


@slow.on("slow.thing.happened")
async def hang(call: Call, event: ThingHappened) -> None:
    call.use(Called).set()
    await asyncio.Event().wait()

"""Retries: gives an event to a consumer's handler, and keeps the ones it could not take.

An event that was set aside is a job of the consumer's own kind: retried, then a dead letter that
can be redriven. Its unique key is the consumer and the event, so it is there once.
"""

import inspect
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from mainspring.kernel.call import Call
from mainspring.kernel.event import Envelope, envelope
from mainspring.kernel.job import Job, JobFailed
from mainspring.kernel.service import Consumer
from mainspring.ports.bus import BusEvent
from mainspring.runtime.events.field_encryption import FieldEncryption
from mainspring.runtime.tables import EVENT_BY_ID

CONSUME_TIMEOUT_S = 300.0


class ConsumerRetry:
    """Knows what each consumer's handler wants: the envelope, or its data as a struct.

    A struct comes with its personal fields readable; an envelope is as it was logged, sealed.
    Whichever bus brought an event, it is in the log, and the job names it.
    """

    __slots__ = ("_consumers", "_data_types", "_sealer", "jobs")

    def __init__(self, consumers: Iterable[Consumer], sealer: FieldEncryption) -> None:
        self._sealer = sealer
        self._consumers = {c.name: c for c in consumers}
        self._data_types = {c.name: _second_type(c) for c in self._consumers.values()}
        self.jobs = {c.name: self._job(c) for c in self._consumers.values()}

    async def handle(self, consumer: Consumer, call: Call, events: Sequence[Envelope]) -> None:
        """Run the consumer's handler on a batch of events; on one, where it takes one by one."""
        data_type = self._data_types[consumer.name]
        given: list[Any] = list(events)
        if data_type is not Envelope:
            given = [await self._sealer.read(event, data_type) for event in events]
        if consumer.batch is not None:
            await consumer.handler(call, given)
            return
        for one in given:
            await consumer.handler(call, one)

    def set_aside(self, call: Call, consumer: Consumer, event: BusEvent) -> None:
        """Stage the job that will try this event again."""
        retry = self.jobs[consumer.name].configure(
            unique_key=f"{consumer.name} {event.id}",
            run_at_ms=call.now_ms + int(consumer.retry.delay_s(1, 0.5) * 1000),
        )
        call.enqueue(retry, event_id=event.id)

    def _job(self, consumer: Consumer) -> Job[...]:
        async def consume(call: Call, event_id: str) -> None:
            found = await call.find(EVENT_BY_ID, id=event_id)
            if found is None:
                raise JobFailed(f"event {event_id} is not in the log")
            await self.handle(consumer, call, [envelope(found.body, found.seq)])

        consume.__doc__ = f"Give {consumer.name} an event that it failed on before."
        job = Job(
            f"{consumer.name}.again",
            consume,
            queue="default",
            retry=consumer.retry,
            timeout_s=CONSUME_TIMEOUT_S,
        )
        job.attach(consume)
        return job


def _second_type(consumer: Consumer) -> Any:
    hints = typing.get_type_hints(consumer.handler, include_extras=True)
    parameters = list(inspect.signature(consumer.handler).parameters)
    if len(parameters) != 2:
        raise TypeError(f"{consumer.name}: a consumer takes a call and an event")
    taken = hints[parameters[1]]
    return taken if consumer.batch is None else typing.get_args(taken)[0]

"""Everything the services of an app declare, by name."""

import re
from collections.abc import Iterable
from typing import Any

from mainspring.kernel.declaration import Misdeclared, place
from mainspring.kernel.event import EventType
from mainspring.kernel.job import Job, Schedule
from mainspring.kernel.measure import Measure
from mainspring.kernel.operation import Operation
from mainspring.kernel.service import Consumer, Service

_PARAMETER = re.compile(r"\{[^}]*\}")


class Registry:
    """Looks up operations, events, jobs and consumers. Raises ValueError on a clash of names."""

    __slots__ = (
        "consumers", "event_types", "events", "jobs", "operations", "queues", "schedules",
        "services",
    )  # fmt: skip

    def __init__(self, services: Iterable[Service]) -> None:
        self.services: dict[str, Service] = {}
        self.operations: dict[str, Operation] = {}
        self.events: dict[str, EventType[Any]] = {}
        self.event_types: dict[type, EventType[Any]] = {}
        self.jobs: dict[str, Job[...]] = {}
        self.consumers: dict[str, Consumer] = {}
        self.schedules: list[Schedule] = []
        self.queues: dict[str, int] = {}
        shapes: dict[tuple[str, str], Operation] = {}
        for service in services:
            if service.name in self.services:
                raise Misdeclared(f"two services are named {service.name!r}: rename one")
            self.services[service.name] = service
            service.load()
            for operation in service.operations.values():
                shape = (operation.method, _PARAMETER.sub("{}", operation.path))
                if other := shapes.get(shape):
                    raise Misdeclared(
                        f"{place(operation.declared)}: {operation.name} and {other.name} "
                        f"({place(other.declared)}) are both {operation.method} {operation.path}: "
                        "give one another path"
                    )
                shapes[shape] = operation
            self.operations.update(service.operations)
            self.events.update(service.events)
            self.event_types.update({e.data: e for e in service.events.values()})
            self.jobs.update(service.jobs)
            self.consumers.update(service.consumers)
            self.schedules.extend(service.schedules)
            for queue, concurrency in service.queues.items():
                if queue in self.queues:
                    raise Misdeclared(
                        f"{service.name} declares the queue {queue!r}, which another service has: "
                        f"name it {service.name}_{queue}, say"
                    )
                self.queues[queue] = concurrency

    def measures(self) -> list[Measure]:
        """Return what the services measure."""
        return [one for service in self.services.values() for one in service.measures.values()]

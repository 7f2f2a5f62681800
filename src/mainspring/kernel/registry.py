"""Everything the services of an app declare, by name."""

import re
from collections.abc import Iterable
from typing import Any

from mainspring.kernel.declaration import Misdeclared, place
from mainspring.kernel.event import EventType
from mainspring.kernel.job import PLATFORM_QUEUES, QUEUES, Job, Schedule, require_queue
from mainspring.kernel.measure import Measure
from mainspring.kernel.operation import Operation
from mainspring.kernel.policy import OWN_CLASSES, RateClass
from mainspring.kernel.resource import Resource
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.service import Consumer, Service
from mainspring.kernel.sweep import Sweep

_PARAMETER = re.compile(r"\{[^}]*\}")


class Registry:
    """Looks up operations, events, jobs and consumers. Raises ValueError on a clash of names."""

    __slots__ = (
        "consumers", "event_types", "events", "jobs", "operations", "queues", "rate_classes",
        "schedules", "services",
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
        self.rate_classes: dict[str, RateClass] = {}
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
            for name, rate_class in service.rate_classes.items():
                if name in self.rate_classes:
                    raise Misdeclared(
                        f"{service.name} declares the rate class {name!r}, which another service "
                        f"has: name it {service.name}_{name}, say"
                    )
                self.rate_classes[name] = rate_class
        self._require_rate_classes()
        for job in self.jobs.values():
            require_queue(f"{place(job.declared)}: {job.name}", job.queue, self.queue_names)

    @property
    def open_queues(self) -> frozenset[str]:
        """The queues that any job may go to."""
        return frozenset(QUEUES) | self.queues.keys()

    @property
    def queue_names(self) -> frozenset[str]:
        """Every queue that there is."""
        return self.open_queues.union(PLATFORM_QUEUES)

    def _require_rate_classes(self) -> None:
        """Raise Misdeclared for an operation that counts against what nobody declares."""
        known = OWN_CLASSES | self.rate_classes
        for operation in self.operations.values():
            rate = operation.rate
            name = rate.name if isinstance(rate, RateClass) else str(rate)
            if known.get(name) is not rate:  # one that is only like it would count nowhere
                raise Misdeclared(
                    f"{place(operation.declared)}: {operation.name} counts against the rate class "
                    f"{name!r} as no service declares it: give it RateClass.LOGIN, say, or what "
                    "service.rate_class('search', '10/s') returns"
                )

    def sweeps(self) -> list[Sweep]:
        """Return what the services keep for a time only."""
        return [sweep for service in self.services.values() for sweep in service.sweeps]

    def sealed(self) -> list[SealedColumn]:
        """Return what the services store sealed with the keyring."""
        return [column for service in self.services.values() for column in service.sealed]

    def resources(self) -> list[Resource]:
        """Return what the services provide, in their order."""
        return [resource for service in self.services.values() for resource in service.resources]

    def measures(self) -> dict[str, Measure]:
        """Return what the services measure, by name."""
        return {
            measure.name: measure
            for service in self.services.values()
            for measure in service.measures.values()
        }

"""Gauges that only others know, such as the database, read when somebody scrapes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from mainspring.kernel.table import Query
from mainspring.ports.database import Database, Replicas
from mainspring.ports.peers import OwnIdentity, Peer
from mainspring.ports.telemetry import Telemetry
from mainspring.runtime.events.lags import Lag
from mainspring.runtime.metrics.telemetry import (
    CERTIFICATE_ENDS,
    PEER_AWAY,
    PEER_PENDING,
    PEER_REFUSALS,
    PEER_RETRIES,
    REPLICA_LAG,
    REPLICA_READS,
    REPLICA_USED,
    STORE_AWAY,
    Metrics,
)

_STATES = ("scheduled", "ready", "running", "dead")


class JobCount(msgspec.Struct, frozen=True):
    """How many jobs of a queue are in a state."""

    queue: str
    state: str
    jobs: int


JOB_COUNTS = Query(
    "runtime.job_counts",
    " UNION ALL ".join(
        f"SELECT queue, '{state}' AS state, COUNT(*) AS jobs FROM jobs "
        f"WHERE state = '{state}' GROUP BY queue"
        for state in _STATES
    ),
    JobCount,
    scans=True,
)


def watch(
    metrics: Metrics,
    database: Database,
    *,
    queues: Iterable[str],
    consumer_lags: Callable[[], Awaitable[dict[str, Lag]]],
) -> None:
    """Keep the gauges of commits, consumers and queues: each scrape reads them anew."""
    database.on_group(metrics.commit_batch.observe)
    for queue in queues:
        for state in _STATES:
            metrics.jobs.of(queue, state)

    async def refresh() -> None:
        metrics.commit_queue.set(database.waiting)
        for consumer, lag in (await consumer_lags()).items():
            metrics.event_lag.of(consumer).set(lag.events)
            metrics.event_lag_seconds.of(consumer).set(lag.seconds)
        counts = {(c.queue, c.state): c.jobs for c in await database.read(JOB_COUNTS, ())}
        for labels, _ in metrics.jobs.series():
            metrics.jobs.of(*labels).set(0)
        for labels, jobs in counts.items():
            metrics.jobs.of(*labels).set(jobs)

    metrics.telemetry.before_scrape(refresh)


class Store(Protocol):
    """What calls go on without while it is away."""

    def away(self) -> str:
        """Say why it cannot be asked now; empty when it can."""
        ...


def watch_stores(telemetry: Telemetry, stores: Mapping[str, Store]) -> None:
    """Show of each of these whether it is away: each scrape looks anew."""
    gauge = telemetry.gauge(STORE_AWAY)

    async def refresh() -> None:
        for part, store in stores.items():
            gauge.of(part).set(float(bool(store.away())))

    telemetry.before_scrape(refresh)


def watch_peers(
    telemetry: Telemetry, peers: Mapping[str, Peer], identity: OwnIdentity | None
) -> Callable[[], Awaitable[None]]:
    """Show how the owners of each service stand, and when this process's certificate ends.

    Each scrape looks anew; so does who calls what this returns, for others of its crew.
    """
    away, pending = telemetry.gauge(PEER_AWAY), telemetry.gauge(PEER_PENDING)
    retries, refusals = telemetry.counter(PEER_RETRIES), telemetry.counter(PEER_REFUSALS)
    told = {service: peer.state() for service, peer in peers.items()}
    ends = None if identity is None else telemetry.gauge(CERTIFICATE_ENDS).of()

    async def refresh() -> None:
        for service, peer in peers.items():
            before, told[service] = told[service], peer.state()
            retries.of(service).add(told[service].retried - before.retried)
            refusals.of(service).add(told[service].refused - before.refused)
            for owner in told[service].owners:
                away.of(service, owner.address).set(float(owner.away))
                pending.of(service, owner.address).set(owner.pending)
        if ends is not None and identity is not None:
            ends.set(identity.expires_s())

    telemetry.before_scrape(refresh)
    return refresh


def watch_replicas(telemetry: Telemetry, replicas: Replicas) -> None:
    """Show how each replica is doing, as of each scrape."""
    used, lag = telemetry.gauge(REPLICA_USED), telemetry.gauge(REPLICA_LAG)
    reads = telemetry.counter(REPLICA_READS)
    counted: dict[tuple[str, str], int] = {}

    async def refresh() -> None:
        for one in replicas.standing():
            used.of(one.name).set(float(not one.why))
            lag.of(one.name).set(-1.0 if one.lag_s is None else one.lag_s)
            for outcome, count in (("served", one.served), ("left", one.left)):
                more = count - counted.get((one.name, outcome), 0)
                reads.of(one.name, outcome).add(more)
                counted[one.name, outcome] = count

    telemetry.before_scrape(refresh)

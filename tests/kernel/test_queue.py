import pytest

from mainspring import App, Call, Service
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.registry import Registry
from mainspring.testing import Platform


def test_a_queue_is_declared_once_and_named_like_one() -> None:
    imports, exports = Service("imports", doc="Imports."), Service("exports", doc="Exports.")
    assert imports.queue("parcels", concurrency=1) == "parcels"
    assert Registry([imports]).queues == {"parcels": 1}
    exports.queue("parcels", concurrency=2)
    with pytest.raises(Misdeclared, match="exports declares the queue 'parcels', which another"):
        Registry([imports, exports])
    for wrong in ("bulk", "Parcels", ""):
        with pytest.raises(Misdeclared, match="cannot name a queue"):
            exports.queue(wrong, concurrency=1)
    with pytest.raises(Misdeclared, match="at least one job"):
        exports.queue("slow", concurrency=0)


def test_a_job_of_a_queue_that_nobody_declares_stops_the_start() -> None:
    for queue in ("parcles", ""):
        service = Service("imports", doc="Imports.")
        service.queue("parcels", concurrency=1)

        @service.job(queue=queue)
        async def load(call: Call) -> None: ...

        said = (
            rf"imports\.load goes to the queue {queue!r}, which no service of this app declares: "
        )
        with pytest.raises(Misdeclared, match=said + "there are bulk, critical, default, "):
            Registry([service])


async def test_a_run_in_a_queue_that_nobody_declares_is_refused() -> None:
    service = Service("imports", doc="Imports.")
    parcels = service.queue("parcels", concurrency=1)

    @service.job()
    async def load(call: Call) -> None: ...

    async with Platform(App("importer", services=[service])) as platform:
        for queue in ("parcles", ""):
            with pytest.raises(Misdeclared, match=rf"imports\.load goes to the queue {queue!r}"):
                await platform.enqueue(load.configure(queue=queue))
        await platform.enqueue(load.configure(queue=parcels))
        assert [job.queue for job in await platform.jobs(load)] == ["parcels"]


async def test_a_declared_queue_has_workers_and_is_shown() -> None:
    service = Service("imports", doc="Imports.")

    @service.job(queue=service.queue("parcels", concurrency=1))
    async def load(call: Call) -> None: ...

    async with Platform(App("importer", services=[service])) as platform:
        await platform.enqueue(load)
        await platform.drain()
        queues = await platform.call("jobs.list_queues")
        assert "parcels" in {queue.name for queue in queues.items}
        assert [job.state for job in await platform.jobs(load)] == ["done"]

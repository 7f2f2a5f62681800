"""What a scrape says of commits, consumers and queues, on both engines."""

from mainspring.kernel.call import SYSTEM
from mainspring.runtime.runtime import Runtime
from tests.runtime.links import NewLink, create, rescan


async def test_a_scrape_tells_commits_lag_and_depths(runtime: Runtime) -> None:
    metrics = runtime.metrics
    dispatcher = runtime.dispatcher
    for slug in ("a", "b"):
        call = dispatcher.call(SYSTEM, request_id=slug)
        call.enqueue(rescan, link_id=slug)
        await dispatcher.run(create, call, {"new": NewLink(slug=slug)})
    await runtime.sequencer.start()
    await runtime.consumer_runner.start()
    text = (await metrics.telemetry.text()).decode().splitlines()
    await runtime.consumer_runner.stop()
    await runtime.sequencer.stop()
    counted = dict(line.rsplit(" ", 1) for line in text if line.startswith("mainspring_"))
    assert float(counted['mainspring_commits_total{outcome="committed"}']) >= 2
    assert float(counted["mainspring_commit_batch_size_count"]) >= 2
    assert float(counted["mainspring_commit_duration_seconds_count"]) >= 2
    assert "mainspring_commit_queue_depth" in counted
    assert 'mainspring_event_lag{consumer="links.count"}' in counted
    assert counted['mainspring_jobs{queue="bulk",state="ready"}'] == "2.0"
    assert counted['mainspring_jobs{queue="bulk",state="dead"}'] == "0.0"

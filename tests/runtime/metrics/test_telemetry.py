"""What the platform counts: by conventional names, with no series that callers invent."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.metric import Counter, Gauge
from mainspring.kernel.service import Service
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.testing.clock import FakeClock


def made() -> Metrics:
    return Metrics(Rollups(FakeClock()))


async def lines(metrics: Metrics) -> list[str]:
    return (await metrics.telemetry.text()).decode().splitlines()


async def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = made()
    meter = metrics.route("/v1/jobs/{id}", "GET")
    for status, seconds in ((200, 0.0004), (200, 0.005), (404, 20.0)):
        meter.observe(status, seconds)
    name = "http_server_request_duration_seconds"
    found = {
        (sample.name, sample.labels["http_response_status_code"], sample.labels.get("le")): sample
        for family in text_string_to_metric_families("\n".join(await lines(metrics)))
        for sample in family.samples
        if sample.name.startswith(name)
    }
    assert found[name + "_count", "200", None].value == 2
    assert found[name + "_sum", "200", None].value == pytest.approx(0.0054)
    assert found[name + "_bucket", "200", "0.0025"].value == 1
    assert found[name + "_bucket", "404", "+Inf"].labels["http_route"] == "/v1/jobs/{id}"


async def test_an_invented_method_makes_no_series_of_its_own() -> None:
    metrics = made()
    metrics.route("", "BREW").observe(405, 0.1)
    metrics.route("", "STEEP").observe(405, 0.1)
    assert [labels[1] for labels, _ in metrics.requests.series()] == ["_OTHER"]


async def test_counters_and_gauges_carry_their_conventional_names() -> None:
    metrics = made()
    metrics.committed.add(3)
    metrics.active_requests.add()
    metrics.jobs.of("bulk", "ready").set(7)
    found = await lines(metrics)
    assert 'mainspring_commits_total{outcome="committed"} 3.0' in found
    assert "http_server_active_requests 1.0" in found
    assert 'mainspring_jobs{queue="bulk",state="ready"} 7.0' in found


async def test_a_service_declares_its_own() -> None:
    metrics = made()
    sales = Counter("shop_sales", "Sales.")
    metrics.declare([Service("shop", doc="A shop.", metrics=(sales,))])
    assert "shop_sales_total 0.0" in await lines(metrics)
    wrong = Service("till", doc="A till.", metrics=(Gauge("shop_sales", "Sales."),))
    with pytest.raises(Misdeclared, match="till: shop_sales is declared already"):
        metrics.declare([wrong])

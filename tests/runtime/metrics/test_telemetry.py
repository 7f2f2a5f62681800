"""Metrics: cheap to count, bounded, and readable by Prometheus."""

import timeit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mainspring.runtime.metrics import telemetry
from mainspring.runtime.metrics.telemetry import OTHER, Metrics


async def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await metrics.text()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    meter = metrics.route("/v1/jobs/{id}", "GET")
    meter.observe(200, 0.0004)
    meter.observe(200, 0.005)
    meter.observe(404, 20.0)
    found = await samples(metrics)
    labels = (
        ("http_request_method", "GET"),
        ("http_response_status_code", "200"),
        ("http_route", "/v1/jobs/{id}"),
    )
    name = "http_server_request_duration_seconds"
    assert found[name + "_count", labels] == 2
    assert found[name + "_sum", labels] == pytest.approx(0.0054)
    assert found[name + "_bucket", _with_le(labels, "0.0005")] == 1
    assert found[name + "_bucket", _with_le(labels, "0.0025")] == 1
    assert found[name + "_bucket", _with_le(labels, "0.005")] == 2  # an upper bound is inclusive
    assert found[name + "_bucket", _with_le(labels, "+Inf")] == 2


def _with_le(labels: tuple[tuple[str, str], ...], le: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((*labels, ("le", le))))


async def test_an_invented_method_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    metrics.route("", "BREW").observe(405, 0.1)
    metrics.route("", "STEEP").observe(405, 0.1)
    methods = [labels[1] for labels, _ in metrics.requests.series()]
    assert methods == ["_OTHER"]


async def test_counters_and_gauges_carry_their_conventional_names() -> None:
    metrics = Metrics()
    metrics.committed.add(3)
    metrics.active_requests.add()
    metrics.jobs.of("bulk", "ready").set(7)
    found = await samples(metrics)
    assert found["mainspring_commits_total", (("outcome", "committed"),)] == 3
    assert found["http_server_active_requests", ()] == 1
    assert found["mainspring_jobs", (("queue", "bulk"), ("state", "ready"))] == 7
    assert found["process_resident_memory_bytes", ()] > 0


async def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.limited.of('a"b\\c\nd').add()
    assert (await samples(metrics))[
        "mainspring_limiter_refusals_total", (("policy", 'a"b\\c\nd'),)
    ] == 1


async def test_a_family_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "SERIES_MAX", 3)
    family = Metrics().counter("shop_sales", "Sales.", ("town",))
    for town in ("a", "b", "c", "d", "e"):
        family.of(town).add()
    assert {labels: series.value for labels, series in family.series()} == {
        ("a",): 1, ("b",): 1, ("c",): 1, (OTHER,): 2,
    }  # fmt: skip


def test_a_name_means_one_thing() -> None:
    metrics = Metrics()
    family = metrics.counter("shop_sales", "Sales.", ("town",))
    assert metrics.counter("shop_sales", "Sales.", ("town",)) is family
    with pytest.raises(ValueError, match="declared already"):
        metrics.gauge("shop_sales", "Sales.", ("town",))
    with pytest.raises(ValueError, match="labels"):
        family.of("a", "b")


async def test_gauges_are_refreshed_before_a_scrape_and_survive_a_failure() -> None:
    metrics = Metrics()
    lags = [{"mailer": 5.0}, {"mailer": 2.0}]

    async def refresh() -> None:
        now = lags.pop(0)  # the third scrape finds nothing and raises
        for name, lag in now.items():
            metrics.event_lag.of(name).set(lag)

    metrics.before_scrape(refresh)
    name = "mainspring_event_lag"
    assert (await samples(metrics))[name, (("consumer", "mailer"),)] == 5
    found = await samples(metrics)
    assert found[name, (("consumer", "mailer"),)] == 2
    found = await samples(metrics)
    assert found[name, (("consumer", "mailer"),)] == 2
    assert found["mainspring_scrape_failures_total", ()] == 1


def test_observing_a_request_is_cheap() -> None:
    meter = Metrics().route("/v1/x", "GET")
    seconds = min(timeit.repeat(lambda: meter.observe(200, 0.002), number=20_000, repeat=5))
    # About 0.4 us on a modest machine; the bound leaves room for a busy one.
    assert seconds / 20_000 < 5e-6

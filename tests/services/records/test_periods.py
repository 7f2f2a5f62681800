"""Groups by hour, day, week and month of a time zone, as ``zoneinfo`` has them, on both engines."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mainspring.kernel.errors import Invalid
from tests.services.records.platform import ANNA, BERT, Platform, read

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe",
         "Africa/Casablanca", "Pacific/Apia", "UTC")  # fmt: skip


async def counted(platform: Platform, group: str, caller: Any = None, **query: Any) -> Any:
    by = () if caller is None else (caller,)
    outcome = await platform.run(
        "aggregate_records", *by, collection="visits", query={"group": group, **query}
    )
    return [(tuple(g["group"].values()), g["count"]) for g in read(outcome)["items"]]


def period_of(unit: str, moment: datetime, zone: str) -> str:
    local = moment.astimezone(ZoneInfo(zone))
    if unit == "hour":
        offset = local.strftime("%z")
        return f"{local:%Y-%m-%dT%H:00}{offset[:3]}:{offset[3:5]}"
    if unit == "week":
        return f"{local.date() - timedelta(days=local.weekday())}"
    return f"{local:%Y-%m}" if unit == "month" else f"{local.date()}"


async def test_periods_are_those_of_the_zone(platform: Platform, seed: int) -> None:
    chance = random.Random(seed)
    await platform.make("visits", {"name": "at", "type": "datetime"})
    turns = ("2026-03-29T01:00", "2026-10-25T01:00", "2026-11-01T06:00", "2026-04-04T15:00")
    moments = [
        datetime.fromisoformat(turn).replace(tzinfo=UTC) + timedelta(milliseconds=ms)
        for turn in turns for ms in (-1, 0, 1, -3_600_000, 3_599_999, 3_600_000)
    ]  # fmt: skip
    start = datetime(1950, 1, 1, tzinfo=UTC)
    moments += [start + timedelta(seconds=chance.uniform(0, 3e9)) for _ in range(150)]
    moments = [m.replace(microsecond=m.microsecond // 1000 * 1000) for m in moments]
    items = [{"action": "create", "data": {"at": m.isoformat()}} for m in moments]
    await platform.run("batch_records", collection="visits", batch={"items": items})
    await platform.add("visits", at=None)
    for zone in ZONES:
        for unit in ("hour", "day", "week", "month"):
            wanted = Counter(period_of(unit, moment, zone) for moment in moments)
            found = await counted(platform, f"{unit}(at, '{zone}')")
            assert found[0] == ((None,), 1)
            assert dict(found[1:]) == {(period,): count for period, count in wanted.items()}
            assert [group for group, _ in found[1:]] == sorted(group for group, _ in found[1:])


async def test_periods_go_with_fields_values_and_rules(platform: Platform) -> None:
    own = "record.owner == caller.id"
    await platform.make("visits", {"name": "at", "type": "datetime"},
                        {"name": "owner", "type": "text"}, {"name": "n", "type": "integer"},
                        rules={"list": own})  # fmt: skip
    assert await counted(platform, "day(at)") == []
    for hour, who, n in (("22:30", ANNA, 1), ("23:30", ANNA, 2), ("23:59", BERT, 4)):
        await platform.add("visits", at=f"2026-01-01T{hour}:00Z", owner=who.id, n=n)
    berlin = "day(at, 'Europe/Berlin')"
    assert await counted(platform, f"{berlin}, owner") == [
        (("2026-01-01", ANNA.id), 1), (("2026-01-02", ANNA.id), 1), (("2026-01-02", BERT.id), 1),
    ]  # fmt: skip
    assert await counted(platform, berlin, ANNA) == [(("2026-01-01",), 1), (("2026-01-02",), 1)]
    assert await counted(platform, 'month(at, "UTC"),day(at)', BERT) == [
        (("2026-01", "2026-01-01"), 1)
    ]
    outcome = await platform.run(
        "aggregate_records", collection="visits", query={"group": berlin, "sum": "n"}
    )
    assert [(g["group"], g["sum"]) for g in read(outcome)["items"]] == [
        ({"day(at)": "2026-01-01"}, {"n": 1}), ({"day(at)": "2026-01-02"}, {"n": 6}),
    ]  # fmt: skip


async def test_what_is_no_period_is_refused(platform: Platform) -> None:
    await platform.make("visits", {"name": "at", "type": "datetime"},
                        {"name": "n", "type": "integer"})  # fmt: skip
    for group in ("day(n)", "day(nothing)", "year(at)", "day(at, 'Nowhere/Land')", "day(at, UTC)",
                  "day(at, '../../etc/passwd')", "day(at, '')at", "day(at", "day(at),day(at,'UTC')",
                  "day()", "day(at) desc"):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            await counted(platform, group)
        assert [error.pointer for error in refused.value.errors] == ["/group"]
    await platform.add("visits", at="0003-01-01T00:00:00Z")
    await platform.add("visits", at="2026-01-01T00:00:00Z")
    with pytest.raises(Invalid, match="years apart"):
        await counted(platform, "day(at)")
    assert await counted(platform, "day(at)", filter="at < timestamp('2000-01-01T00:00:00Z')") == [
        (("0003-01-01",), 1)
    ]

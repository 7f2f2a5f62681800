"""What a run leaves and takes: its report, its place among its caller's, its file."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.table import Query
from mainspring.services.records import jobs
from mainspring.services.records.operations import run_reports
from mainspring.testing.client import Client
from tests.deadline import DEADLINE_S
from tests.services.records.platform import Platform
from tests.services.records.test_files import age, sweep_all

ITEMS = "/v1/collections/items/records"
RUNS = "/v1/record_runs"
FIELDS = [{"name": "count", "type": "integer", "min": 0}, {"name": "secret", "type": "text"}]
REPORTS = Query("test.reports", "SELECT run FROM records_run_reports", str)
WEEK_S = 7 * 24 * 3600


async def items(whole: testing.Platform) -> Client:
    made = {"name": "items", "fields": FIELDS, "rules": {"create": "true", "list": "true"}}
    (await whole.admin.post("/v1/collections", made)).expect(201)
    return await whole.as_key("jobs:read")


async def begin(who: Client, content: bytes, status: int = 202, format: str = "ndjson") -> Any:
    path = f"{ITEMS}:import?format={format}"
    answer = await who.request("POST", path, content=content, content_type="text/plain")
    return answer.expect(status)


async def listed(who: Client, query: str = "") -> list[str]:
    page = (await who.get(f"{RUNS}?{query}")).expect(200)
    return [run["id"] for run in page["items"]]


async def test_a_report_tells_all_that_was_refused_to_those_who_may_see_the_run(
    whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reports, "PAGE_ROWS", 2)
    user, other = await items(whole), await whole.as_key("jobs:read")
    lines = [b'{"count":%d}\n' % (-1 if n % 2 else n) for n in range(1_300)]
    run = await begin(user, b"".join([*lines, b"[]\n"]))
    path = f"{RUNS}/{run['id']}/errors"
    assert (await user.get(path)).body == b""
    await whole.drain()
    ended = (await user.get(f"{RUNS}/{run['id']}")).expect(200)
    assert (ended["failed"], ended["reported"], len(ended["errors"])) == (651, 651, 100)
    told = [json.loads(line) for line in (await user.get(path)).body.splitlines()]
    assert [error["line"] for error in told] == [*range(2, 1_301, 2), 1_301]
    rows = list(csv.DictReader(io.StringIO((await user.get(f"{path}?format=csv")).body.decode())))
    assert [row["line"] for row in rows] == [f"{error['line']}" for error in told]
    assert (rows[0]["pointer"], rows[0]["code"]) == ("/count", "invalid")
    assert (rows[-1]["pointer"], rows[-1]["detail"]) == ("", "is not an object")
    assert (await whole.admin.get(path)).status == 200
    assert (await other.get(path)).status == 404
    assert (await whole.anonymous.get(path)).status == 401
    monkeypatch.setattr(run_reports, "RUN_REPORT_MAX", 150)
    run = await begin(user, b"[]\n" * 500)
    await whole.drain()
    ended = (await user.get(f"{RUNS}/{run['id']}")).expect(200)
    assert (ended["failed"], ended["reported"]) == (500, 150)
    assert len((await user.get(f"{RUNS}/{run['id']}/errors")).body.splitlines()) == 150
    whole.clock.move(WEEK_S)
    await whole.pass_time(minutes=2)
    assert await listed(user) == []
    async with asyncio.timeout(DEADLINE_S):
        while await whole.rows(REPORTS):  # their reports go with a sweep after
            await whole.pass_time(minutes=1)
    assert (await user.get(path)).status == 404


async def test_a_caller_has_so_many_runs_going(platform_server: str | None) -> None:
    few = {"records.open_runs_per_caller_max": 2}
    async with testing.Platform(database=platform_server, settings=few) as whole:
        user = await items(whole)
        outcomes = await asyncio.gather(
            *(user.request("POST", f"{ITEMS}:import?format=ndjson", content=b"{}") for _ in "1234")
        )
        assert sorted(outcome.status for outcome in outcomes) == [202, 202, 409, 409]
        refused = await begin(user, b"{}", 409)
        assert refused["code"] == "too_many_runs"
        assert "cancel one" in refused["detail"]
        blobs = whole.app.data_dir / "blobs"
        assert len([path for path in blobs.rglob("*") if path.is_file()]) == 2
        await begin(whole.admin, b"{}")  # who is another caller
        (one, *_) = going = await listed(user, "state=running")
        assert len(going) == 2
        (await user.post(f"{RUNS}/{one}:cancel")).expect(200)
        await begin(user, b"{}")
        await begin(user, b"{}", 409)
        await whole.drain()
        await begin(user, b"{}" * 600)
        (await whole.admin.post(f"{ITEMS}:delete", {"filter": "true"})).expect(200)
        assert [path for path in blobs.rglob("*") if path.is_file()] != []
        await whole.drain()
        assert [path for path in blobs.rglob("*") if path.is_file()] == []


async def test_runs_are_listed_to_whose_they_are(whole: testing.Platform) -> None:
    user, other = await items(whole), await whole.as_key("jobs:read")
    mine = []
    for _ in range(3):
        whole.clock.move(0.01)
        mine.append((await begin(user, b"{}"))["id"])
    whole.clock.move(0.01)
    theirs = (await begin(other, b"{}"))["id"]
    (await user.post(f"{RUNS}/{mine[0]}:cancel")).expect(200)
    assert await listed(user) == mine[::-1]
    assert await listed(other) == [theirs]
    assert await listed(whole.admin) == [theirs, *mine[::-1]]
    assert await listed(user, "state=cancelled") == mine[:1]
    assert await listed(user, "state=running&collection=items") == mine[:0:-1]
    assert await listed(whole.admin, "collection=others") == []
    page = (await user.get(f"{RUNS}?limit=2")).expect(200)
    assert await listed(user, f"limit=2&cursor={page['next_cursor']}") == mine[:1]
    for query in ("state=counted", "cursor=x", "collection=A"):
        (await user.get(f"{RUNS}?{query}")).expect(422)
    (await whole.anonymous.get(RUNS)).expect(401)


async def test_what_is_imported_lies_sealed_and_as_long_as_its_run(
    whole: testing.Platform,
) -> None:
    user, platform = await items(whole), Platform(whole.app, whole.clock)
    content = b"".join(b'{"secret":"known to nobody %d"}\n' % n for n in range(9_000))
    run = await begin(user, content)
    (stored,) = [path for path in (whole.app.data_dir / "blobs").rglob("*") if path.is_file()]
    assert b"known to nobody" not in stored.read_bytes()
    # A day later it is there still: its run is.
    age(platform.directory)
    call = platform.call()
    await jobs.sweep_files(call)
    assert call.jobs == []
    assert stored.exists()
    await whole.drain()
    assert not stored.exists()
    ended = (await user.get(f"{RUNS}/{run['id']}")).expect(200)
    assert (ended["state"], ended["done"], ended["progress"]) == ("done", 9_000, 1.0)
    last = (await user.get(f"{ITEMS}?sort=-id&limit=1&fields=secret")).expect(200)
    assert last["items"] == [{"secret": "known to nobody 8999"}]
    run = await begin(user, content)
    (stored,) = [path for path in (whole.app.data_dir / "blobs").rglob("*") if path.is_file()]
    text = bytearray(stored.read_bytes())
    half = len(text) // 2
    stored.write_bytes(text[half:] + text[:half])
    await whole.drain()
    ended = (await user.get(f"{RUNS}/{run['id']}")).expect(200)
    assert (ended["state"], ended["done"]) == ("failed", 0)
    assert ended["problem"].startswith("the file cannot be opened")
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(b"what no run refers to")
    age(platform.directory)
    await sweep_all(platform)
    assert not stored.exists()

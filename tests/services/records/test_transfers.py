"""Exports and imports: what comes back is what went, once, under the rules of who brings it."""

import json
from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.caller import SYSTEM
from mainspring.services.records import service
from mainspring.services.records.operations import exports
from mainspring.testing.client import Client

NOTES = "/v1/collections/notes/records"
FIELDS = [
    {"name": "title", "type": "text", "max": 200},
    {"name": "slug", "type": "text", "max": 50, "unique": True},
    {"name": "count", "type": "integer", "min": 0},
    {"name": "ratio", "type": "number"},
    {"name": "open", "type": "boolean"},
    {"name": "tags", "type": "text", "many": True},
    {"name": "more", "type": "json"},
    {"name": "due", "type": "datetime"},
    {"name": "parent", "type": "relation", "collection": "notes"},
]
OWN = "record.title == caller.id"


async def notes(whole: testing.Platform, **parts: Any) -> Client:
    key = await whole.as_key("*")
    without = [field for field in FIELDS if field["name"] != "parent"]
    made = {"name": "notes", "fields": without, **parts}
    (await key.post("/v1/collections", made)).expect(201)
    (await key.patch("/v1/collections/notes", {"fields": FIELDS})).expect(200)
    await whole.drain()
    return key


async def fill(key: Client, count: int) -> None:
    texts = ["", "=1", 'a "quoted", one', "line\r\nbreak", " ä ", "null", "1"]
    made: list[Any] = []
    for n in range(count):
        data = {
            "title": texts[n % 7], "slug": f"s{n}", "count": n, "ratio": n / 7, "open": n % 2 == 0,
            "tags": texts[: n % 4], "more": {"n": [n, None, "x"]} if n % 3 else None,
            "due": None if n % 5 else "2027-01-01T00:00:00Z",
        }  # fmt: skip
        made.append({"action": "create", "data": data})
    for at in range(0, count, 1_000):
        (await key.post(f"{NOTES}:batch", {"items": made[at : at + 1_000]})).expect(200)


async def export(who: Client, query: str = "", status: int = 200) -> bytes:
    answer = await who.get(f"{NOTES}:export?{query}")
    assert answer.status == status, answer.body
    return answer.body


async def send(who: Client, content: bytes, query: str) -> Any:
    answer = await who.request(
        "POST", f"{NOTES}:import?{query}", content=content, content_type="application/octet-stream"
    )
    return answer.expect(202)


async def run_of(whole: testing.Platform, who: Client, content: bytes, query: str) -> Any:
    begun = await send(who, content, query)
    await whole.drain()
    return (await who.get(f"/v1/record_runs/{begun['id']}")).expect(200)


async def anew(whole: testing.Platform, key: Client) -> None:
    """Make the collection once more, whose ids are free then."""
    (await key.delete("/v1/collections/notes")).expect(204)
    await whole.drain()
    whole.clock.move(1)
    (await key.post("/v1/collections", {"name": "notes", "fields": FIELDS[:-1]})).expect(201)
    (await key.patch("/v1/collections/notes", {"fields": FIELDS})).expect(200)
    await whole.drain()


def without_times(exported: bytes) -> list[Any]:
    told = [json.loads(line) for line in exported.splitlines()]
    return [{name: v for name, v in each.items() if name != "updated_at"} for each in told]


async def round_trips(whole: testing.Platform, count: int, *formats: str) -> list[bool]:
    """Take everything out and in again, by each format; return whether it was the same then."""
    key = await notes(whole)
    await fill(key, count)
    before = without_times(await export(key))
    same = [len(before) == count]
    for format in formats:
        content = await export(key, f"format={format}")
        await anew(whole, key)
        run = await run_of(whole, key, content, f"format={format}")
        whole_run = (run["state"], run["done"], run["errors"]) == ("done", count, [])
        same.append(whole_run and without_times(await export(key)) == before)
    return same


async def test_what_went_comes_back(whole: testing.Platform) -> None:
    assert all(await round_trips(whole, 450, "csv", "ndjson", "json"))


@pytest.mark.more
async def test_twenty_thousand_come_back(whole: testing.Platform) -> None:
    assert all(await round_trips(whole, 20_000, "csv"))


async def test_an_export_shows_what_a_list_does_and_goes_on(
    whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE_ROWS", 3)
    key = await notes(whole, rules={"list": "record.open == true"})
    await fill(key, 10)
    everything = await export(key)
    user = await whole.as_key("jobs:read")
    shown = [json.loads(line) for line in (await export(user)).splitlines()]
    assert [each["slug"] for each in shown] == ["s0", "s2", "s4", "s6", "s8"]
    lines = everything.splitlines(keepends=True)
    fourth = json.loads(lines[3])["id"]
    assert await export(key, f"after={fourth}") == b"".join(lines[4:])
    some = await export(key, "format=csv&fields=slug,count&filter=record.count%20>%207")
    assert some == b"slug,count\r\ns8,8\r\ns9,9\r\n"
    escaped = await export(key, "format=csv&fields=title&escape_formulas=true")
    assert b"\r\n'=1\r\n" in escaped
    assert json.loads(await export(key, "format=json&filter=false")) == []
    for query in ("fields=nothing", "filter=nothing", "format=xml", "after=x"):
        await export(key, query, 422)
    await export(whole.anonymous, "filter=record.count%20>%207")
    (await key.patch("/v1/collections/notes", {"rules": {}})).expect(200)
    await export(user, "", 403)


async def test_what_is_wrong_is_told_with_its_line_and_the_rest_is_written(
    whole: testing.Platform,
) -> None:
    key = await notes(whole)
    await fill(key, 2)
    known = json.loads((await export(key)).splitlines()[0])["id"]
    content = (
        "\ufeffslug,count,open,tags,parent\r\n"
        'n1,1,TRUE,"[""a"",""b""]",\r\n'
        "n2,-1,false,,\r\n"
        "s1,2,,,\r\n"
        "n3,x,,,\r\n"
        "\r\n"
        'n4,1,,"[",\r\n'
        "n5,1\r\n"
        f"n6,007,maybe,,{known}\r\n"
        f"n7,7,false,,{known}\r\n"
        f"n1,1,,,\r\n"
        f"n8,8,,,{known[:-1]}0\r\n"
        "n\0,8,,,\r\n"
    ).encode()
    run = await run_of(whole, key, content, "format=csv")
    assert (run["state"], run["done"], run["failed"]) == ("done", 2, 9), run["errors"]
    assert [(e["line"], e["code"]) for e in run["errors"]] == [
        (3, "invalid"), (4, "unique"), (5, "invalid"), (7, "malformed"), (8, "malformed"),
        (9, "invalid"), (11, "unique"), (12, "invalid"), (13, "invalid"),
    ]  # fmt: skip
    told = {e["line"]: [each["pointer"] for each in e.get("errors", [])] for e in run["errors"]}
    assert (told[3], sorted(told[9]), told[12]) == (["/count"], ["/count", "/open"], ["/parent"])
    made = [json.loads(line) for line in (await export(key)).splitlines()][2:]
    assert [(m["slug"], m["count"], m["open"], m["tags"]) for m in made] == [
        ("n1", 1, True, ["a", "b"]), ("n7", 7, False, []),
    ]  # fmt: skip
    for content, line in ((b"slug,nothing\n", 1), (b"slug,slug\n", 1), (b"", 1), (b'"', 1)):
        answer = await key.request("POST", f"{NOTES}:import?format=csv", content=content or b"\n")
        assert answer.expect(422)["errors"][0]["pointer"] == f"/line/{line}"
    cut = await run_of(whole, key, b'[{"slug": "x1"}, {"slug": ', "format=json")
    assert (cut["state"], cut["done"]) == ("failed", 1)
    assert cut["problem"].startswith("line 2: ")
    deep = b'{"more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n" + b'{"slug": "x2"}'
    run = await run_of(whole, key, deep, "format=ndjson")
    assert (run["done"], [e["line"] for e in run["errors"]]) == (1, [1])
    blobs = whole.app.data_dir / "blobs"
    assert [p for p in blobs.rglob("*") if p.is_file()] == []


async def test_records_that_are_there_are_changed_by_what_they_are_found_by(
    whole: testing.Platform,
) -> None:
    key = await notes(whole)
    await fill(key, 3)
    content = b'{"slug":"s1","count":10}\n{"slug":"new","count":1}\n{"slug":"new","count":2}\n{}'
    run = await run_of(whole, key, content, "format=ndjson&by=slug")
    assert (run["done"], run["failed"], run["errors"][0]["line"]) == (3, 1, 4)
    told = [json.loads(line) for line in (await export(key)).splitlines()]
    assert [(t["slug"], t["count"]) for t in told] == [("s0", 0), ("s1", 10), ("s2", 2), ("new", 2)]
    told[0]["count"] = 77
    content = b"".join(json.dumps(each).encode() + b"\n" for each in told)
    for _ in range(2):
        run = await run_of(whole, key, content, "format=ndjson&by=id")
        assert (run["done"], run["failed"]) == (4, 0)
    assert without_times(await export(key))[0]["count"] == 77


async def test_an_import_is_its_caller_s_and_counts_once(whole: testing.Platform) -> None:
    key = await notes(whole, rules={"create": OWN, "list": "true"})
    user = await whole.as_key("jobs:read")
    content = f'{{"title":"{user.id}"}}\n{{"title":"other"}}\n'.encode() * 150
    run = await run_of(whole, user, content, "format=ndjson")
    assert (run["state"], run["done"], run["failed"]) == ("done", 150, 150)
    assert {e["code"] for e in run["errors"]} == {"forbidden"}
    assert len(run["errors"]) == 100
    for query in ("format=ndjson&by=nothing", "format=xml"):
        answer = await key.request("POST", f"{NOTES}:import?{query}", content=b"{}")
        answer.expect(422)
    answer = await whole.anonymous.request("POST", f"{NOTES}:import?format=csv", content=b"a")
    answer.expect(401)
    # A page that ran and was not committed, for its process was killed, is written once.
    begun = await send(key, b'{"title":"once"}\n' * 250, "format=ndjson")
    lost = whole.app.runtime.dispatcher.call(SYSTEM, request_id="req_lost")
    await service.jobs["records.do_page"](lost, run=begun["id"])
    assert lost.events
    await whole.drain()
    told = await export(key, "filter=record.title%20==%20'once'")
    assert len(told.splitlines()) == 250
    begun = await send(key, b'{"title":"never"}\n' * 250, "format=ndjson")
    path = f"/v1/record_runs/{begun['id']}"
    assert (await key.post(f"{path}:cancel")).expect(200)["state"] == "cancelled"
    await whole.drain()
    assert await export(key, "filter=record.title%20==%20'never'") == b""
    begun = await send(user, content, "format=ndjson")
    (await key.delete(f"/v1/api_keys/{user.id}")).expect(204)
    await whole.drain()
    ended = (await key.get(f"/v1/record_runs/{begun['id']}")).expect(200)
    assert (ended["state"], ended["done"]) == ("failed", 0)

"""Personal fields of records: sealed where they are kept, shown where the record is, and erased."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from mainspring import testing
from mainspring.kernel.table import Query
from mainspring.testing.client import Client
from tests.deadline import DEADLINE_S

PATIENTS = "/v1/collections/patients/records"
OWNER = {"name": "owner", "type": "relation", "collection": "users"}
ILLNESS = {"name": "illness", "type": "text", "max": 40, "personal": True, "personal_of": "owner"}
FACTS = {"name": "facts", "type": "json", "personal": True, "personal_of": "owner"}
FIELDS: list[dict[str, Any]] = [{"name": "title", "type": "text"}, OWNER, ILLNESS, FACTS]
RULES = dict.fromkeys(("list", "view", "create", "update"), "caller != null")
KEPT = (
    Query("test.data", "SELECT data FROM records_records", str),
    Query("test.bodies", "SELECT body FROM events", str),
)
ANSWERS = Query("test.answers", "SELECT body FROM idempotency WHERE body IS NOT NULL", bytes)


async def patients(whole: testing.Platform, *more: Any) -> tuple[Client, Client]:
    new = {"name": "patients", "fields": [*FIELDS, *more], "rules": RULES}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    return await whole.as_user("ann@example.com"), await whole.as_user("bert@example.com")


async def kept(whole: testing.Platform, word: str) -> list[str]:
    """Where a word is kept that is to be sealed."""
    return [row for query in KEPT for row in await whole.rows(query) if word in row]


async def test_what_is_personal_is_shown_and_kept_sealed(whole: testing.Platform) -> None:
    ann, bert = await patients(whole)
    body = {"owner": ann.id, "illness": "gout", "facts": {"since": "gout 1987"}}
    made = (await ann.post(PATIENTS, body)).expect(201)
    path = f"{PATIENTS}/{made['id']}"
    assert (made["illness"], made["facts"]) == ("gout", {"since": "gout 1987"})
    assert (await bert.get(path)).json == made
    assert (await bert.get(PATIENTS)).json["items"] == [made]
    assert (await bert.get(f"{path}?fields=illness")).json == {"illness": "gout"}
    changed = await ann.patch(path, {"illness": "gout"})
    assert (changed.expect(200), changed.etag) == (made, '"1"')
    (await ann.put(path, {**body, "illness": "gout again"})).expect(200)
    batch = {"items": [{"action": "update", "id": made["id"], "data": {"title": "a"}}]}
    told = (await ann.post(f"{PATIENTS}:batch", batch)).expect(200)["items"][0]
    steps = [
        {"collection": "patients", "action": "update", "id": made["id"], "data": {}, "name": "a"},
        {"collection": "patients", "action": "create",
         "data": {"$ref": {"illness": "a.illness", "owner": "a.owner"}}},
    ]  # fmt: skip
    stepped = (await ann.post("/v1/records:batch", {"steps": steps})).expect(200)["items"]
    assert told["illness"] == stepped[0]["illness"] == stepped[1]["illness"] == "gout again"
    assert await kept(whole, "gout") == []
    events = (await whole.admin.get("/v1/events?type=records.record.*&limit=100")).expect(200)
    assert [e["data"]["illness"] for e in events["items"]] == ["gout", *["gout again"] * 3]
    reader = await whole.as_key("events:read", "records:read")
    hidden = (await reader.get("/v1/events?type=records.record.*&limit=100")).expect(200)["items"]
    assert [e["data"]["illness"] for e in hidden] == [None] * 4
    assert hidden[0]["sealedfields"] == "illness,facts"


async def test_erasing_a_person_empties_what_is_theirs(whole: testing.Platform) -> None:
    ann, bert = await patients(whole)
    paths = list[str]()
    for who in (ann, bert):
        body = {"owner": who.id, "illness": f"gout of {who.id}"}
        made = (await whole.admin.post(PATIENTS, body, headers={"idempotency-key": who.id})).expect(
            201
        )
        paths.append(f"{PATIENTS}/{made['id']}")
    async with await bert.stream("records.stream_records", collection="patients") as items:
        assert [*await items.json()] == ["position"]
        (await ann.patch(paths[0], {"title": "x"})).expect(200)
        told = await asyncio.wait_for(items.json(), DEADLINE_S)
        assert told["record"]["illness"].startswith("gout")
    position = told["position"]
    tag = (await bert.get(paths[0])).etag
    again = {"owner": ann.id, "illness": f"gout of {ann.id}"}
    key = {"idempotency-key": ann.id}
    assert (await whole.admin.post(PATIENTS, again, headers=key)).expect(200)["illness"]
    answers = await whole.rows(ANSWERS)
    assert answers
    assert not any(b"gout" in answer for answer in answers)
    (await whole.admin.delete(f"/v1/users/{ann.id}?erase=true")).expect(204)
    assert (await whole.admin.post(PATIENTS, again, headers=key)).status == 410
    # At once, before the job that lets go of the record, and after it.
    for owner in (ann.id, None):
        left = await bert.get(paths[0])
        assert left.json["owner"] == owner
        assert (left.expect(200)["illness"], left.etag != tag) == (None, True)
        assert (await bert.get(paths[1])).json["illness"] == f"gout of {bert.id}"
        listed = (await bert.get(f"{PATIENTS}?sort=id")).expect(200)["items"]
        assert [item["illness"] for item in listed] == [None, f"gout of {bert.id}"]
        events = (await whole.admin.get("/v1/events?type=records.record.*&limit=100")).json["items"]
        assert {e["data"]["illness"] for e in events} == {None, f"gout of {bert.id}"}
        await whole.drain()
    query = {"after": position}
    named = {"collection": "patients", "query": query}
    async with await bert.stream("records.stream_records", **named) as items:
        assert [*await items.json()] == ["position"]
        told = await asyncio.wait_for(items.json(), DEADLINE_S)
        assert (told["record"]["title"], told["record"]["illness"]) == ("x", None)
    if_match = {"if-match": (await bert.get(paths[0])).etag or ""}
    (await bert.patch(paths[0], {"title": "y"}, headers=if_match)).expect(200)
    (await whole.admin.get("/v1/audit/checkpoint")).expect(200)


async def test_a_value_goes_with_whom_it_is_of(whole: testing.Platform) -> None:
    ann, bert = await patients(whole)
    made = (await ann.post(PATIENTS, {"owner": ann.id, "illness": "gout"})).expect(201)
    path = f"{PATIENTS}/{made['id']}"
    refused = await ann.post(PATIENTS, {"illness": "gout"})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/illness")
    refused = await ann.patch(path, {"owner": None})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/illness")
    other = (await ann.post(PATIENTS, {"owner": ann.id, "illness": "flu"})).expect(201)["id"]
    given = (await ann.patch(path, {"owner": bert.id})).expect(200)
    assert given["illness"] == "gout"
    # Also where the same value is sent with the other owner.
    body = {"owner": bert.id, "illness": "flu"}
    assert (await ann.patch(f"{PATIENTS}/{other}", body)).expect(200)["illness"] == "flu"
    (await whole.admin.delete(f"/v1/users/{ann.id}?erase=true")).expect(204)
    await whole.drain()
    assert (await bert.get(path)).json["illness"] == "gout"
    assert (await bert.get(f"{PATIENTS}/{other}")).json["illness"] == "flu"
    cleared = (await bert.patch(path, {"owner": None, "illness": None})).expect(200)
    assert (cleared["owner"], cleared["illness"]) == (None, None)
    # Nobody sends something sealed: what looks like it is text or JSON like any other.
    fake = {"sealed": "AAAA", "person": bert.id}
    kept = (await bert.patch(path, {"owner": bert.id, "facts": fake})).expect(200)
    assert kept["facts"] == fake == (await bert.get(path)).json["facts"]


async def test_nothing_is_asked_of_what_is_sealed(whole: testing.Platform) -> None:
    _, bert = await patients(whole)
    for query in (
        "?filter=record.illness == 'gout'", "?filter=has(record.facts)", "?sort=illness",
        "?filter=record.facts.since == 'x'", ":aggregate?group=illness", ":aggregate?min=illness",
    ):  # fmt: skip
        path, _, rest = query.partition("?")
        answer = await bert.get(f"{PATIENTS}{path}?{quote(rest, safe='=&')}")
        assert answer.status == 422
        assert "is personal: it is sealed" in answer.text, query
    change: list[tuple[dict[str, Any], str]] = [
        ({"rules": {"view": "record.illness == 'x'"}}, "/rules/view"),
        ({"indexes": [["illness"]]}, "/indexes/0/0"),
        ({"uniques": [["title", "illness"]]}, "/uniques/0/1"),
    ]
    for part, pointer in change:
        answer = await whole.admin.patch("/v1/collections/patients", part)
        assert answer.json["errors"][0]["pointer"] == pointer
        assert "is personal: it is sealed" in answer.text
    other = {"name": "visits", "fields": [
        {"name": "of", "type": "relation", "collection": "patients"}],
        "rules": {"view": "record.of.illness == 'gout'"}}  # fmt: skip
    assert "is personal" in (await whole.admin.post("/v1/collections", other)).text
    operators = {"$append": {"facts": [1]}}
    assert (await bert.post(f"{PATIENTS}:upsert?by=title", operators)).status == 422


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"personal_of": None}, "personal_of"), ({"personal_of": "nobody"}, "personal_of"),
    ({"personal_of": "title"}, "personal_of"), ({"unique": True}, "unique"),
    ({"required": True}, "required"), ({"default": "x"}, "default"), ({"many": True}, "many"),
    ({"type": "file", "max": None}, "personal"), ({"personal": False}, "personal_of"),
    ({"stamp": "caller.id", "max": 64}, "stamp"),
)  # fmt: skip


async def test_a_personal_field_says_of_whom_and_stays_so(whole: testing.Platform) -> None:
    for wrong, part in WRONG:
        fields = [FIELDS[0], OWNER, {**ILLNESS, **wrong}]
        made = await whole.admin.post("/v1/collections", {"name": "patients", "fields": fields})
        assert made.status == 422
        assert f"/fields/2/{part}" in [e["pointer"] for e in made.json["errors"]], wrong
    hidden = [{**OWNER, "hidden": True}, ILLNESS]
    made = await whole.admin.post("/v1/collections", {"name": "patients", "fields": hidden})
    assert made.json["errors"][0]["pointer"] == "/fields/1/personal_of"
    ann, _ = await patients(whole)
    (await ann.post(PATIENTS, {"owner": ann.id, "illness": "gout"})).expect(201)
    plain = {**ILLNESS, "personal": False, "personal_of": None}
    renamed = {**ILLNESS, "name": "disease", "renamed_from": "illness"}
    title = {**FIELDS[0], "personal": True, "personal_of": "owner"}
    for fields, status in (
        ([FIELDS[0], OWNER, plain, FACTS], 409),
        ([FIELDS[0], OWNER, renamed, FACTS], 422),
        ([title, OWNER, ILLNESS, FACTS], 409),
    ):
        answer = await whole.admin.patch("/v1/collections/patients", {"fields": fields})
        assert answer.status == status, answer.text


@pytest.mark.parametrize("stamp", [True, False])
async def test_a_stamp_says_of_whom(whole: testing.Platform, stamp: bool) -> None:
    author = {"name": "author", "type": "text", "max": 64, "stamp": "caller.user"}
    note = {"name": "note", "type": "text", "personal": True, "personal_of": "author",
            **({"hidden": True} if stamp else {})}  # fmt: skip
    ann, _ = await patients(whole, author, note)
    made = (await ann.post(PATIENTS, {"note": "of mine"})).expect(201)
    assert made.get("note") == (None if stamp else "of mine")
    path = f"{PATIENTS}/{made['id']}"
    assert (await whole.admin.get(path)).json["note"] == "of mine"
    assert await kept(whole, "of mine") == []
    (await whole.admin.delete(f"/v1/users/{ann.id}?erase=true")).expect(204)
    assert (await whole.admin.get(path)).json["note"] is None

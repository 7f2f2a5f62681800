"""Fields that are hidden or have rules of their own: every door tried, over HTTP, on both engines.

Two records that differ in nothing but what a caller may not read are to answer alike at each.
"""

import asyncio
import random
import re
from typing import Any
from urllib.parse import quote

from mainspring import testing
from mainspring.testing.client import Client, HttpAnswer
from tests.deadline import DEADLINE_S

CARDS, BOARDS = "/v1/collections/cards/records", "/v1/collections/boards/records"
OWN = "record.owner == caller.user"
SECRETS = {
    "one": {"pin": "sesame", "pay": 4_000, "notes": ["fired"], "home": 0, "mark": "red"},
    "two": {"pin": "abracadabra", "pay": 7, "notes": [], "home": 1, "mark": "blue"},
}  # fmt: skip
FIELDS: list[dict[str, Any]] = [
    {"name": "title", "type": "text", "max": 40},
    {"name": "owner", "type": "relation", "collection": "users"},
    {"name": "state", "type": "select", "values": ["open", "done"], "default": "open",
     "rules": {"write": OWN}},
    {"name": "pin", "type": "text", "max": 40, "hidden": True},
    {"name": "pay", "type": "integer", "max": 9_000, "rules": {"read": OWN, "write": OWN}},
    {"name": "notes", "type": "json", "rules": {"read": "caller.email == 'boss@example.com'"}},
    {"name": "home", "type": "relation", "collection": "boards", "hidden": True},
    {"name": "mark", "type": "select", "values": ["red", "blue"], "required": True, "hidden": True},
    {"name": "scan", "type": "file", "hidden": True, "thumbs": ["10x10"]},
]  # fmt: skip
MADE = re.compile(r'"[0-9a-f]{24}"')
RULES = dict.fromkeys(("list", "view", "create", "update", "delete"), "true")
TOLD = re.compile(r'"[a-z_]+_at":"[^"]*"|req_\w+|rec_\w+|"position":"[^"]*"|"instance":"[^"]*"')


class Cards:
    """Two cards of Ann's that Bert may view, with other secrets."""

    def __init__(self, whole: testing.Platform, ann: Client, bert: Client) -> None:
        self.whole, self.ann, self.bert = whole, ann, bert
        self.paths: list[str] = []

    @classmethod
    async def of(cls, whole: testing.Platform) -> "Cards":
        admin = whole.admin
        board = {"name": "boards", "fields": FIELDS[:1], "rules": {"view": "true"}}
        (await admin.post("/v1/collections", board)).expect(201)
        boards = [(await admin.post(BOARDS, {"title": t})).expect(201)["id"] for t in ("a", "b")]
        new = {"name": "cards", "fields": FIELDS, "rules": RULES, "indexes": [["pay"]]}
        (await admin.post("/v1/collections", new)).expect(201)
        cards = cls(whole, *[await whole.as_user(f"{n}@example.com") for n in ("ann", "bert")])
        for secret in SECRETS.values():
            values = {**secret, "home": boards[secret["home"]], "title": "card"}
            made = await admin.post(CARDS, {**values, "owner": cards.ann.id})
            cards.paths.append(f"{CARDS}/{made.expect(201)['id']}")
            scan = str(secret).encode()
            (await admin.post(f"{cards.paths[-1]}/files/scan", content=scan)).expect(201)
        return cards

    async def told(self, client: Client, ask: Any) -> list[Any]:
        """What each of the two answers, but for ids and times."""
        answers: list[HttpAnswer] = [await ask(path) for path in self.paths]
        return [
            # A tag that is made of the answer is another one for its ids alone.
            (a.status, MADE.sub("", a.etag or ""), TOLD.sub("", a.body.decode(errors="replace")))
            for a in answers
        ]


def leaks(text: str) -> bool:
    """Whether a text has a value of theirs that Bert may not read."""
    return any(word in text for word in ("sesame", "abracad", "4000", '"pay":7', "fired", "red"))


async def test_what_is_withheld_is_left_out_wherever_a_record_is_shown(
    whole: testing.Platform,
) -> None:
    cards = await Cards.of(whole)
    path = cards.paths[0]
    id = path.rpartition("/")[2]
    for client, shown in ((cards.bert, set[str]()), (cards.ann, {"pay"}), (whole.anonymous, set())):
        found = await client.get(path)
        names = {"id", "collection", "created_at", "updated_at", "title", "owner", "state"}
        assert found.json.keys() == names | shown
        (listed, _) = (await client.get(CARDS)).expect(200)["items"]
        assert listed == found.json
        fields = (await client.get(f"{path}?fields=title,pin,pay,mark")).expect(200)
        assert fields.keys() == {"title"} | shown
        expanded = (await client.get(f"{path}?expand=home")).expect(200)
        assert (expanded["expand"], "home" in expanded) == ({"home": None}, False)
        assert not leaks((await client.get(f"{path}/files/scan")).text) or client is whole.admin
        assert (await client.get(f"{path}/files/scan")).status == 404
        assert (await client.post(f"{path}/files/scan:link", {})).status in (404, 401)
    everything = (await whole.admin.get(path)).expect(200)
    assert (everything["pin"], everything["scan"]["size_bytes"] > 0) == ("sesame", True)
    # Another representation has another tag, and who sees more is told more, whatever tag they had.
    tags = [(await client.get(path)).etag for client in (whole.admin, cards.ann, cards.bert)]
    assert len(set(tags)) == 3
    seen = await cards.ann.get(path, headers={"if-none-match": tags[2] or ""})
    assert seen.status == 200
    changed = await cards.bert.patch(path, {"title": "x"}, headers={"if-match": tags[2] or ""})
    assert changed.expect(200)["title"] == "x"
    assert changed.etag == (await cards.bert.get(path)).etag != tags[2]
    steps = [
        {"collection": "cards", "action": "update", "id": id, "data": {"title": "y"}, "name": "a"},
        {"collection": "cards", "action": "update", "id": id, "data": {"$ref": {"title": "a.pin"}}},
    ]
    refused = await cards.bert.post("/v1/records:batch", {"steps": steps})
    assert (refused.status, "answered no 'pin'" in refused.text) == (422, True)
    batch = {"items": [{"action": "update", "id": id, "data": {"title": "z"}}]}
    for answer in (
        await cards.bert.post(f"{CARDS}:batch", batch),
        await cards.bert.post("/v1/records:batch", {"steps": steps[:1]}),
    ):
        assert answer.expect(200)["items"][0]["title"] in "yz"
        assert not leaks(answer.text)


ASKED = (
    "?filter=record.pin == 'sesame'", "?filter=record.pay > 5", "?filter=has(record.pin)",
    "?filter='fired' in record.notes", "?filter=record.home.title == 'a'", "?sort=pay",
    "?filter=!(record.mark == 'red')", "?sort=-pin",
    ":aggregate?group=mark", ":aggregate?sum=pay", ":aggregate?min=pin", ":aggregate?avg=pay",
    ":aggregate?max=pay", ":aggregate?filter=record.pay > 5", "?total=exact&filter=record.pay > 5",
    "?filter=record.pay > 5&limit=1", ":aggregate?group=title,pin", ":stream?filter=record.pay > 5",
)  # fmt: skip


async def test_nobody_asks_by_what_they_may_not_read(whole: testing.Platform) -> None:
    cards = await Cards.of(whole)
    for asked in ASKED:
        # Ann may read what she is paid, but not in every record: a count would tell the rest.
        for client in (cards.bert, cards.ann, whole.anonymous):
            path, _, query = asked.partition("?")
            answer = await client.get(f"{CARDS}{path}?{quote(query, safe='=&')}")
            assert (answer.status, answer.json["code"]) == (403, "forbidden"), asked
            assert answer.json["errors"][0]["pointer"][1:] in asked
        if ":stream" not in asked:
            path, _, query = asked.partition("?")
            (await whole.admin.get(f"{CARDS}{path}?{quote(query, safe='=&')}")).expect(200)
    back = await cards.bert.get(f"{BOARDS}?filter={quote('record.cards.exists(c, true)')}")
    assert back.status in (403, 401)
    (await whole.admin.patch("/v1/collections/boards", {"rules": RULES})).expect(200)
    for text in ("record.cards.exists(c, true)", "record.cards.exists(c, c.pin == 'sesame')"):
        answer = await cards.bert.get(f"{BOARDS}?filter={quote(text)}")
        assert (answer.status, "home" in answer.text or "pin" in answer.text) == (403, True)
    # The rules of a collection see everything: they are its owner's.
    rules = {**RULES, "view": "record.pin == 'sesame'", "list": "record.mark == 'red'"}
    (await whole.admin.patch("/v1/collections/cards", {"rules": rules})).expect(200)
    assert [(await cards.bert.get(path)).status for path in cards.paths] == [200, 404]
    assert len((await cards.bert.get(CARDS)).expect(200)["items"]) == 1


async def test_events_that_hold_what_is_withheld_are_not_shown(whole: testing.Platform) -> None:
    await Cards.of(whole)
    reader = await whole.as_user("reader@example.com")
    scopes = await whole.as_key("events:read", "webhooks:write")
    for client in (reader, scopes):
        answer = await client.get("/v1/events?type=records.record.created&limit=500")
        assert "cards" not in answer.text
        assert not leaks(answer.text)
    # Who may read the field in this record is told: here it is everybody.
    fields = [f for f in FIELDS if f["name"] in ("title", "owner", "pay")]
    fields[-1] = {**fields[-1], "rules": {"read": "record.title == 'free'"}}
    new = {"name": "notes", "fields": fields, "rules": RULES}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    notes = "/v1/collections/notes/records"
    for title in ("free", "dear"):
        (await whole.admin.post(notes, {"title": title, "pay": 1_234})).expect(201)
    told = (await scopes.get("/v1/events?type=records.record.created&limit=500")).expect(200)
    assert [e["data"]["title"] for e in told["items"] if e["data"]["collection"] == "notes"] == [
        "free"
    ]
    # A field that is gone was withheld: its values are in the events still, and stay so.
    bare = {"fields": fields[:-1]}
    (await whole.admin.patch("/v1/collections/notes?confirm=pay", bare)).expect(200)
    told = (await scopes.get("/v1/events?type=records.record.created&limit=500")).expect(200)
    assert "1234" not in str(told)
    await whole.drain()
    again = {"fields": [*fields[:-1], {"name": "pay", "type": "integer"}]}
    refused = await whole.admin.patch("/v1/collections/notes", again)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/fields/2/name")
    again["fields"][-1]["hidden"] = True
    (await whole.admin.patch("/v1/collections/notes", again)).expect(200)


async def test_streams_leave_out_what_is_withheld(whole: testing.Platform) -> None:
    cards = await Cards.of(whole)
    async with await cards.bert.stream("records.stream_records", collection="cards") as items:
        assert [*await items.json()] == ["position"]
        (await whole.admin.patch(cards.paths[0], {"title": "new", "pin": "other"})).expect(200)
        told = await asyncio.wait_for(items.json(), DEADLINE_S)
        assert told["record"].keys() == (await cards.bert.get(cards.paths[0])).json.keys()
        assert told["record"]["title"] == "new"
        rules = {"fields": [{**f, "hidden": f["name"] == "title"} for f in FIELDS[:3]] + FIELDS[3:]}
        (await whole.admin.patch("/v1/collections/cards", rules)).expect(200)
        assert (await asyncio.wait_for(items.json(), DEADLINE_S))["end"] == "changed"


def refused(answer: HttpAnswer, *pointers: str) -> bool:
    told = answer.json if answer.status == 403 else {}
    return [e["pointer"] for e in told.get("errors", ())] == [*pointers]


async def test_who_may_not_write_a_field_is_told_which(whole: testing.Platform) -> None:
    cards = await Cards.of(whole)
    bert, path, id = cards.bert, cards.paths[0], cards.paths[0].rpartition("/")[2]
    state = {"state": "done"}
    assert refused(await bert.patch(path, {**state, "title": "x"}), "/state")
    assert refused(await bert.put(path, state), "/state")
    assert refused(await bert.post(CARDS, {**state, "mark": "red"}), "/state")
    assert refused(
        await bert.post(
            f"{CARDS}:batch", {"items": [{"action": "update", "id": id, "data": state}]}
        ),
        "/items/0/data/state",
    )
    create = {"items": [{"action": "create", "data": {**state, "mark": "red"}}]}
    assert refused(await bert.post(f"{CARDS}:batch", create), "/items/0/data/state")
    step = {"collection": "cards", "action": "update", "id": id, "data": state}
    assert refused(await bert.post("/v1/records:batch", {"steps": [step]}), "/steps/0/data/state")
    assert (await whole.admin.get(path)).json["state"] == "open"
    # What it has already is no change, and its default no write; so whole records go back.
    assert (await bert.patch(path, {"state": "open", "title": "y"})).expect(200)["title"] == "y"
    mine = (await bert.post(CARDS, {"title": "mine", "mark": "red"})).expect(201)
    assert mine["state"] == "open"
    kept = (await whole.admin.get(path)).expect(200)
    shown = {
        n: v for n, v in (await bert.get(path)).json.items() if n in ("title", "owner", "state")
    }
    (await bert.put(path, {**shown, "title": "put"})).expect(200)
    now = (await whole.admin.get(path)).expect(200)
    assert {**now, "title": kept["title"], "updated_at": kept["updated_at"]} == kept
    # It is judged as the record is and as it becomes: nobody makes it theirs in the same step.
    assert refused(await bert.patch(path, {"owner": bert.id, **state}), "/state")
    assert (await cards.ann.patch(path, state)).expect(200)["state"] == "done"
    (await whole.admin.put(path, {"mark": "red"})).expect(200)
    assert (await whole.admin.get(path)).json["pin"] is None


async def test_a_guarded_file_is_not_uploaded(whole: testing.Platform) -> None:
    field = {"name": "scan", "type": "file", "rules": {"write": OWN}}
    new = {"name": "cards", "fields": [*FIELDS[:2], field], "rules": RULES}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    ann, bert = [await whole.as_user(f"{name}@example.com") for name in ("ann", "bert")]
    path = CARDS + "/" + (await ann.post(CARDS, {"owner": ann.id})).expect(201)["id"]
    assert refused(await bert.post(f"{path}/files/scan", content=b"x"), "/scan")
    (await ann.post(f"{path}/files/scan", content=b"x")).expect(201)
    assert refused(await bert.patch(path, {"scan": None}), "/scan")
    form = (
        b'--x\r\nContent-Disposition: form-data; name="record"\r\n\r\n{}\r\n--x\r\n'
        b'Content-Disposition: form-data; name="scan"; filename="a"\r\n\r\nother\r\n--x--\r\n'
    )
    for method, to in (("PATCH", path), ("POST", CARDS)):
        kind = "multipart/form-data; boundary=x"
        answer = await bert.request(method, to, content=form, content_type=kind)
        assert refused(answer, "/scan"), (method, answer.text)
    assert (await bert.get(f"{path}/files/scan")).body == b"x"


async def test_trying_values_tells_nothing(whole: testing.Platform) -> None:
    """A guess that is right is answered as one that is wrong, by every way of writing."""
    cards = await Cards.of(whole)
    bert = cards.bert
    rules = {**RULES, "update": "!('pin' in request.changes) || record.title != 'closed'"}
    (await whole.admin.patch("/v1/collections/cards", {"rules": rules})).expect(200)
    guesses: list[dict[str, Any]] = [
        {"pin": "sesame"}, {"pay": 4_000}, {"notes": ["fired"]}, {"mark": "red"},
        {"$add": {"pay": 8_000}}, {"$append": {"notes": ["x"]}}, {"$remove": {"notes": ["fired"]}},
        {"pin": "sesame", "title": "closed"},
    ]  # fmt: skip
    for body in guesses:
        for ask in (
            lambda path, body=body: bert.patch(path, body),
            lambda path, body=body: bert.post(
                f"{CARDS}:batch",
                {"items": [{"action": "update", "id": path.rpartition("/")[2], "data": body}]},
            ),
        ):
            first, second = await cards.told(bert, ask)
            assert first == second, body
            assert not leaks(first[2].replace("card", ""))
        if "$" in str(body):
            assert first[0] == 403
    first, second = await cards.told(bert, bert.get)
    assert first == second


async def test_no_way_of_asking_tells_two_records_apart(whole: testing.Platform, seed: int) -> None:
    chance = random.Random(seed)
    cards = await Cards.of(whole)
    names = [f["name"] for f in FIELDS]

    def some() -> str:
        return ",".join(chance.sample(names, chance.randint(1, 3)))

    for _ in range(40):
        ways = ["", f"?fields={some()}", "?expand=home", f"?fields={some()}&expand=home"]
        files = ["/files/scan", "/files/scan?thumb=10x10", "/files/pin"]
        rest = chance.choice(ways + files)
        client = chance.choice([cards.bert, whole.anonymous])
        first, second = await cards.told(
            client, lambda path, client=client, rest=rest: client.get(path + rest)
        )
        assert first == second, rest
    kinds = ("fields", "sort", "expand")
    for _ in range(20):
        query = "&".join(f"{kind}={some()}" for kind in chance.sample(kinds, 2))
        answer = await cards.bert.get(f"{CARDS}?{query}")
        assert not leaks(answer.text.replace("card", "")), query


async def test_a_stored_answer_is_shown_as_its_caller_may_see_it_now(
    whole: testing.Platform,
) -> None:
    cards = await Cards.of(whole)
    key = {"idempotency-key": "k1"}
    body = {"title": "mine", "mark": "red", "owner": cards.ann.id, "pay": 5}
    made = (await cards.ann.post(CARDS, body, headers=key)).expect(201)
    assert made["pay"] == 5
    (await whole.admin.patch(f"{CARDS}/{made['id']}", {"owner": cards.bert.id})).expect(200)
    again = (await cards.ann.post(CARDS, body, headers=key)).expect(200)
    assert again == {name: value for name, value in made.items() if name != "pay"}


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "a", "type": "text", "unique": True, "hidden": True}, "/fields/0/unique"),
    ({"name": "a", "type": "text", "hidden": True, "rules": {"read": "true"}},
     "/fields/0/rules/read"),
    ({"name": "a", "type": "text", "rules": {"write": "record.b == 1"}}, "/fields/0/rules/write"),
    ({"name": "a", "type": "relation", "collection": "boards",
      "rules": {"read": "record.a.title == 'x'"}}, "/fields/0/rules/read"),
)  # fmt: skip


async def test_a_rule_fits_its_field(whole: testing.Platform) -> None:
    board = {"name": "boards", "fields": FIELDS[:1]}
    (await whole.admin.post("/v1/collections", board)).expect(201)
    for field, pointer in WRONG:
        made = await whole.admin.post("/v1/collections", {"name": "cards", "fields": [field]})
        assert (made.status, made.json["errors"][0]["pointer"]) == (422, pointer)
    many = [{"name": f"f{i}", "type": "text", "hidden": True} for i in range(21)]
    made = await whole.admin.post("/v1/collections", {"name": "cards", "fields": many})
    assert (made.status, made.json["errors"][0]["pointer"]) == (422, "/fields")
    together = {"name": "cards", "fields": FIELDS, "uniques": [["title", "pin"]]}
    made = await whole.admin.post("/v1/collections", together)
    assert (made.status, made.json["errors"][0]["pointer"]) == (422, "/uniques/0/1")

"""Deleting and changing by filter: at once or by a run, under the caller's own rules."""

from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Failure, Forbidden, Invalid, NotFound, Unauthenticated
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import Idempotency
from mainspring.services.records import service
from mainspring.services.records.api import StillReferenced, UniqueTaken
from mainspring.services.records.api.runs import RunEnded, TooMany
from mainspring.services.records.operations import runs
from tests.services.records.platform import ANNA, BERT, KEY, NOBODY, Platform, read

FIELDS = (
    {"name": "owner", "type": "text", "max": 50},
    {"name": "kind", "type": "text", "max": 50},
    {"name": "count", "type": "integer", "max": 100, "default": 0},
    {"name": "slug", "type": "text", "max": 50, "unique": True},
)
SPECS = Query("test.specs", "SELECT spec FROM records_runs", str)
OWN = "record.owner == caller.id"


async def do(platform: Platform, kind: str, caller: Caller = KEY, **many: Any) -> Any:
    many.setdefault("filter", "true")
    return await platform.run(f"{kind}_records", caller, collection="items", many=many)


async def ask(platform: Platform, id: str, caller: Caller = KEY, what: str = "get_run") -> Any:
    return read(await platform.run(what, caller, id=id))


async def events(platform: Platform, kind: str) -> list[Any]:
    return [e for type, e in await platform.events() if type == f"records.record.{kind}"]


async def fill(platform: Platform, *records: dict[str, Any]) -> list[str]:
    items = [{"action": "create", "data": data} for data in records]
    made = await platform.run("batch_records", collection="items", batch={"items": items})
    return [item["id"] for item in read(made)["items"]]


async def test_no_run_keeps_what_is_personal(platform: Platform) -> None:
    owner = {"name": "owner", "type": "relation", "collection": "users"}
    illness = {"name": "illness", "type": "text", "personal": True, "personal_of": "owner"}
    await platform.make("items", owner, illness)
    with pytest.raises(Invalid) as refused:
        await do(platform, "update", set={"illness": "gout"})
    assert [error.pointer for error in refused.value.errors] == ["/set/illness"]
    assert read(await do(platform, "update", set={"illness": None}))["state"] == "done"


async def test_what_passes_is_changed_in_one_commit(platform: Platform) -> None:
    rules = {"list": "record.kind != 'hidden'", "update": OWN, "delete": OWN}
    await platform.make("items", *FIELDS, rules=rules)
    await fill(platform, *({"owner": ANNA.id, "kind": k} for k in ("a", "a", "b", "hidden")),
               {"owner": BERT.id, "kind": "a"})  # fmt: skip
    change = {"set": {"$add": {"count": 2}}, "filter": "record.kind in ['a', 'hidden']"}
    counted = read(await do(platform, "update", ANNA, **change, dry_run=True))
    assert (counted["state"], counted["total"], counted["done"]) == ("counted", 3, 0)
    with pytest.raises(TooMany):
        await do(platform, "update", ANNA, **change, limit_max=2)
    done = read(await do(platform, "update", ANNA, **change, limit_max=3))
    assert (done["state"], done["done"], done["skipped"], done["id"]) == ("done", 2, 1, None)
    told = await events(platform, "updated")
    assert [e["data"]["before"]["count"] for e in told] == [0, 0]
    assert {e["actor"] for e in told} == {ANNA.id}
    done = read(await do(platform, "delete", ANNA, filter="record.kind == 'a'"))
    assert (done["done"], done["skipped"]) == (2, 1)
    assert len(await events(platform, "deleted")) == 2
    left = [(r["owner"], r["kind"], r["count"]) for r in await platform.everything("items")]
    assert left == [(ANNA.id, "b", 0), (ANNA.id, "hidden", 0), (BERT.id, "a", 0)]


async def test_what_cannot_be_is_refused_and_changes_nothing(platform: Platform) -> None:
    await platform.make("items", *FIELDS, rules={"update": OWN, "view": "true"})
    await fill(platform, {"kind": "a", "count": 99}, {"kind": "a", "slug": "x"})
    cases: list[tuple[str, Caller, dict[str, Any], type[Failure]]] = [
        ("update", KEY, {"set": {"slug": "y"}}, UniqueTaken),
        ("update", KEY, {"set": {"slug": "x"}}, UniqueTaken),
        ("update", KEY, {"set": {"$add": {"count": 2}}}, Invalid),
        ("update", KEY, {"set": {"other": 1}}, Invalid),
        ("update", KEY, {"set": {"id": "rec_0"}}, Invalid),
        ("update", KEY, {"set": {}, "filter": "record.nothing == 1"}, Invalid),
        ("update", ANNA, {"set": {"kind": "b"}}, Forbidden),  # without a list rule
        ("update", NOBODY, {"set": {"kind": "b"}}, Unauthenticated),
        ("delete", ANNA, {}, Forbidden),
    ]
    for kind, caller, many, error in cases:
        with pytest.raises(error):
            await do(platform, kind, caller, **many)
    assert await events(platform, "updated") == await events(platform, "deleted") == []


async def key(whole: testing.Platform, *scopes: str) -> Caller:
    """Somebody who is there when a run goes on."""
    client = await whole.as_key(*scopes)
    assert client.id is not None
    return Caller("key", client.id, scopes=frozenset(scopes))


async def many_items(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, anna: Caller = ANNA, **parts: Any
) -> None:
    """Make ten items, of which a call takes four and a page of a run three."""
    monkeypatch.setattr(runs, "AT_ONCE_MAX", 4)
    monkeypatch.setattr(runs, "RUN_PAGE_MAX", 3)
    await platform.make("items", *FIELDS, **parts)
    owners = [anna.id if n % 5 else BERT.id for n in range(10)]
    await fill(platform, *({"owner": o, "count": n} for n, o in enumerate(owners)))


async def test_more_take_a_run(
    platform: Platform, whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many_items(platform, monkeypatch)
    admin = await key(whole, "*")
    change = {"set": {"$add": {"count": 1}}, "filter": "record.owner == 'user_anna'"}
    begun = await do(platform, "update", admin, **change)
    run = read(begun)
    assert begun.status == 202
    assert begun.headers == (("Location", f"/v1/record_runs/{run['id']}"),)
    assert (run["state"], run["total"], run["done"]) == ("running", 8, 0)
    platform.clock.move(0.002)
    await fill(platform, {"owner": ANNA.id, "count": 50})  # which comes after it began
    assert await platform.work() == 3
    ended = await ask(platform, run["id"])
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", 8, 0)
    assert [r["count"] for r in await platform.everything("items")] == [
        0, 2, 3, 4, 5, 5, 7, 8, 9, 10, 50,
    ]  # fmt: skip
    assert {e["actor"] for e in await events(platform, "updated")} == {admin.id}
    assert await platform.database.read(SPECS, ()) == ["{}"]
    with pytest.raises(RunEnded):
        await ask(platform, run["id"], what="cancel_run")
    with pytest.raises(NotFound):
        await ask(platform, run["id"], BERT)


async def test_a_page_counts_once_however_often_it_runs(
    platform: Platform, whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many_items(platform, monkeypatch)
    admin = await key(whole, "*")
    for _ in range(2):
        call = platform.call(admin)
        args = {"collection": "items", "many": {"filter": "true", "set": {"$add": {"count": 1}}}}
        outcome = await platform.runtime.dispatcher.run(
            *platform.prepared(call, "update_records", **args), Idempotency(b"key", b"request")
        )
    run = read(outcome)["id"]
    job = service.jobs["records.do_page"]
    call = platform.call(admin)
    await job(call, run=run)  # a worker that is killed before its commit
    late = platform.call(admin)
    await job(late, run=run)
    assert await platform.work() == 4
    assert sorted(r["count"] for r in await platform.everything("items")) == list(range(1, 11))
    assert (await ask(platform, run))["done"] == 10
    await job(late, run=run)
    assert late.writes != []  # of before, for a version that is gone: it would run again


async def test_what_fails_is_told_and_the_rest_goes_on(
    platform: Platform, whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many_items(platform, monkeypatch)
    admin = await key(whole, "*")
    relation = {"name": "item", "type": "relation", "collection": "items"}
    await platform.make("lines", relation)
    items = await platform.everything("items")
    line = await platform.add("lines", item=items[4]["id"])
    run = read(await do(platform, "update", admin, set={"$add": {"count": 92}}))
    await platform.work()
    ended = await ask(platform, run["id"])
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", 9, 1)
    (error,) = ended["errors"]
    assert (error["id"], error["code"]) == (items[9]["id"], "invalid")
    assert error["errors"][0]["pointer"] == "/set/$add/count"
    run = read(await do(platform, "delete", admin))
    await platform.work()
    ended = await ask(platform, run["id"])
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", 9, 1)
    assert (ended["errors"][0]["code"], ended["errors"][0]["id"]) == (
        "still_referenced", items[4]["id"],
    )  # fmt: skip
    with pytest.raises(StillReferenced):
        await do(platform, "delete", admin)  # one that is left, at once
    await platform.run("delete_record", collection="lines", id=line["id"])
    assert read(await do(platform, "delete", admin))["done"] == 1


async def test_a_run_is_its_caller_s(
    platform: Platform, whole: testing.Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, admin = await key(whole, "jobs:read"), await key(whole, "*")
    rules = {"list": "true", "delete": OWN, "update": OWN}
    await many_items(platform, monkeypatch, anna, rules=rules)
    with pytest.raises(Unauthenticated):
        await do(platform, "delete", NOBODY)
    run = read(await do(platform, "delete", anna))
    with pytest.raises(NotFound):
        await ask(platform, run["id"], BERT)
    assert (await ask(platform, run["id"], admin))["state"] == "running"
    await platform.work()
    ended = await ask(platform, run["id"], anna)
    assert (ended["state"], ended["done"], ended["skipped"]) == ("done", 8, 2)
    assert {e["actor"] for e in await events(platform, "deleted")} == {anna.id}
    await fill(platform, *({"owner": anna.id} for _ in range(5)))
    run = read(await do(platform, "delete", anna))
    for _ in range(2):
        assert (await ask(platform, run["id"], anna, "cancel_run"))["state"] == "cancelled"
    run = read(await do(platform, "delete", anna))
    await platform.run("update_collection", name="items", query={}, change={"rules": {}})
    await platform.work()
    ended = await ask(platform, run["id"], anna)
    assert (ended["state"], ended["done"]) == ("failed", 0)
    assert "records:write" in ended["problem"]
    # Whoever asked is nobody by the time that its first page is due: nothing is deleted.
    run = read(await do(platform, "delete", admin))
    await whole.system.call("users.delete_api_key", admin.id)
    await platform.work()
    ended = await ask(platform, run["id"], KEY)
    assert (ended["state"], ended["done"]) == ("failed", 0)
    assert "gone" in ended["problem"]
    assert len(await platform.everything("items")) == 7

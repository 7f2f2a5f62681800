"""``:find`` and ``:aggregate`` by a MongoDB beside the platform: what is answered, and to whom."""

import random
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.errors import Invalid
from mainspring.ports.documents import DocumentStore
from mainspring.services.records import projector
from mainspring.services.records.api.document_copies import DocumentsNotReady
from mainspring.services.records.operations import document_store
from mainspring.testing.servers import FerretServer
from tests.services.records.platform import ANNA, KEY, Platform, read
from tests.services.records.test_documents_agree import Made

pytestmark = [pytest.mark.more, pytest.mark.xdist_group("ferretdb")]
TITLE = {"name": "title", "type": "text"}
N = {"name": "n", "type": "integer"}
OWNER = {"name": "owner", "type": "text", "max": 40}
OWN = {"list": "record.owner == caller.id", "view": "true"}
BEYOND = {"n": {"$mod": [2, 0]}}  # what only a store has


@pytest.fixture
async def whole(
    platform_server: str | None, ferretdb: FerretServer
) -> AsyncIterator[testing.Platform]:
    url = f"{ferretdb.url}{secrets.token_hex(6)}"
    settings = {"documents.url": url, "records.documents_wait_s": 0.2}
    async with testing.Platform(database=platform_server, settings=settings) as whole:
        yield whole


async def find(platform: Platform, filter: Any, caller: Any = KEY, **rest: Any) -> Any:
    outcome = await platform.run(
        "find_documents", caller, collection="posts", find={"filter": filter, **rest}
    )
    return read(outcome)


async def titles(platform: Platform, filter: Any, caller: Any = KEY, **rest: Any) -> list[str]:
    return [one["title"] for one in (await find(platform, filter, caller, **rest))["items"]]


async def aggregate(platform: Platform, *pipeline: Any, caller: Any = KEY) -> Any:
    outcome = await platform.run(
        "aggregate_documents", caller, collection="posts", pipeline={"pipeline": pipeline}
    )
    return read(outcome)["items"]


async def test_a_collection_is_copied_and_asked(
    whole: testing.Platform, platform: Platform
) -> None:
    await platform.make("posts", TITLE, N, documents=True)
    rows = [await platform.add("posts", title=f"post {n}", n=n) for n in range(6)]
    with pytest.raises(DocumentsNotReady):  # what was written before is not in it yet
        await titles(platform, BEYOND)
    assert await titles(platform, {"n": {"$gt": 3}}) == ["post 4", "post 5"]  # in memory
    await whole.drain()
    assert await titles(platform, BEYOND) == ["post 0", "post 2", "post 4"]
    assert await titles(platform, BEYOND, sort={"n": -1}, skip=1) == ["post 2", "post 0"]
    page = await find(platform, BEYOND, limit=2, projection={"title": 1})
    assert [one["title"] for one in page["items"]] == ["post 0", "post 2"]
    assert set(page["items"][0]) == {"_id", "title"}
    assert await titles(platform, BEYOND, limit=2, cursor=page["next_cursor"]) == ["post 4"]
    assert await aggregate(platform, {"$match": BEYOND}, {"$count": "n"}) == [{"n": 3}]
    unset = await aggregate(platform, {"$sort": {"n": 1}}, {"$limit": 1}, {"$unset": "title"})
    assert "title" not in unset[0]
    assert {"_id", "id", "n", "created_at"} <= set(unset[0])
    assert not [name for name in unset[0] if name.startswith("~")]

    await platform.run("update_record", collection="posts", id=rows[2]["id"], body={"n": 3})
    await platform.run("delete_record", collection="posts", id=rows[4]["id"])
    with pytest.raises(DocumentsNotReady):
        await aggregate(platform, {"$match": BEYOND}, {"$count": "n"})
    await whole.drain()
    assert await titles(platform, BEYOND) == ["post 0"]
    assert await aggregate(platform, {"$match": BEYOND}, {"$count": "n"}) == [{"n": 1}]
    store = whole.app.runtime.resources[DocumentStore]
    await platform.run("update_collection", name="posts", change={"documents": False})
    await whole.drain()
    assert await store.indexes() == []


async def test_nobody_is_told_what_they_may_not_see(
    whole: testing.Platform, platform: Platform
) -> None:
    secret = {"name": "secret", "type": "integer", "rules": {"read": "record.owner == caller.id"}}
    await platform.make("posts", TITLE, N, OWNER, secret, rules=OWN, documents=True)
    for n in range(4):
        await platform.add("posts", title=f"mine {n}", n=n, owner="user_anna", secret=n)
        await platform.add("posts", title=f"his {n}", n=n, owner="user_bert", secret=n)
    await whole.drain()
    assert len(await titles(platform, BEYOND)) == 4
    assert await titles(platform, BEYOND, ANNA) == ["mine 0", "mine 2"]
    assert await titles(platform, BEYOND, ANNA, sort={"n": -1}, skip=1) == ["mine 0"]
    assert await titles(platform, BEYOND, ANNA, limit=1) == ["mine 0"]
    with pytest.raises(Invalid):  # by what she may not read of every record no store is asked
        await titles(platform, {"secret": {"$mod": [2, 0]}}, ANNA)
    with pytest.raises(Invalid):
        await titles(platform, BEYOND, ANNA, sort={"secret": 1})
    with pytest.raises(Invalid):  # nor does a pipeline over the records of others
        await aggregate(platform, {"$match": BEYOND}, {"$count": "n"}, caller=ANNA)
    assert await aggregate(platform, {"$count": "n"}, caller=ANNA) == [{"n": 4}]
    await platform.make("plain", N, OWNER, rules=OWN, documents=True)  # rows alone are hidden
    await platform.add("plain", n=0, owner="user_bert")
    await whole.drain()
    even = {"pipeline": [{"$match": BEYOND}, {"$count": "n"}]}
    with pytest.raises(Invalid):
        await platform.run("aggregate_documents", ANNA, collection="plain", pipeline=even)
    counted = {"pipeline": [{"$count": "n"}]}
    hers = await platform.run("aggregate_documents", ANNA, collection="plain", pipeline=counted)
    assert read(hers) == {"items": []}
    for stage in (
        {"$lookup": {"from": "posts", "pipeline": [], "as": "x"}}, {"$out": "x"},
        {"$merge": {"into": "x"}}, {"$unionWith": "x"}, {"$collStats": {}}, {"$graphLookup": {}},
        {"$match": {"$where": "true"}}, {"$match": {"$expr": {"$function": {}}}},
        {"$set": {"x": {"$function": {"body": "", "args": [], "lang": "js"}}}},
        {"$facet": {"x": [{"$lookup": {}}]}}, {"$set": {"x": "$$USER_ROLES"}},
        {"$group": {"_id": None, "x": {"$accumulator": {}}}},
    ):  # fmt: skip
        with pytest.raises(Invalid):
            await aggregate(platform, stage)


async def test_personal_fields_stay_here_and_what_ends_with_a_person_ends_there(
    whole: testing.Platform, platform: Platform
) -> None:
    owner = {"name": "owner", "type": "relation", "collection": "users", "on_delete": "cascade"}
    ill = {"name": "illness", "type": "text", "personal": True, "personal_of": "owner"}
    rules = {"list": "true", "view": "true", "create": "caller != null"}
    await platform.make("posts", TITLE, N, owner, ill, rules=rules, documents=True)
    ann = await whole.as_user("ann@example.com")
    path = "/v1/collections/posts/records"
    body = {"owner": ann.id, "illness": "gout", "title": "hers", "n": 2}
    (await ann.post(path, body)).expect(201)
    await platform.add("posts", title="of nobody", n=4)
    await whole.drain()
    store = whole.app.runtime.resources[DocumentStore]
    (index,) = await store.indexes()
    kept = await store.pipeline(index, [], bytes_max=100_000)
    assert [sorted(one) for one in kept] == [
        ["_id", "collection", "created_at", "id", "n", "owner", "title", "updated_at"]
    ] * 2
    found = (await find(platform, BEYOND))["items"]
    assert [one["illness"] for one in found] == ["gout", None]  # read here, opened here
    assert await titles(platform, {"illness": "gout"}) == ["hers"]  # in memory
    with pytest.raises(Invalid):
        await titles(platform, {"illness": {"$type": 2}})
    with pytest.raises(Invalid):
        await aggregate(platform, {"$unset": "title"})
    (await whole.admin.delete(f"/v1/users/{ann.id}")).expect(204)
    await whole.drain()
    assert await titles(platform, BEYOND) == ["of nobody"]
    kept = await store.pipeline(index, [{"$match": {"title": "hers"}}], bytes_max=100_000)
    assert kept == []


async def test_random_questions_are_answered_alike_with_and_without_it(
    whole: testing.Platform, platform: Platform, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    made = Made(random.Random(seed))
    await platform.make("posts", *({"name": n, "type": "json"} for n in "abc"), documents=True)
    for _ in range(40):
        await platform.add("posts", **made.object(3))
    await whole.drain()
    questions = [made.filter() for _ in range(60)]

    async def ids(filter: Any, **rest: Any) -> list[str]:
        return [one["id"] for one in (await find(platform, filter, **rest))["items"]]

    wanted = [{"filter": each, "limit": 50} for each in questions]
    wanted += [{"filter": each, "sort": {"a": -1}, "skip": 2} for each in questions[:20]]
    asked: list[str] = []
    store = whole.app.runtime.resources[DocumentStore]
    answer = store.ids

    async def noted(index: str, *args: Any, **more: Any) -> list[str]:
        asked.append(index)
        found: list[str] = await answer(index, *args, **more)
        return found

    monkeypatch.setattr(store, "ids", noted)
    by_store = [await ids(**each) for each in wanted]
    assert len(asked) == len(wanted)

    async def nowhere(*_: Any) -> None:
        raise document_store.Elsewhere

    monkeypatch.setattr(document_store, "find", nowhere)
    for question, found in zip(wanted, by_store, strict=True):
        assert found == await ids(**question), question
    assert len({len(found) for found in by_store}) > 5  # they tell records apart


async def test_a_copy_is_made_of_what_is_stored_and_again_when_it_is_lost(
    whole: testing.Platform, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "PAGE_ROWS", 2)
    await platform.make("posts", TITLE, N)
    for n in range(5):
        await platform.add("posts", title=f"post {n}", n=n)
    await whole.drain()
    with monkeypatch.context() as before:  # as in a version that knew of no store
        before.setattr(projector.Projector, "ask_changed", lambda *_: None)
        await platform.run("update_collection", name="posts", change={"documents": True})
    await whole.drain()
    with pytest.raises(DocumentsNotReady, match="being copied"):
        await titles(platform, BEYOND)
    await whole.pass_time(minutes=5)
    assert len(await titles(platform, BEYOND)) == 3
    store = whole.app.runtime.resources[DocumentStore]
    (index,) = await store.indexes()
    await store.drop(index)
    with pytest.raises(DocumentsNotReady, match="made anew"):
        await titles(platform, BEYOND)
    await platform.add("posts", title="post 6", n=6)
    await whole.drain()
    assert len(await titles(platform, BEYOND)) == 4
    await store.drop((await store.indexes())[0])
    await whole.pass_time(minutes=5)
    assert len(await titles(platform, BEYOND)) == 4
    await platform.run("delete_collection", name="posts")
    await whole.drain()
    assert await store.indexes() == []

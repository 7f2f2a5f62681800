"""``?q=`` on lists: what is found, by whom, how soon, and what becomes of a lost index."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.errors import Forbidden, Invalid
from mainspring.ports.search import SearchEngine
from mainspring.services.records import projector
from mainspring.services.records.api.search import SearchNotReady
from tests.services.records.platform import ANNA, KEY, NOBODY, Platform

TITLE = {"name": "title", "type": "text", "search": True, "search_weight": 5}
BODY = {"name": "body", "type": "text", "search": True}
OWNER = {"name": "owner", "type": "text", "max": 40}
OWN = {"list": "record.owner == caller.id", "view": "true"}


@pytest.fixture
async def whole(platform_server: str | None, tmp_path: Path) -> AsyncIterator[testing.Platform]:
    """A platform with an index in a file, whichever its database is."""
    settings = {"search.url": f"fts5:{tmp_path / 'search.db'}", "records.search_wait_s": 0.2}
    async with testing.Platform(database=platform_server, settings=settings) as whole:
        yield whole


async def titles(platform: Platform, q: str, caller: Any = KEY, **query: Any) -> list[str]:
    found = await platform.everything("posts", caller, q=q, **query)
    return [item["title"] for item in found]


async def test_records_are_found_by_their_words(
    whole: testing.Platform, platform: Platform
) -> None:
    await platform.make("posts", TITLE, BODY, OWNER)
    spring = await platform.add(
        "posts", title="Spring in Zürich", body="It rains. State-of-the-art"
    )
    await platform.add("posts", title="Rain", body="More of it, in spring")
    await whole.drain()
    assert await titles(platform, "spring") == ["Spring in Zürich", "Rain"]
    assert await titles(platform, "SPRING zurich") == ["Spring in Zürich"]
    assert await titles(platform, "rain*", sort="-id") == ["Rain", "Spring in Zürich"]
    assert await titles(platform, '"it rains"') == ["Spring in Zürich"]
    assert await titles(platform, '"rains it"') == []
    assert await titles(platform, "spring", filter="title == 'Rain'") == ["Rain"]
    assert await titles(platform, "spring", limit=1) == ["Spring in Zürich", "Rain"]
    assert await titles(platform, 'title : OR NOT ( " ^') == []

    await platform.run(
        "update_record", collection="posts", id=spring["id"], body={"title": "Autumn"}
    )
    with pytest.raises(SearchNotReady):  # what was written before is not in the index yet
        await titles(platform, "autumn")
    await whole.drain()
    assert await titles(platform, "autumn") == ["Autumn"]
    assert await titles(platform, "zurich") == []
    await platform.run("delete_record", collection="posts", id=spring["id"])
    await whole.drain()
    assert await titles(platform, "autumn") == []


async def test_what_cannot_be_asked_is_refused(whole: testing.Platform, platform: Platform) -> None:
    await platform.make("posts", TITLE, OWNER)
    await platform.make("plain", OWNER)
    await whole.drain()
    for query in (
        {"q": "!!!"}, {"q": "a-b*"}, {"q": " ".join(map(str, range(20)))},
        {"q": "a", "sort": "title"}, {"q": "a", "total": "exact"}, {"q": "a", "cursor": "abc"},
    ):  # fmt: skip
        with pytest.raises(Invalid):
            await platform.page("posts", **query)
    with pytest.raises(Invalid, match="no field"):
        await platform.page("plain", q="a")
    for wrong in (
        {"type": "integer", "search": True}, {"type": "text", "search_weight": 2},
        {"type": "text", "hidden": True, "search": True},
        {"type": "text", "personal": True, "personal_of": "owner", "search": True},
    ):  # fmt: skip
        with pytest.raises(Invalid):
            await platform.make("wrong", OWNER, {"name": "f", **wrong})


async def test_nobody_finds_what_they_may_not_see(
    whole: testing.Platform, platform: Platform
) -> None:
    secret = {"name": "secret", "type": "text", "search": True,
              "rules": {"read": "record.owner == caller.id"}}  # fmt: skip
    await platform.make("posts", TITLE, OWNER, secret, rules=OWN)
    for at in range(3):
        await platform.add("posts", title=f"mine {at}", owner="user_anna", secret="gold")
        await platform.add("posts", title=f"his {at}", owner="user_bert", secret="gold")
    await whole.drain()
    assert await titles(platform, "gold") == [f"{w} {i}" for i in range(3) for w in ("mine", "his")]
    # By a field that is not shown in every record nothing is found, even where it would be shown.
    assert await titles(platform, "gold", ANNA) == []
    assert await titles(platform, "his", ANNA) == []
    assert await titles(platform, "mine", ANNA) == [
        "mine 2",
        "mine 1",
        "mine 0",
    ]  # the newest first
    assert await titles(platform, "mine", ANNA, limit=2) == ["mine 2", "mine 1", "mine 0"]
    await platform.make("private", secret, OWNER, rules=OWN)
    with pytest.raises(Forbidden):
        await platform.page("private", ANNA, q="gold")
    with pytest.raises(Forbidden):
        await platform.page("posts", NOBODY, q="gold", filter="secret == 'gold'")


async def test_an_index_is_built_of_what_is_stored_and_again_when_it_is_lost(
    whole: testing.Platform, platform: Platform
) -> None:
    await platform.make("posts", {**TITLE, "search": False, "search_weight": 1}, BODY, OWNER)
    await platform.add("posts", title="alpha", body="one")
    await whole.drain()
    await platform.run("update_collection", name="posts", change={"fields": [TITLE, BODY, OWNER]})
    await whole.app.runtime.sequencer.sequence()
    assert await titles(platform, "one") == ["alpha"]  # by the index before, until then
    assert await titles(platform, "alpha") == []
    await whole.drain()
    assert await titles(platform, "alpha") == ["alpha"]

    engine = whole.app.runtime.resources[SearchEngine]
    (index,) = await engine.indexes()
    await engine.drop(index)
    with pytest.raises(SearchNotReady):
        await titles(platform, "alpha")
    await platform.add("posts", title="alpha too", body="one")
    await whole.drain()
    assert len(await titles(platform, "alpha")) == 2
    await engine.drop((await engine.indexes())[0])
    await whole.pass_time(minutes=5)
    assert len(await titles(platform, "alpha")) == 2

    await platform.run("delete_collection", name="posts")
    await whole.drain()
    assert await engine.indexes() == []


async def test_what_happens_while_an_index_is_built_is_in_it(
    whole: testing.Platform, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "PAGE_ROWS", 1)
    await platform.make("posts", {**TITLE, "search": False, "search_weight": 1}, OWNER)
    rows = [await platform.add("posts", title=f"word {at}") for at in range(4)]
    await whole.drain()
    engine = whole.app.runtime.resources[SearchEngine]
    apply, calls = engine.apply, 0

    async def disturbed(index: str, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # both kinds of record: those that are in it and those that are not yet
            for row, title in ((rows[0], "new"), (rows[3], "new")):
                await platform.run(
                    "update_record", collection="posts", id=row["id"], body={"title": title}
                )
            await platform.run("delete_record", collection="posts", id=rows[1]["id"])
        if calls == 3:
            await engine.drop(index)
        await apply(index, *args)

    monkeypatch.setattr(engine, "apply", disturbed)
    await platform.run("update_collection", name="posts", change={"fields": [TITLE, OWNER]})
    await whole.drain()
    assert await titles(platform, "new", sort="-id") == ["new", "new"]
    assert await titles(platform, "word") == ["word 2"]
    assert calls > 5  # it was lost on the way, and begun anew

"""Fields whose values together no two records have."""

from mainspring.kernel.errors import Invalid
from mainspring.services.records.api import SchemaChangeRefused, UniqueTaken
from tests.services.records.platform import Platform
from tests.services.records.test_relations import refused

TEXT = {"type": "text", "max": 40}
SHOP, SLUG = {"name": "shop", **TEXT}, {"name": "slug", **TEXT}
TOGETHER = [["shop", "slug"]]


async def test_values_are_unique_together(platform: Platform) -> None:
    made = await platform.make("offers", SHOP, SLUG, uniques=TOGETHER)
    assert made["uniques"] == TOGETHER
    first = await platform.add("offers", shop="a", slug="x")
    other = await platform.add("offers", shop="a", slug="y")
    await platform.add("offers", shop="b", slug="x")
    await platform.add("offers", shop="ab", slug="")
    await platform.add("offers", shop="a", slug="b")
    for _ in range(2):
        await platform.add("offers", shop="a")  # null is held to nothing
    taken = await refused(platform.add("offers", shop="a", slug="x"), UniqueTaken)
    assert [error.pointer for error in taken.errors] == ["/shop", "/slug"]
    assert "'shop' and 'slug'" in (taken.detail or "")
    change = {"collection": "offers", "id": other["id"]}
    await refused(platform.run("update_record", **change, body={"slug": "x"}), UniqueTaken)
    # In a batch two change places.
    items = [
        {"action": "update", "id": first["id"], "data": {"slug": "y"}},
        {"action": "update", "id": other["id"], "data": {"slug": "x"}},
    ]
    await platform.run("batch_records", collection="offers", batch={"items": items})
    assert (await platform.get("offers", other["id"]))["slug"] == "x"


async def test_stored_records_that_share_values_are_named(platform: Platform) -> None:
    await platform.make("offers", SHOP, SLUG)
    a = await platform.add("offers", shop="a", slug="x")
    b = await platform.add("offers", shop="a", slug="x")
    run = {"name": "offers", "change": {"uniques": TOGETHER}}
    failure = await refused(platform.run("update_collection", **run), SchemaChangeRefused)
    assert a["id"] in (failure.detail or "")
    assert b["id"] in (failure.detail or "")
    change = {"collection": "offers", "id": b["id"], "body": {"slug": "y"}}
    await platform.run("update_record", **change)
    await platform.run("update_collection", **run)
    await platform.work()
    await refused(platform.add("offers", shop="a", slug="y"), UniqueTaken)
    # What is left out of a change stays.
    await platform.run("update_collection", name="offers", change={"rules": {"list": "true"}})
    await refused(platform.add("offers", shop="a", slug="y"), UniqueTaken)
    await platform.run("update_collection", name="offers", change={"uniques": []})
    await platform.work()
    await platform.add("offers", shop="a", slug="y")


async def test_what_cannot_be_unique_together_is_told(platform: Platform) -> None:
    tags = {"name": "tags", "many": True, **TEXT}
    for uniques, at in (
        ([["shop", "nothing"]], "/uniques/0/1"),
        ([["shop", "tags"]], "/uniques/0/1"),
        ([["shop", "shop"]], "/uniques/0"),
        ([*TOGETHER, ["slug", "shop"]], "/uniques/1"),
    ):
        failure = await refused(platform.make("offers", SHOP, SLUG, tags, uniques=uniques), Invalid)
        assert [error.pointer for error in failure.errors] == [at]

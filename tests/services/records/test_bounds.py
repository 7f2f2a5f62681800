"""Answers are bounded in bytes: what is longer ends early with a cursor, or is refused in words."""

import asyncio
import tracemalloc
from typing import Any

import pytest

from mainspring.kernel.errors import Invalid
from mainspring.kernel.page import PAGE_BYTES_MAX
from tests.services.records.platform import Platform, read

TEXT_CHARS = 180_000
BIG = {"name": "text", "type": "text", "max": 200_000}
ROWS = 120  # together about ten pages of bytes
LIST_MEMORY_BYTES_MAX = 4 * PAGE_BYTES_MAX  # text of the rows, the answer, and one of each in hand


@pytest.fixture
async def big(platform: Platform) -> Platform:
    """A collection of rows of 180 KB."""
    fields = [BIG, {"name": "n", "type": "integer"}, {"name": "note", "type": "text"}]
    await platform.make("docs", *fields, indexes=[["-n"]])
    for n in range(ROWS):
        await platform.add("docs", text=chr(97 + n % 26) * TEXT_CHARS, n=n, note=f"{n:03}")
    return platform


async def pages(platform: Platform, collection: str, **query: Any) -> list[list[dict[str, Any]]]:
    """Follow a list to its end; every answer is within the bound."""
    found, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        outcome = await platform.run(
            "list_records", collection=collection, query={"limit": 500, **query, **more}
        )
        assert len(outcome.body) <= PAGE_BYTES_MAX + 10_000
        page = read(outcome)
        assert page["items"] or page["next_cursor"] is None
        found.append(page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize(
    "query",
    [{}, {"sort": "-n"}, {"sort": "note"}, {"filter": "note != '007'", "sort": "-note"},
     {"sort": "-id"}, {"fields": "id,n"}, {"filter": "n >= 0"}],
    ids=str,
)  # fmt: skip
async def test_a_list_of_large_records_ends_early_and_goes_on(
    big: Platform, query: dict[str, Any]
) -> None:
    found = await pages(big, "docs", **query)
    assert len(found) >= 10
    numbers = [record["n"] for page in found for record in page]
    wanted = [n for n in range(ROWS) if n != 7 or "note" not in query.get("filter", "")]
    assert numbers == (wanted[::-1] if "-" in query.get("sort", "") else wanted)


async def test_lists_of_large_records_take_little_memory(big: Platform) -> None:
    async def once(sort: str) -> None:
        await big.run("list_records", collection="docs", query={"limit": 500, "sort": sort})

    await once("id")
    tracemalloc.start()
    try:
        await asyncio.gather(*[once(sort) for sort in ("id", "-n", "note", "-note")])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIST_MEMORY_BYTES_MAX


async def test_what_is_expanded_counts(platform: Platform) -> None:
    await platform.make("docs", BIG)
    relations = [
        {"name": name, "type": "relation", "collection": "docs"} for name in ("one", "two")
    ]
    await platform.make("links", {"name": "n", "type": "integer"}, *relations)
    docs = [await platform.add("docs", text=chr(97 + n) * TEXT_CHARS) for n in range(20)]
    for n in range(60):
        two = None if n % 3 else docs[-n % 20]["id"]
        await platform.add("links", n=n, one=docs[n % 20]["id"], two=two)
    found = await pages(platform, "links", expand="one,two")
    assert len(found) > 5
    links = [link for page in found for link in page]
    assert [link["n"] for link in links] == list(range(60))
    for link in links:
        assert link["expand"]["one"] == docs[link["n"] % 20]
        assert link["expand"]["two"] == (None if link["n"] % 3 else docs[-link["n"] % 20])


async def test_groups_with_long_keys_are_refused(big: Platform) -> None:
    query = {"group": "text", "max": "n"}
    with pytest.raises(Invalid) as refused:
        await big.run("aggregate_records", collection="docs", query={**query, "min": "text"})
    assert [f.pointer for f in refused.value.errors] == ["/group"]
    few = {**query, "filter": "n < 3"}
    answer = read(await big.run("aggregate_records", collection="docs", query=few))
    assert [(len(g["group"]["text"]), g["max"]["n"]) for g in answer["items"]] == [
        (TEXT_CHARS, 0), (TEXT_CHARS, 1), (TEXT_CHARS, 2),
    ]  # fmt: skip


async def test_a_list_of_large_collections_ends_early(platform: Platform) -> None:
    values = [f"{'v' * 250}{i:03}" for i in range(200)]
    fields = [{"name": f"f{i}", "type": "select", "values": values} for i in range(15)]
    names = [f"c{i:02}" for i in range(6)]
    for name in names:
        await platform.make(name, *fields)
    found: list[str] = []
    cursor, asked = None, 0
    while True:
        query = {"cursor": cursor} if cursor else {}
        outcome = await platform.run("list_collections", query=query)
        assert len(outcome.body) <= PAGE_BYTES_MAX + 10_000
        page, asked = read(outcome), asked + 1
        found += [c["name"] for c in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert (found, asked) == (names, 3)

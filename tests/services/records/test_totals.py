"""How many records a list has: under the same rules, exact or as far as an estimate counts."""

import pytest

from mainspring.adapters.database import sqlite_readers
from mainspring.kernel.errors import NeedsIndex
from mainspring.services.records import api
from tests.services.records.platform import ANNA, BERT, NOBODY, Platform

OWN = "record.owner == caller.id"
FIELDS = ({"name": "owner", "type": "text", "max": 40}, {"name": "n", "type": "integer"})


async def test_a_total_is_of_what_the_caller_may_see(platform: Platform) -> None:
    await platform.make("things", *FIELDS, rules={"list": OWN, "view": OWN}, indexes=[["n"]])
    for n in range(6):
        await platform.add("things", owner=(ANNA if n < 4 else BERT).id, n=n)
    for caller, filter, total in ((ANNA, None, 4), (ANNA, "n > 1", 2), (BERT, "n < 4", 0),
                                  (BERT, None, 2), (NOBODY, None, 0), (ANNA, "n == 5", 0),
                                  (ANNA, "owner != caller.id", 0)):  # fmt: skip
        for kind, sort in (("exact", "id"), ("estimate", "-n"), ("exact", "owner")):
            page = await platform.page(
                "things", caller, filter=filter, total=kind, limit=1, sort=sort
            )
            assert (page["total"], page["total_is"]) == (total, "exact")
            assert len(page["items"]) == min(total, 1)
    first = await platform.page("things", ANNA, limit=3, total="exact", fields="n")
    rest = await platform.page(
        "things", ANNA, limit=3, total="exact", fields="n", cursor=first["next_cursor"]
    )
    assert (first["total"], rest["total"], len(rest["items"])) == (4, 4, 1)
    assert "total" not in await platform.page("things", ANNA)


async def test_the_tag_of_a_page_tells_its_total(platform: Platform) -> None:
    await platform.make("things", *FIELDS)
    tags = set()
    for _ in range(3):
        await platform.add("things")
        query = {"limit": 1, "total": "exact"}
        tags.add((await platform.run("list_records", collection="things", query=query)).etag)
    assert len(tags) == 3


async def test_an_estimate_counts_so_far(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ESTIMATED_MAX", 2)
    await platform.make("things", *FIELDS)
    for made, told in ((1, (1, "exact")), (2, (2, "exact")), (3, (2, "at_least"))):
        await platform.add("things", n=made)
        page = await platform.page("things", total="estimate")
        assert (page["total"], page["total_is"]) == told
        assert (await platform.page("things", total="exact"))["total"] == made


async def test_what_cannot_be_counted_says_so(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform.database.dialect != "sqlite":
        return  # its budget is a time
    await platform.make("things", *FIELDS)
    for _ in range(3):
        await platform.add("things")
    monkeypatch.setattr(sqlite_readers, "SCAN_STEPS_MAX", 0)
    monkeypatch.setattr(sqlite_readers, "STEPS_BETWEEN_CHECKS", 1)
    with pytest.raises(NeedsIndex, match="total=estimate"):
        await platform.page("things", total="exact")
    assert len((await platform.page("things"))["items"]) == 3

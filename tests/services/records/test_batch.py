"""Batches: what they may hold, and unique values that go from one record to another in them."""

import asyncio
import itertools
from typing import Any

import pytest

from mainspring.kernel.errors import Invalid
from mainspring.kernel.table import Query
from mainspring.services.records import service
from mainspring.services.records.api import BATCH_BYTES_MAX, UniqueTaken
from tests.services.records.platform import Platform, read

NAME = {"name": "name", "type": "text", "unique": True, "max": 100}
KEYS = Query("test.keys", "SELECT id, u1 FROM records_records ORDER BY id", tuple)


@pytest.fixture
async def named(platform: Platform) -> tuple[Platform, list[str]]:
    """Three records with a unique name each: a, b and c."""
    await platform.make("things", NAME, {"name": "code", "type": "integer", "unique": True})
    made = [await platform.add("things", name=name, code=i) for i, name in enumerate("abc")]
    return platform, [record["id"] for record in made]


async def batch(platform: Platform, *items: dict[str, Any]) -> list[Any]:
    outcome = await platform.run("batch_records", collection="things", batch={"items": items})
    answered: list[Any] = read(outcome)["items"]
    return answered


def update(id: str, **data: Any) -> dict[str, Any]:
    return {"action": "update", "id": id, "data": data}


def delete(id: str) -> dict[str, Any]:
    return {"action": "delete", "id": id}


def create(**data: Any) -> dict[str, Any]:
    return {"action": "create", "data": data}


async def names(platform: Platform) -> list[str | None]:
    """The names in the order of the records; each is held once, and by its record's key."""
    records = await platform.everything("things")
    stored = dict(await platform.database.read(KEYS, ()))
    held = [stored[r["id"]] for r in records]
    assert [key is None for key in held] == [r["name"] is None for r in records]
    assert len(set(held) - {None}) == len([key for key in held if key is not None])
    return [record["name"] for record in records]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_unique_values_go_round(
    named: tuple[Platform, list[str]], order: tuple[int, ...]
) -> None:
    platform, ids = named
    items = [update(ids[i], name="bca"[i], code=(i + 1) % 3) for i in order]
    answered = await batch(platform, *items)
    assert [record["name"] for record in answered] == ["bca"[i] for i in order]
    assert await names(platform) == ["b", "c", "a"]
    for i, name in enumerate("bca"):
        with pytest.raises(UniqueTaken):
            await platform.add("things", name=name)
        found = await platform.page("things", filter=f"name == '{name}'")
        assert [record["id"] for record in found["items"]] == [ids[i]]


@pytest.mark.parametrize("turn", [1, -1])
async def test_a_value_is_handed_on(named: tuple[Platform, list[str]], turn: int) -> None:
    platform, (a, b, _) = named
    await batch(platform, *[update(a, name="x"), update(b, name="a")][::turn])
    assert await names(platform) == ["x", "a", "c"]
    await batch(platform, *[update(a, name=None), create(name="x")][::turn])
    assert await names(platform) == [None, "a", "c", "x"]
    await batch(platform, *[delete(b), create(name="a")][::turn])
    assert await names(platform) == [None, "c", "x", "a"]
    await batch(platform, *[delete(a), create(name="y")][::turn])
    assert await names(platform) == ["c", "x", "a", "y"]


@pytest.mark.parametrize(
    ("items", "pointer"),
    [
        ([(0, "b")], "/items/0/data/name"),
        ([(0, "b"), (1, "b")], "/items/0/data/name"),
        ([(0, "x"), (1, "x")], "/items/1/data/name"),
        ([(0, "b"), (1, "c")], "/items/1/data/name"),
        ([(0, "b"), (1, "x"), (2, "b")], "/items/2/data/name"),
        ([(0, "b"), (1, "x"), (None, "b")], "/items/2/data/name"),
        ([(None, "b"), (1, "x"), (None, "b")], "/items/2/data/name"),
        ([(None, "y"), (1, "y")], "/items/1/data/name"),
    ],
)
async def test_no_value_is_there_twice(
    named: tuple[Platform, list[str]], items: list[tuple[int | None, str]], pointer: str
) -> None:
    platform, ids = named
    writes = [create(name=n) if i is None else update(ids[i], name=n) for i, n in items]
    with pytest.raises(UniqueTaken) as refused:
        await batch(platform, *writes)
    assert [f.pointer for f in refused.value.errors] == [pointer]
    assert await names(platform) == ["a", "b", "c"]


async def test_batches_that_race_for_a_value_leave_it_to_one(
    named: tuple[Platform, list[str]],
) -> None:
    platform, (a, b, c) = named
    outcomes = await asyncio.gather(
        batch(platform, update(a, name="x"), update(b, name="a")),
        batch(platform, update(a, name="y"), update(c, name="a")),
        batch(platform, delete(a), create(name="a")),
        return_exceptions=True,
    )
    assert any(not isinstance(outcome, BaseException) for outcome in outcomes)
    assert (await names(platform)).count("a") == 1


# Bounds


async def test_a_thousand_records_of_several_kilobytes_fit(platform: Platform) -> None:
    assert service.operations["records.batch_records"].body_bytes_max == BATCH_BYTES_MAX
    await platform.make("things", {"name": "text", "type": "text"})
    answered = await batch(platform, *[create(text="x" * 4_000) for _ in range(1_000)])
    assert len(answered) == 1_000


async def test_a_thousand_records_change_their_relations(platform: Platform) -> None:
    await platform.make("targets", NAME)
    ends = [(await platform.add("targets"))["id"] for _ in range(2)]
    relations = [{"name": n, "type": "relation", "collection": "targets"} for n in ("a", "b", "c")]
    await platform.make("things", *relations)
    made = await batch(platform, *[create(**dict.fromkeys("abc", ends[0])) for _ in range(1_000)])
    changes = [update(record["id"], **dict.fromkeys("abc", ends[1])) for record in made]
    changed = await batch(platform, *changes)
    assert {record[name] for record in changed for name in "abc"} == {ends[1]}


async def test_a_batch_changes_no_more_bytes_than_it_may_send(platform: Platform) -> None:
    await platform.make("things", {"name": "text", "type": "text", "max": 200_000},
                        {"name": "n", "type": "integer"})  # fmt: skip
    count = BATCH_BYTES_MAX // 190_000 + 1
    made = [await platform.add("things", text="x" * 190_000) for _ in range(count)]
    with pytest.raises(Invalid) as refused:
        await batch(platform, *[update(record["id"], n=1) for record in made])
    assert [f.pointer for f in refused.value.errors] == [f"/items/{count - 1}"]
    answered = await batch(platform, *[update(record["id"], n=1) for record in made[:-1]])
    assert [record["n"] for record in answered] == [1] * (count - 1)


async def test_all_ids_that_cannot_be_are_told(platform: Platform) -> None:
    await platform.make("things", NAME)
    one = await platform.add("things")
    items = [update(one["id"]), {**create(), "id": one["id"]}, {"action": "update"},
             delete(one["id"])]  # fmt: skip
    with pytest.raises(Invalid) as refused:
        await batch(platform, *items)
    assert [f.pointer for f in refused.value.errors] == [
        "/items/1/id", "/items/2/id", "/items/3/id",
    ]  # fmt: skip


async def test_what_is_wrong_with_every_record_is_told(platform: Platform) -> None:
    await platform.make("things", NAME, {"name": "n", "type": "integer"})
    one = await platform.add("things", name="a")
    items = [create(n="x", other=1), create(name="b"), update(one["id"], n=1.5), create(name=5)]
    with pytest.raises(Invalid) as refused:
        await batch(platform, *items)
    assert [f.pointer for f in refused.value.errors] == [
        "/items/0/data/n", "/items/0/data/other", "/items/2/data/n", "/items/3/data/name",
    ]  # fmt: skip
    assert await names(platform) == ["a"]
    with pytest.raises(Invalid) as many:
        await batch(platform, *[create(n="x", other=1) for _ in range(1_000)])
    assert len(many.value.errors) + many.value.errors_more == 2_000
    assert len(many.value.errors) <= 100

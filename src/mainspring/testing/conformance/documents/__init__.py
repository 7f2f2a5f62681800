"""What every ``DocumentStore`` must do. Run each of ``CHECKS`` on one that was opened.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_documents(check, store):
    await check(store)

``DOCUMENTS``, ``FOUND`` and ``MADE`` say what is found and made of what: the same wherever
MongoDB's language is answered, be it in memory.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from mainspring.ports.documents import (
    AnswerTooLarge,
    DocumentChange,
    DocumentStore,
    IdQuestion,
    NoIndex,
    NotSpoken,
    NotWhole,
)

DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"id": "a", "title": "Zürich", "n": 1, "tags": ["x", "y"], "at": {"city": "Zürich"}},
    {"id": "b", "title": "zug", "n": 2.5, "tags": [], "at": {"city": "Zug", "zip": "6300"}},
    {"id": "c", "title": "", "n": -3, "tags": ["y"], "at": None, "on": True},
    {"id": "d", "title": "Bern", "n": 2**53 - 1, "tags": ["z", "x", "x"], "on": False},
    {"id": "e", "title": "東京", "n": None, "at": {"city": "東京", "deep": {"er": [1, {"q": 2}]}}},
)
FOUND: tuple[tuple[dict[str, Any], dict[str, int], list[str]], ...] = (
    ({}, {}, ["a", "b", "c", "d", "e"]),
    ({"_id": "b"}, {}, ["b"]),
    ({"n": {"$gt": 0}}, {"n": -1}, ["d", "b", "a"]),
    ({"n": {"$in": [1, 2.5]}}, {}, ["a", "b"]),
    ({"n": None}, {}, ["e"]),
    ({"tags": "x"}, {"title": 1}, ["d", "a"]),
    ({"tags": {"$size": 0}}, {}, ["b"]),
    ({"at.city": {"$regex": "^Z"}}, {"at.city": -1}, ["a", "b"]),
    ({"title": {"$regex": "^Z", "$options": "i"}}, {}, ["a", "b"]),
    ({"$or": [{"on": True}, {"at.zip": {"$exists": True}}]}, {}, ["b", "c"]),
    ({"$nor": [{"tags": "y"}, {"n": 2.5}]}, {}, ["d", "e"]),
    ({"at.deep.er.q": 2}, {}, ["e"]),
    ({"on": {"$type": "bool"}}, {"on": 1}, ["d", "c"]),
    ({"title": "Zurich"}, {}, []),
)
MADE: tuple[tuple[list[dict[str, Any]], list[Any]], ...] = (
    ([{"$count": "all"}], [{"all": 5}]),
    ([{"$match": {"tags": "x"}}, {"$project": {"title": 1, "_id": 0}}],
     [{"title": "Zürich"}, {"title": "Bern"}]),
    ([{"$unwind": "$tags"}, {"$group": {"_id": "$tags", "n": {"$sum": 1}}}],
     [{"_id": "x", "n": 3}, {"_id": "y", "n": 2}, {"_id": "z", "n": 1}]),
    ([{"$match": {"n": {"$lt": 10}}}, {"$group": {"_id": None, "sum": {"$sum": "$n"}}}],
     [{"_id": None, "sum": 0.5}]),
    ([{"$sort": {"_id": -1}}, {"$skip": 1}, {"$limit": 1}, {"$project": {"id": 1}}],
     [{"_id": "d", "id": "d"}]),
    ([{"$match": {"_id": "e"}}],
     [{"_id": "e", **DOCUMENTS[4]}]),
)  # fmt: skip


def _changes(*documents: Mapping[str, Any], version: int = 1) -> list[DocumentChange]:
    return [DocumentChange(document["id"], version, document) for document in documents]


async def _ids(
    store: DocumentStore,
    filter: Mapping[str, Any],
    order: Mapping[str, int] | None = None,
    *,
    position: int = 0,
    index: str = "one",
    **which: Any,
) -> list[str]:
    question = IdQuestion(filter, order or {}, which.get("skip", 0), which.get("limit", 100))
    return await store.ids(index, question, position=position)


async def check_documents_are_found(store: DocumentStore) -> None:
    """By filters, in their order, page by page, and nothing of the store's own with them."""
    await store.make("one", ["*"])
    await store.apply("one", _changes(*DOCUMENTS), 1)
    for filter, order, ids in FOUND:
        assert await _ids(store, filter, order, position=1) == ids, filter
    assert await _ids(store, {}, {"n": 1}, skip=1, limit=2) == ["c", "a"]
    question = IdQuestion({}, {}, 0, 2, "b")
    assert await store.ids("one", question) == ["c", "d"]


async def check_pipelines_make_documents(store: DocumentStore) -> None:
    """Of all that is there, as JSON has it, within what was asked for."""
    await store.make("one", ["*"])
    await store.apply("one", _changes(*DOCUMENTS), 1)
    for stages, made in MADE:
        answer = await store.pipeline("one", stages, bytes_max=10_000, position=1)
        assert sorted(answer, key=repr) == sorted(made, key=repr), stages
    assert await _raises(AnswerTooLarge, store.pipeline("one", [], bytes_max=100, position=1))
    nonsense = [{"$match": {"a": {"$nonsense": 1}}}]
    assert await _raises(NotSpoken, store.pipeline("one", nonsense, bytes_max=100))
    assert await _raises(NotSpoken, _ids(store, {"a": {"$nonsense": 1}}))


async def check_what_is_older_never_wins(store: DocumentStore) -> None:
    """Nor does it bring back what was deleted; the same again does no harm."""
    await store.make("one", ["*"])

    def change(id: str, version: int, title: str | None) -> DocumentChange:
        return DocumentChange(id, version, None if title is None else {"id": id, "title": title})

    await store.apply("one", [change("a", 5, "new"), change("b", 5, "new")], 5)
    await store.apply("one", [change("a", 4, "old"), change("b", 6, None), change("c", 6, None)], 6)
    await store.apply("one", [change("b", 5, "late"), change("c", 5, "late")], 4)
    assert await store.position("one") == 6
    assert await _ids(store, {}, position=6) == ["a"]
    assert await _ids(store, {"title": "new"}, position=6) == ["a"]
    assert await store.pipeline("one", [{"$count": "n"}], bytes_max=100) == [{"n": 1}]
    await store.apply("one", [change("a", 5, "again"), change("b", 6, "again")], 7)
    assert await _ids(store, {"title": "again"}, position=7) == ["a", "b"]
    assert await _ids(store, {"title": "new"}, position=7) == []


async def check_a_position_is_held(store: DocumentStore) -> None:
    """One that was not reached is none of this index, and none goes back."""
    await store.make("one", ["*"])
    for at in (3, 2):
        await store.apply("one", _changes(DOCUMENTS[0], version=at), at)
        await store.apply("one", _changes(DOCUMENTS[1]))
    assert await store.position("one") == 3
    assert await _raises(NoIndex, _ids(store, {}, position=4))
    assert await _raises(NoIndex, store.pipeline("one", [], bytes_max=100, position=4))


async def check_indexes_are_apart(store: DocumentStore) -> None:
    """Made once however often, removed with all in them, and missed by name."""
    for index, at in (("one", 0), ("other", 1)):
        for _ in range(2):
            await store.make(index, ["*"])
            await store.apply(index, _changes(DOCUMENTS[at]), 1)
    assert await store.indexes() == ["one", "other"]
    assert await _ids(store, {}) == ["a"]
    await store.drop("one")
    await store.drop("one")
    assert await store.indexes() == ["other"]
    assert await _ids(store, {}, index="other") == ["b"]
    assert await _raises(NoIndex, store.position("one"))
    assert await _raises(NoIndex, store.apply("one", _changes(DOCUMENTS[0]), 1))
    assert await _raises(NoIndex, _ids(store, {}))
    assert await store.indexes() == ["other"]


async def check_what_cannot_be_kept_is_not_passed_over(store: DocumentStore) -> None:
    """Either it is found, or nothing is answered; what else was written with it is kept."""
    await store.make("one", ["*"])
    odd = {"id": "odd", "json": {"$x": 1, "a.b": 2, "nul\0": 3}}
    await store.apply("one", _changes(DOCUMENTS[0], odd, DOCUMENTS[1]), 1)
    await store.apply("one", _changes(DOCUMENTS[2]), 2)
    assert await store.position("one") == 2
    if not await _raises(NotWhole, _ids(store, {}, position=2)):
        assert await _ids(store, {}, position=2) == ["a", "b", "c", "odd"]
    else:
        assert await _raises(NotWhole, store.pipeline("one", [], bytes_max=10_000))


async def _raises(kind: type[Exception], asked: Awaitable[Any]) -> bool:
    try:
        await asked
    except kind:
        return True
    return False


CHECKS: Sequence[Callable[[DocumentStore], Awaitable[None]]] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)

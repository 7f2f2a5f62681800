"""Random filters and pipelines over random documents mean what they mean to FerretDB.

It speaks MongoDB's protocol. Where it differs from MongoDB it is not asked, and
``test_documents.py`` says by hand what is meant. Through a list these are null, what says no
(``$ne``, ``$nin``, ``$not``), ``$all`` and sorts; objects that are to equal an item; an
``$elemMatch`` where the list also has other than documents; what stands second in a ``$group``;
other fields after an ``$unwind``, which it loses; and ``preserveNullAndEmptyArrays``.
"""

import random
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo.collection import Collection

from mainspring.services.records import documents as language
from mainspring.testing.servers import FerretServer

pytestmark = [pytest.mark.more, pytest.mark.xdist_group("ferretdb")]
DOCUMENTS, FILTERS, PIPELINES = 120, 200, 100
NAMES = ("a", "b", "c")
PATHS = (*NAMES, "a.b", "b.c", "a.0", "c.1.a", "a.b.c", "nothing")
SCALARS = (0, 1, 2, -3, 1.5, 2.0, 7, "", "x", "xy", "Zoë", True, False, None)
Document = dict[str, Any]


@pytest.fixture
def kept(ferretdb: FerretServer) -> Iterator[Collection[Document]]:
    client: pymongo.MongoClient[Document]
    with pymongo.MongoClient(ferretdb.url) as client:
        collection = client["test"]["documents"]
        collection.drop()
        yield collection


class Made:
    """Documents, filters and stages by the dice."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def value(self, depth: int = 2) -> Any:
        """Any value, lists of lists aside."""
        kind = self.dice.randrange(8) if depth else 0
        if kind < 5:
            return self.dice.choice(SCALARS)
        if kind < 7:
            listed = [self.value(depth - 1) for _ in range(self.dice.randrange(4))]
            return [item for item in listed if not isinstance(item, list)]
        return self.object(depth - 1)

    def object(self, depth: int) -> Document:
        names = self.dice.sample(NAMES, self.dice.randrange(1, 4))
        return {name: self.value(depth) for name in names}

    def filter(self, depth: int = 2) -> Document:
        kind = self.dice.randrange(6) if depth else 0
        if kind == 5:
            parts = [self.filter(depth - 1) for _ in range(self.dice.randrange(1, 4))]
            return {self.dice.choice(("$and", "$or", "$nor")): parts}
        paths = self.dice.sample(PATHS, self.dice.randrange(1, 3))
        return {path: self.test(through="." in path) for path in paths}

    def test(self, *, through: bool) -> Any:
        """What a path is compared with, where it goes ``through`` something or not."""
        scalars = SCALARS[:-1] if through else SCALARS
        scalar = self.dice.choice(scalars)
        some = [self.dice.choice(scalars) for _ in range(self.dice.randrange(1, 4))]
        order = self.dice.choice(("$gt", "$gte", "$lt", "$lte"))
        known = 1 if scalar is None else scalar
        tests: list[Any] = [
            scalar, [scalar], {"$eq": scalar}, {order: known}, {"$gte": -1, "$lt": 5},
            {"$in": some}, {"$exists": True}, {"$exists": False}, {"$size": len(some) - 1},
            {"$regex": self.dice.choice(("^x", "y$", "Z.ë"))}, {"$elemMatch": {order: known}},
            {"$type": self.dice.choice(("string", "number", "object", "array", "bool", "null"))},
        ]  # fmt: skip
        if not through:
            tests += [{"$ne": scalar}, {"$not": {order: known}}, {"$nin": some}, {"$all": some}]
        return self.dice.choice(tests)

    def pipeline(self) -> list[Document]:
        name = self.dice.choice(NAMES)
        shown = self.dice.choice(([], [{"$project": {name: 1}}], [{"$project": {name: 0}}]))
        stages: list[Document] = [*shown]
        others: list[Document] = [{"$limit": 50}, {"$skip": 3}, {"$match": self.filter(1)}]
        stages += self.dice.sample(others, self.dice.randrange(1, 4))
        by, of = self.dice.choice(NAMES), self.dice.choice(NAMES)
        unwinds = self.dice.random() < 0.5
        made = self.dice.choice(({"$count": {}}, {"$sum": f"${of}"}, {"$sum": 1}))
        if unwinds:
            stages.append({"$unwind": f"${by}"})
            made = self.dice.choice(({"$count": {}}, {"$sum": f"${by}"}))
        groups = [{"$group": {"_id": key, "made": made}} for key in (f"${by}", None)]
        ends: list[list[Document]] = [[{"$count": "n"}], *[[group] for group in groups]]
        return stages + self.dice.choice(ends if unwinds else [[], *ends])


def _found(everything: list[Document], filter: Document) -> list[int]:
    matches, budget = language.read_filter(filter, ""), language.Budget()
    return [document["_id"] for document in everything if matches(document, budget)]


def test_filters_and_sorts_find_the_same(kept: Collection[Document], seed: int) -> None:
    made = Made(random.Random(seed))
    everything = [{"_id": f"{n:03}", **made.object(3)} for n in range(DOCUMENTS)]
    kept.insert_many(everything)
    filters = [made.filter() for _ in range(FILTERS)]
    sizes = set()
    for filter in filters:
        ours = _found(everything, filter)
        theirs = [document["_id"] for document in kept.find(filter, sort=[("_id", 1)])]
        odd = [document for document in everything if document["_id"] in {*ours} ^ {*theirs}]
        assert not odd, (filter, odd[0], odd[0]["_id"] in ours)
        sizes.add(len(ours))
    assert len(sizes) > 20  # they tell documents apart
    for path in (*NAMES, "nothing"):
        for direction in (1, -1):
            order = {path: direction, "_id": 1}
            ours = [
                d["_id"] for d in language.read_sort(order, "")([*everything], language.Budget())
            ]
            theirs = [document["_id"] for document in kept.find({}, sort=list(order.items()))]
            assert ours == theirs, order


def test_pipelines_make_the_same(kept: Collection[Document], seed: int) -> None:
    made = Made(random.Random(seed))
    everything = [{"_id": f"{n:03}", **made.object(3)} for n in range(DOCUMENTS)]
    kept.insert_many(everything)
    for _ in range(PIPELINES):
        pipeline = [{"$sort": {"_id": 1}}, *made.pipeline()]
        ours: list[Any] = [*everything]
        budget = language.Budget()
        for stage in language.read_pipeline(pipeline, ""):
            ours = stage(ours, budget)
        theirs = [*kept.aggregate(pipeline)]
        assert sorted(map(repr, ours)) == sorted(map(repr, theirs)), pipeline

"""What is passed on to a store that speaks MongoDB's language, and all that is not."""

from typing import Any

import pytest

from mainspring.kernel.errors import Invalid
from mainspring.services.records.documents import passed_filter, passed_sort, require_passed

DEEP: Any = 1
for _ in range(30):
    DEEP = {"a": DEEP}
FILTERS: list[Any] = [
    {"$where": "true"}, {"$expr": {"$gt": ["$a", 1]}}, {"$text": {"$search": "x"}},
    {"$jsonSchema": {}}, {"$comment": "x"}, {"a": {"$where": "true"}}, {"a": {"$near": [1, 2]}},
    {"a": {"$geoWithin": {}}}, {"a": {"$eq": {"$function": {}}}}, {"a": {"$in": [{"$x": 1}]}},
    {"a": {"$not": {"$where": 1}}}, {"a": {"$elemMatch": {"$where": 1}}},
    {"a": {"$elemMatch": {"b": {"$where": 1}}}}, {"$or": [{"$where": 1}]}, {"$and": {"a": 1}},
    {"$nor": [{"a": {"$expr": 1}}]}, {"~on": {"$exists": False}}, {"~v": 1}, {"a": DEEP},
    {"a": {"$regex": "(a+)+\\1"}}, {"a": {"$regex": "(?=x)"}}, {"a": {"$options": "i"}},
    {"a": {"$regex": "x", "$options": "x"}}, {"a": {"$regex": {"$x": 1}}}, {"a..b": 1}, {"": 1},
    {"a": {"$in": [1] * 1_001}}, {"$$ROOT": 1}, {"a": {"b": 1, "$gt": 1}}, {"a": {"x\0": 1}},
]  # fmt: skip
STAGES: list[Any] = [
    {"$out": "x"}, {"$merge": {"into": "x"}}, {"$lookup": {"from": "x"}}, {"$graphLookup": {}},
    {"$unionWith": "x"}, {"$documents": []}, {"$collStats": {}}, {"$indexStats": {}},
    {"$currentOp": {}}, {"$listSessions": {}}, {"$changeStream": {}}, {"$search": {}},
    {"$geoNear": {}}, {"$match": {"$where": "true"}}, {"$match": {"$expr": {}}}, {"$redact": 1},
    {"$set": {"x": {"$function": {"body": "", "args": [], "lang": "js"}}}},
    {"$group": {"_id": None, "x": {"$accumulator": {}}}}, {"$set": {"x": "$$USER_ROLES"}},
    {"$set": {"x": ["$$CLUSTER_TIME"]}}, {"$facet": {"x": [{"$out": "x"}]}},
    {"$facet": {"x": [{"$facet": {}}]}}, {"$facet": {"x": "$out"}}, {"$facet": []},
    {"$project": {"x": {"$regexMatch": {"input": "$a", "regex": "(a+)+$"}}}}, {"$limit": DEEP},
    {"$set": {"~on": True}}, {"$set": {"x": {"$getField": {"$literal": "x"}}}}, {}, "$out",
    {"$limit": 1, "$out": "x"}, {"$set": {"x": {"$let": {"vars": {}, "in": {"$rand": {}}}}}},
]  # fmt: skip


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_a_filter_that_does_more_is_refused(filter: Any) -> None:
    with pytest.raises(Invalid):
        passed_filter(filter, "/filter")
    with pytest.raises(Invalid):
        require_passed([{"$match": filter}], "/pipeline")


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_a_stage_that_does_more_is_refused(stage: Any) -> None:
    with pytest.raises(Invalid) as refused:
        require_passed([{"$limit": 1}, stage], "/pipeline")
    assert refused.value.errors[0].pointer.startswith("/pipeline/1")


def test_the_fields_that_are_asked_for_are_told() -> None:
    filter = {
        "a.b": 1, "$or": [{"c": {"$elemMatch": {"d": 1}}}, {"$nor": [{"e.0": None}]}],
        "f": {"$not": {"$mod": [2, 0]}}, "_id": {"$type": "string"},
    }  # fmt: skip
    assert passed_filter(filter, "") == {"a", "c", "e", "f", "_id"}
    assert passed_sort({"x.y": -1, "z": 1}, "") == {"x", "z"}
    for wrong in ({"a": 2}, {"a": {"$meta": "textScore"}}, {"~v": 1}, {"a": True}):
        with pytest.raises(Invalid):
            passed_sort(wrong, "")
    with pytest.raises(Invalid):
        require_passed([{"$limit": 1}] * 21, "")
    require_passed(
        [
            {"$facet": {"a": [{"$bucket": {"groupBy": "$n", "boundaries": [0, 5]}}]}},
            {"$set": {"x": {"$map": {"input": "$l", "as": "it", "in": {"$add": ["$$it.n", 1]}}}}},
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"a": "$$this"}]}}},
            {"$group": {"_id": {"$dateTrunc": {"date": {"$toDate": "$created_at"}, "unit": "day"}},
                        "n": {"$sum": {"$multiply": ["$price", "$n"]}}}},
        ],
        "",
    )  # fmt: skip

"""Wild documents are refused with words, in a time that grows as they do."""

import random
import time
from collections.abc import AsyncIterator

import pytest

from mainspring.testing import Platform
from tests.deadline import DEADLINE_S
from tests.interfaces.graphql.questions import post

WORDS = (
    "{", "}", "(", ")", "[", "]", ":", "!", "$", "@", "...", "on", "query", "mutation", "fragment",
    "__typename", "__schema", "users_list_users", "items", "id", "limit", "1", "-1", "1e999",
    "99999999999999999999999", '"a"', '"\\uD800"', '"""b"""', '"""', '"', "#", "null", "true", "=",
    "$v", "@skip(if: true)", "Query", "String", "jobs_get_job", "body", "\\", "\u00e9",
)  # fmt: skip


def _spread(levels: int) -> str:
    """Fragments each of which has the next one twice: two to the power of ``levels`` fields."""
    last = f"fragment f{levels} on Query {{ __typename }}"
    parts = [f"fragment f{i} on Query {{ ...f{i + 1} ...f{i + 1} }}" for i in range(levels)]
    return "{ ...f0 } " + " ".join([*parts, last])


TYPES = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"


TOO_MUCH = (
    ("{" * 5_000, "nests"),
    ("[" * 100_000, "nests"),
    ('{ a(b: "' + "{" * 500 + '") }', "Cannot query"),
    ("{" + " ".join(["__typename"] * 3_000) + "}", "token"),
    ("{" + " ".join(f"a{i}: __typename" for i in range(40)) + "}", "calls"),
    (_spread(40), "fields"),
    ("{ users_list_users { items { id: email id } } }", "two different"),
    ("{ users_list_users(limit: 1) { items { id } } users_list_users { items { id } } }", "two"),
    ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "itself"),
    (TYPES, "introspection depth"),
    ('"' * 199_999, ""),
    ("#" * 199_999, ""),
    ("{ a(b: 9" + "9" * 150_000 + ") }", "Cannot query"),
    ("x" * 300_000, "characters"),
    ("subscription { __typename }", ""),
)


async def test_a_document_that_is_too_much(platform: Platform) -> None:
    for document, word in TOO_MUCH:
        begun_s = time.monotonic()
        answer = await post(platform.anonymous, document)
        assert time.monotonic() - begun_s < DEADLINE_S, document[:100]
        assert answer.status == 400, document[:100]
        assert word in " ".join(e["message"] for e in answer.json["errors"]), document[:100]


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    """A platform as it is by default."""
    async with Platform() as platform:
        yield platform


async def test_many_alike_fields_are_compared_once(platform: Platform) -> None:
    many = " ".join(["id"] * 1_900)
    begun_s = time.monotonic()
    answer = await post(platform.admin, f"{{ jobs_list_jobs {{ items {{ {many} }} }} }}")
    assert answer.status == 200
    assert time.monotonic() - begun_s < DEADLINE_S


async def test_wild_documents_are_never_defects(platform: Platform, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        document = " ".join(chance.choices(WORDS, k=chance.randint(1, 30)))
        variables = {"v": chance.choice([None, 1, 1e300, 10**18, "x", [], {"a": [1]}, "\ud7ff"])}
        answer = await post(platform.admin, document, **variables)
        assert answer.status in {200, 400}, document
        assert not any(
            error["extensions"]["status"] >= 500 for error in answer.json.get("errors", ())
        ), document


async def test_numbers_that_do_not_fit(platform: Platform) -> None:
    made = 'mutation { records_create_record(collection: "none", body: {n: %s}) }'
    for value in ("1e999", "9" * 25, "9" * 5_000, "1.5", '"1"', "{a: 1}"):
        query = f"{{ jobs_list_jobs(limit: {value}) {{ next_cursor }} }}"
        assert (await post(platform.admin, query)).status == 400, value[:30]
        answer = await post(platform.admin, made % value)
        statuses = {error["extensions"]["status"] for error in answer.json["errors"]}
        assert statuses <= {400, 404}, value[:30]

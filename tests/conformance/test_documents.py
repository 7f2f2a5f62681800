"""Every store of documents against the conformance suite, and the language in memory beside it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mainspring.adapters.documents import mongo
from mainspring.ports.documents import DocumentStore
from mainspring.services.records import documents as language
from mainspring.testing.conformance.documents import CHECKS, DOCUMENTS, FOUND, MADE
from mainspring.testing.servers import FerretServer


@pytest.fixture
async def store(ferretdb: FerretServer) -> AsyncIterator[DocumentStore]:
    store = mongo.open(f"{ferretdb.url}conformance")
    await store.open(secrets.token_hex(6))
    yield store
    for index in await store.indexes():
        await store.drop(index)
    await store.close()


@pytest.mark.more
@pytest.mark.xdist_group("ferretdb")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_mongo(
    check: Callable[[DocumentStore], Awaitable[None]], store: DocumentStore
) -> None:
    await check(store)


def test_the_language_in_memory_finds_and_makes_the_same() -> None:
    budget = language.Budget()
    everything: list[Any] = [{"_id": one["id"], **one} for one in DOCUMENTS]
    for filter, order, ids in FOUND:
        matches = language.read_filter(filter, "")
        found = [one for one in everything if matches(one, budget)]
        found = language.read_sort(order, "")(found, budget) if order else found
        assert [one["_id"] for one in found] == ids, filter
        language.passed_filter(filter, "")
        language.passed_sort(order, "")
    for stages, made in MADE:
        language.require_passed(stages, "")
        answer = everything
        for stage in language.read_pipeline(stages, ""):
            answer = stage(answer, budget)
        assert sorted(answer, key=repr) == sorted(made, key=repr), stages

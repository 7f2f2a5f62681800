"""Every search engine against the conformance suite that ships with Mainspring."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.search import fts5, opensearch
from mainspring.ports.search import SearchEngine
from mainspring.testing.conformance.search import CHECKS
from mainspring.testing.servers import OpenSearchServer


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SearchEngine]:
    engine = fts5.Fts5Search(tmp_path / "search.db", durable=False)
    await engine.open("shop")
    yield engine
    await engine.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_fts5(check: Callable[[SearchEngine], Awaitable[None]], file: SearchEngine) -> None:
    await check(file)


@pytest.fixture
async def there(opensearch_server: OpenSearchServer) -> AsyncIterator[SearchEngine]:
    engine = opensearch.open(f"{opensearch_server.url()}/test?replicas=0")
    await engine.open(secrets.token_hex(6))
    yield engine
    for index in await engine.indexes():
        await engine.drop(index)
    await engine.close()


@pytest.mark.more
@pytest.mark.xdist_group("opensearch")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_opensearch(
    check: Callable[[SearchEngine], Awaitable[None]], there: SearchEngine
) -> None:
    await check(there)

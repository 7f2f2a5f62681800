"""A platform over a real OpenSearch: found at once, and an engine that is killed, frozen, back."""

from typing import Any
from urllib.parse import urlencode

import pytest

from mainspring import testing
from mainspring.adapters.search.opensearch import BULK_BYTES_MAX, open
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import StartError
from mainspring.ports.search import IndexChange, SearchEngine
from mainspring.testing.servers import OpenSearchServer
from tests.until import until

POSTS = "/v1/collections/posts/records"
FIELDS = [{"name": "title", "type": "text", "search": True}]


@pytest.mark.parametrize(
    "rest", ["//", "//host:x", "//host/UPPER", "//host?replicas=many", "//host?shards=3",
             "//host?ca=/nowhere.pem"],
)  # fmt: skip
def test_a_url_that_says_nothing_we_know_is_refused(rest: str) -> None:
    with pytest.raises(StartError, match=r"\[search\] url"):
        open(f"opensearch:{rest}")


@pytest.mark.more
@pytest.mark.xdist_group("opensearch")
async def test_writes_go_on_while_the_engine_is_away(opensearch_server: OpenSearchServer) -> None:
    settings = {"search.url": f"{opensearch_server.url()}?replicas=0", "records.search_wait_s": 2}
    async with testing.Platform(settings=settings, running=True) as platform:
        admin = platform.admin

        async def search(q: str) -> Any:
            return await admin.get(f"{POSTS}?{urlencode({'q': q})}")

        async def found(q: str) -> int | None:
            """How many are found, None while the search is not ready."""
            answer = await search(q)
            assert answer.status in (200, 503), answer.json
            return len(answer.json["items"]) if answer.status == 200 else None

        async def finds(q: str, many: int) -> bool:
            return await found(q) == many

        new = {"name": "posts", "fields": FIELDS}
        assert (await admin.post("/v1/collections", new)).status == 201
        for n in range(3):  # each is found by whoever asks after it
            assert (await admin.post(POSTS, {"title": f"Über number{n}"})).status == 201
            await until(lambda n=n: finds(f"uber number{n}", 1))  # type: ignore[misc]
        made = (await admin.post(POSTS, {"title": "first"})).json
        assert await found("first") == 1

        opensearch_server.kill()
        assert (await admin.post(POSTS, {"title": "second"})).status == 201
        changed = await admin.patch(f"{POSTS}/{made['id']}", {"title": "changed"})
        assert changed.status == 200
        answer = await search("second")
        assert (answer.status, answer.json["code"]) == (503, "search_not_ready")
        opensearch_server.start()
        await until(lambda: finds("second", 1))
        assert (await found("changed"), await found("first")) == (1, 0)

        engine = platform.app.runtime.resources[SearchEngine]
        (index,) = await engine.indexes()
        await engine.drop(index)  # nothing makes it anew by writing to it
        assert (await admin.post(POSTS, {"title": "third"})).status == 201
        await until(lambda: finds("third", 1))
        assert await found("number*") == 3
        await admin.delete("/v1/collections/posts")
        await until(lambda: _gone(engine))


async def _gone(engine: SearchEngine) -> bool:
    return await engine.indexes() == []


@pytest.mark.more
@pytest.mark.xdist_group("opensearch")
async def test_what_is_large_is_sent_in_parts_and_a_login_that_is_missing_is_told(
    opensearch_server: OpenSearchServer,
) -> None:
    engine = open(f"{opensearch_server.url()}/large?replicas=0")
    with_login = open(f"{opensearch_server.url().replace('//', '//me:secret@')}/large")
    await engine.open("large")
    await with_login.open("large")
    assert engine.version() == f"OpenSearch {opensearch_server.version}"
    await engine.make("one", ["title"])
    words = "word " * (BULK_BYTES_MAX // 20)
    changes = [IndexChange(f"rec_{n}", 1, {"title": words}) for n in range(10)]
    await engine.apply("one", changes, 1)
    assert await engine.position("one") == 1
    await engine.drop("one")
    await engine.close()
    await with_login.close()
    away = open("opensearch+plain://127.0.0.1:1")
    await away.open("large")
    with pytest.raises(Unavailable):
        await away.position("one")
    assert away.away()
    await away.close()

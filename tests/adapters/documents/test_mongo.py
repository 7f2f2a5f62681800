"""A MongoDB that is not there, is killed under writes, and comes back."""

from typing import Any

import pytest

from mainspring import testing
from mainspring.adapters.documents.mongo import open
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import StartError
from mainspring.ports.documents import DocumentStore, IdQuestion
from mainspring.testing.servers import FerretServer
from tests.until import until

POSTS = "/v1/collections/posts/records"
FIELDS = [{"name": "title", "type": "text"}, {"name": "n", "type": "integer"}]
EVEN = {"n": {"$mod": [2, 0]}}  # what only a store has


@pytest.mark.parametrize("rest", ["", "//", "//host:x", "//a:b:c@host", "//host/a$b"])
def test_a_url_that_says_nothing_we_know_is_refused(rest: str) -> None:
    with pytest.raises(StartError, match=r"\[documents\] url"):
        open(f"mongodb:{rest}")


async def test_one_that_is_away_says_so() -> None:
    away = open("mongodb://127.0.0.1:1/shop")
    await away.open("shop")
    assert away.away()
    with pytest.raises(Unavailable):  # at once
        await away.ids("one", IdQuestion({}, {}, 0, 1))
    await away.close()


@pytest.mark.more
@pytest.mark.xdist_group("ferretdb")
async def test_writes_go_on_while_it_is_away(ferretdb: FerretServer) -> None:
    url = f"{ferretdb.url}killed"
    settings = {"documents.url": url, "records.documents_wait_s": 2}
    async with testing.Platform(settings=settings, running=True) as platform:
        admin = platform.admin

        async def asked(filter: Any) -> Any:
            return await admin.post(f"{POSTS}:find", {"filter": filter})

        async def found(many: int) -> bool:
            answer = await asked(EVEN)
            assert answer.status in (200, 503), answer.json
            assert answer.status == 200 or answer.json["code"] == "documents_not_ready"
            return answer.status == 200 and len(answer.json["items"]) == many

        new = {"name": "posts", "documents": True, "fields": FIELDS}
        assert (await admin.post("/v1/collections", new)).status == 201
        await until(lambda: found(0))
        for n in range(4):  # each is found by whoever asks after it
            assert (await admin.post(POSTS, {"n": n})).status == 201
            assert await found(n // 2 + 1)
        first = (await asked(EVEN)).json["items"][0]
        store = platform.app.runtime.resources[DocumentStore]

        ferretdb.kill()
        assert (await admin.post(POSTS, {"n": 4})).status == 201
        assert (await admin.delete(f"{POSTS}/{first['id']}")).status == 204
        answer = await asked(EVEN)
        assert (answer.status, answer.json["code"]) == (503, "documents_not_ready")
        in_memory = await asked({"n": {"$gte": 0}})
        assert [one["n"] for one in in_memory.json["items"]] == [1, 2, 3, 4]
        await until(lambda: bool(store.away()))
        ferretdb.start()
        await until(lambda: found(2))
        assert [one["n"] for one in (await asked(EVEN)).json["items"]] == [2, 4]
        assert not store.away()
        counted = {"pipeline": [{"$match": EVEN}, {"$count": "n"}]}
        answer = await admin.post(f"{POSTS}:aggregate", counted)
        assert answer.json == {"items": [{"n": 2}]}

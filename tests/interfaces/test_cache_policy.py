"""Who may keep an answer: declared with the operation, told in headers and in the reference."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import App, CachePolicy, Call, Conflict, Input, NotFound, Raw, Response, Service
from mainspring.kernel.declaration import Misdeclared
from mainspring.testing import Platform

fair = Service("fair", doc="A fair.")


class Board(msgspec.Struct, frozen=True):
    seen_by: str
    tenant: str


@fair.operation(
    "GET /v1/board",
    scope=None,
    cache=CachePolicy(public=True, max_age_s=60, stale_while_revalidate_s=30),
)
async def board(call: Call) -> Board:
    """Show what is on the board."""
    return Board(f"{call.caller.actor} {sorted(call.caller.scopes)}", call.tenant)


@fair.operation("GET /v1/stand", scope="fair:read", cache=CachePolicy(max_age_s=10))
async def stand(call: Call) -> Board:
    """Show one's own stand."""
    return Board(call.caller.actor, call.tenant)


class Runs:
    """How often handlers ran."""

    def __init__(self) -> None:
        self.count = 0


fair.provide(Runs)


class Draw(Input, frozen=True):
    of: int = 1


@fair.operation("GET /v1/lots/{drawer}", scope=None, cache=CachePolicy(public=True, max_age_s=60))
async def lot(call: Call, drawer: str, query: Draw) -> Response[str]:
    """Draw a lot, another one each time."""
    runs = call.use(Runs)
    runs.count += 1
    return Response(f"{drawer} {query.of} {runs.count}", headers=(("X-Lot", "yes"),))


@fair.operation("GET /v1/lots_now", scope=None)
async def lot_now(call: Call) -> str:
    """Ask for a lot."""
    return await call.ask(lot, drawer="ann", query=Draw())


@fair.operation("GET /v1/closed", scope=None, cache=CachePolicy(public=True, max_age_s=60))
async def closed(call: Call) -> Board:
    """Refuse."""
    call.use(Runs).count += 1
    raise NotFound("no fair today")


@fair.operation("GET /v1/by_hand", scope=None)
async def by_hand(call: Call) -> Response[Board]:
    """Name a header that is not a handler's to name."""
    return Response(Board("", ""), headers=(("cache-Control", "public"),))


@fair.operation("GET /v1/prize", scope=None, secret=True)
async def prize(call: Call) -> str:
    """Tell a secret."""
    return "secret"


@fair.operation("POST /v1/board", scope=None, raises=(Conflict,))
async def pin(call: Call) -> str:
    """Pin something to the board."""
    return "pinned"


@fair.raw("GET /v1/way/{to}", scope=None, cache=CachePolicy(public=True, max_age_s=5))
async def way(call: Call, to: str) -> Raw:
    """Lead the way, for as long as it says by itself if it does."""
    if to == "nowhere":
        return Raw(b"?", 404, "text/plain")
    own = (("Cache-Control", "no-cache"),) if to == "moving" else ()
    return Raw(b"", 307, headers=(("Location", f"/{call.caller.actor}"), *own))


app = App("fair", services=[fair])


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with Platform(app) as platform:
        yield platform


async def test_a_public_answer_may_be_kept_by_everybody_and_knows_nobody(
    platform: Platform,
) -> None:
    key = await platform.as_key("fair:read")
    for caller in (platform.anonymous, key, platform.admin):
        answer = await caller.get("/v1/board")
        assert answer.expect(200) == {"seen_by": "anonymous []", "tenant": "main"}
        wanted = "public, max-age=60, stale-while-revalidate=30"
        assert answer.headers["cache-control"] == wanted
        assert answer.headers["vary"] == "Accept-Encoding"
        again = await caller.get("/v1/board", headers={"If-None-Match": answer.etag or ""})
        assert (again.status, again.headers["cache-control"]) == (304, wanted)
    assert (await key.call(board)).seen_by == "anonymous []"
    assert (await platform.call(board)).seen_by == "anonymous []"


async def test_a_public_answer_is_kept_here_too(platform: Platform) -> None:
    """For as long as it says in all, by what it was asked for, with its age."""
    first = await platform.anonymous.get("/v1/lots/ann")
    assert (first.expect(200), "age" in first.headers) == ("ann 1 1", False)
    await platform.pass_time(seconds=20)
    again = await platform.admin.get("/v1/lots/ann?of=1")
    assert (again.expect(200), again.headers["age"]) == ("ann 1 1", "20")
    same = ("etag", "x-lot", "cache-control", "content-type", "vary")
    assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
    unchanged = await platform.anonymous.get("/v1/lots/ann", headers={"If-None-Match": first.etag})
    assert unchanged.status == 304
    assert await platform.anonymous.call(lot, "ann", {}) == "ann 1 1"
    assert (await platform.anonymous.get("/v1/lots/ann?of=2")).expect(200) == "ann 2 2"
    assert (await platform.anonymous.get("/v1/lots/bob")).expect(200) == "bob 1 3"
    await platform.pass_time(seconds=39.5)
    assert (await platform.anonymous.get("/v1/lots/ann")).headers["age"] == "60"
    await platform.pass_time(seconds=0.5)
    renewed = await platform.anonymous.get("/v1/lots/ann")
    assert (renewed.expect(200), "age" in renewed.headers) == ("ann 1 4", False)


async def test_a_handler_that_asks_is_told_what_is_so_now(platform: Platform) -> None:
    for number in (1, 2):
        assert (await platform.anonymous.get("/v1/lots_now")).expect(200) == f"ann 1 {number}"


async def test_neither_failures_nor_private_answers_are_kept_here(platform: Platform) -> None:
    for number in (1, 2):
        (await platform.anonymous.get("/v1/closed")).expect(404)
        assert platform.app.runtime.resources[Runs].count == number
    for name in ("fair:read", "fair:*"):
        key = await platform.as_key(name)
        assert (await key.get("/v1/stand")).expect(200)["seen_by"] == key.id


async def test_a_private_answer_is_for_who_asked(platform: Platform) -> None:
    """Two who share a browser share its cache too."""
    key = await platform.as_key("fair:read")
    answer = await key.get("/v1/stand")
    assert answer.expect(200)["seen_by"] == key.id
    assert answer.headers["cache-control"] == "private, max-age=10"
    assert answer.headers["vary"] == "Accept-Encoding, Authorization"


async def test_what_is_no_answer_is_kept_by_nobody(platform: Platform) -> None:
    for path, status in (("/v1/closed", 404), ("/v1/prize", 200), ("/v1/way/nowhere", 404)):
        answer = await platform.anonymous.get(path)
        assert (answer.status, answer.headers["cache-control"]) == (status, "no-store"), path
    refused = await platform.anonymous.get("/v1/stand")
    assert (refused.status, refused.headers["cache-control"]) == (401, "no-store")
    written = await platform.anonymous.post("/v1/board")
    assert (written.status, written.headers["cache-control"]) == (200, "no-store")


async def test_a_raw_answer_may_say_it_by_itself(platform: Platform) -> None:
    key = await platform.as_key("fair:read")
    answer = await key.get("/v1/way/out")
    assert (answer.status, answer.headers["location"]) == (307, "/anonymous")
    assert answer.headers["cache-control"] == "public, max-age=5"
    moving = await key.get("/v1/way/moving")
    assert moving.headers["cache-control"] == "no-cache"


async def test_a_handler_names_no_header_that_is_declared(platform: Platform) -> None:
    (await platform.anonymous.get("/v1/by_hand")).expect(500)
    with pytest.raises(RuntimeError, match=r"fair.by_hand: .* cache=CachePolicy"):
        await platform.call(by_hand)


async def test_the_reference_tells_it(platform: Platform) -> None:
    paths = (await platform.admin.get("/openapi.json")).expect(200)["paths"]

    def told(path: str, status: str) -> Any:
        headers = paths[path]["get"]["responses"][status].get("headers", {})
        return headers.get("Cache-Control", {}).get("schema", {}).get("const")

    assert told("/v1/board", "200") == "public, max-age=60, stale-while-revalidate=30"
    assert told("/v1/stand", "200") == "private, max-age=10"
    assert told("/v1/way/{to}", "3XX") == "public, max-age=5"
    assert told("/.well-known/jwks.json", "200") == "public, max-age=300"
    assert told("/v1/by_hand", "200") is None


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ("POST /v1/x", {"scope": None}, "an answer to POST is kept by nobody"),
        ("GET /v1/x", {"scope": None, "secret": True}, "a secret is kept by nobody"),
        ("GET /v1/x", {"scope": "x:read"}, "with the scope x:read or without"),
        ("GET /v1/x", {"scope": None, "max_age_s": -1}, "max_age_s is from 0 to 31536000"),
        ("GET /v1/x", {"scope": None, "max_age_s": 1 << 31}, "seconds, not 2147483648"),
        ("GET /v1/x", {"scope": None, "stale_while_revalidate_s": -1}, "stale_while_revalidate_s"),
    ],
)
def test_a_policy_that_cannot_hold_is_refused(
    shape: str, options: dict[str, Any], says: str
) -> None:
    told = {n: options.pop(n) for n in ("max_age_s", "stale_while_revalidate_s") if n in options}
    service = Service("x", doc="X.")

    async def x(call: Call) -> str:
        """X."""
        return ""

    with pytest.raises(Misdeclared, match=rf"x\.x: .*{says}"):
        service.operation(shape, cache=CachePolicy(public=True, **told), **options)(x)

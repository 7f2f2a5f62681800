"""A small service that the runtime's tests run: links with a version, events, jobs, consumers."""

from pathlib import Path

import msgspec

from mainspring.kernel.call import Call, Transaction
from mainspring.kernel.errors import Conflict, Forbidden
from mainspring.kernel.job import JobFailed, RetryAfter, Snooze
from mainspring.kernel.operation import Input, Response
from mainspring.kernel.policy import RetryPolicy
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Statement, Table

QUICK = RetryPolicy(max_attempts=3, first_s=0.001, cap_s=0.001)


class Link(msgspec.Struct, frozen=True):
    id: str
    slug: str
    hits: int
    version: int = 1


class Hit(msgspec.Struct, frozen=True):
    id: str
    link: str


LINKS = Table("links_links", Link, key=("id",))
HITS = Table("links_hits", Hit, key=("id",))
BY_ID = Query("links.by_id", f"SELECT {LINKS.columns} FROM links_links WHERE id = :id", LINKS)
BY_SLUG = Query(
    "links.by_slug", f"SELECT {LINKS.columns} FROM links_links WHERE slug = :slug", LINKS
)
HIT_COUNT = Query("links.hits", "SELECT COUNT(*) FROM links_hits", int)
TAKE_NUMBER = Statement(
    "links.take_number",
    "UPDATE links_links SET hits = hits + 1, version = version + 1 WHERE id = :id RETURNING hits",
)

links = Service(
    "links",
    doc="Links, for tests.",
    migrations=Path(__file__).parent / "links_migrations",
)


class SlugTaken(Conflict):
    code = "slug_taken"


class Locked(Forbidden):
    code = "locked"
    commits_on_failure = True


class NewLink(Input):
    slug: str


@links.event("links.link.created")
class LinkCreated(msgspec.Struct, frozen=True):
    id: str
    slug: str
    hits: int
    version: int = 1


@links.operation("POST /v1/links", scope="links:write", status=201, raises=(SlugTaken,))
async def create(call: Call, new: NewLink) -> Response[Link]:
    link = Link(call.new_id("link"), new.slug, 0)
    call.write(LINKS.insert(link, on_conflict=SlugTaken))
    call.emit(LinkCreated(link.id, link.slug, 0))
    return Response(link, etag='"1"')


@links.operation("POST /v1/links/{id}:hit", scope="links:write")
async def hit(call: Call, id: str) -> Link:
    link = await call.one(BY_ID, id=id)
    call.write(LINKS.update(link, hits=link.hits + 1))
    return msgspec.structs.replace(link, hits=link.hits + 1)


@links.transaction("POST /v1/links/{id}:number", scope="links:write")
async def number(call: Transaction, id: str) -> int:
    rows = await call.execute(TAKE_NUMBER(id=id))
    call.emit(LinkCreated(id, "numbered", rows[0][0]))
    taken: int = rows[0][0]
    return taken


@links.operation("POST /v1/links/{id}:lock", scope="links:write")
async def lock(call: Call, id: str) -> None:
    link = await call.one(BY_ID, id=id)
    call.write(LINKS.update(link, hits=link.hits + 1))
    raise Locked("counted, and refused")


@links.on("links.link.created", retry=QUICK, from_start=True)
async def count(call: Call, event: LinkCreated) -> None:
    if event.slug == "poison":
        raise ValueError("this one never works")
    call.write(HITS.insert(Hit(call.new_id("hit"), event.id)))


@links.job(queue="bulk", retry=QUICK)
async def rescan(call: Call, link_id: str) -> None:
    call.write(HITS.insert(Hit(call.new_id("hit"), link_id)))


@links.job(queue="bulk", retry=QUICK)
async def fail(call: Call, link_id: str) -> None:
    call.write(HITS.insert(Hit(call.new_id("hit"), link_id)))
    raise ValueError("every attempt fails")


@links.job(queue="bulk", retry=QUICK)
async def retry(call: Call, link_id: str) -> None:
    call.write(HITS.insert(Hit(call.new_id("hit"), f"{link_id} {call.attempt}")))
    if call.attempt < 3:
        raise RetryAfter(0.0)
    raise JobFailed("enough")


@links.job(queue="bulk", max_attempts=1)
async def snooze(call: Call, link_id: str, until: int) -> None:
    hits = await call.one(HIT_COUNT)
    call.write(HITS.insert(Hit(call.new_id("hit"), f"{link_id} {call.attempt}")))
    if hits < until:
        raise Snooze(0.0)

"""A small service with an operation of every kind, for the tests of gateway and interfaces."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec

from mainspring.kernel.call import Call
from mainspring.kernel.errors import Conflict, Forbidden, NotFound, read_at
from mainspring.kernel.operation import Input, Raw, Response, StreamItem, Upload, UploadTerms
from mainspring.kernel.page import Cursor, Limit, Page
from mainspring.kernel.policy import RateClass
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Table


class Note(msgspec.Struct, frozen=True):
    id: str
    title: str
    version: int = 1


class NewNote(Input):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    tags: tuple[str, ...] = ()


class NoteChange(Input):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class NoteQuery(Input):
    limit: Limit = 50
    cursor: Cursor | None = None
    tag: tuple[str, ...] = ()
    above: float | None = None


class StreamQuery(Input):
    after: str | None = None
    wait: bool = False


class Stored(msgspec.Struct, frozen=True):
    sha256: str
    size_bytes: int
    filename: str | None
    media_type: str


NOTES = Table("notes_notes", Note, key=("id",))
BY_ID = Query("notes.by_id", f"SELECT {NOTES.columns} FROM notes_notes WHERE id = :id", NOTES)
ALL = Query("notes.all", f"SELECT {NOTES.columns} FROM notes_notes ORDER BY id", NOTES, scans=True)

notes = Service(
    "notes",
    doc="Notes, for tests.",
    migrations=Path(__file__).with_name("notes_migrations"),
)


@notes.event("notes.note.created")
class NoteCreated(msgspec.Struct, frozen=True):
    id: str
    title: str


@notes.event("notes.key.revoked")
class KeyRevoked(msgspec.Struct, frozen=True):
    id: str


class Gates:
    """What a test opens to let a handler go on."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()


notes.provide(Gates)


@notes.operation("POST /v1/notes", scope="notes:write", status=201, raises=(Conflict,))
async def create(call: Call, new: NewNote) -> Response[Note]:
    """Write a note."""
    note = Note(call.new_id("note"), new.title)
    call.write(NOTES.insert(note))
    call.emit(NoteCreated(note.id, note.title))
    return Response(note, etag='"1"', headers=(("Location", f"/v1/notes/{note.id}"),))


@notes.operation("GET /v1/notes/{id}", scope="notes:read")
async def get(call: Call, id: str) -> Response[Note]:
    """Read a note."""
    note = await call.one(BY_ID, id=id)
    return Response(note, etag=f'"{note.version}"')


@notes.operation("PATCH /v1/notes/{id}", scope="notes:write")
async def change(call: Call, id: str, new: NoteChange) -> Response[Note]:
    """Change a note."""
    note = await call.one(BY_ID, id=id)
    call.require_match(f'"{note.version}"')
    call.write(NOTES.update(note, title=new.title))
    changed = msgspec.structs.replace(note, title=new.title, version=note.version + 1)
    return Response(changed, etag=f'"{changed.version}"')


@notes.operation("DELETE /v1/notes/{id}", scope="notes:write")
async def delete(call: Call, id: str) -> None:
    """Delete a note."""
    call.write(NOTES.delete(await call.one(BY_ID, id=id)))


@notes.operation("GET /v1/notes", scope="notes:read")
async def list_all(call: Call, query: NoteQuery) -> Page[Note]:
    """List notes."""
    return Page((await call.all(ALL))[: query.limit])


@notes.operation("POST /v1/notes/{id}:shout", scope="notes:write")
async def shout(call: Call, id: str) -> Note:
    """Put a note in capitals."""
    note = await call.one(BY_ID, id=id)
    return Note(note.id, note.title.upper())


class Some(Input):
    limit: int = 7


@notes.operation("POST /v1/optional", scope="notes:write")
async def optional(call: Call, some: Some) -> Some:
    """Answer what was sent, or what stands for nothing."""
    return some


@notes.operation("POST /v1/anything", scope=None)
async def anything(call: Call, body: msgspec.Raw) -> msgspec.Raw:
    """Answer what was sent."""
    return body


@notes.operation("GET /v1/public", scope=None)
async def public(call: Call) -> dict[str, str]:
    """Say hello to anyone."""
    return {"hello": call.caller.actor}


@notes.operation("POST /v1/login", scope=None, rate=RateClass.LOGIN)
async def login(call: Call, new: NewNote) -> dict[str, str]:
    """Pretend to log in."""
    return {"hello": call.caller.actor}


@notes.operation("POST /v1/secrets", scope="notes:write", status=201, secret=True)
async def make_secret(call: Call, new: NewNote) -> dict[str, str]:
    """Answer a secret, once."""
    note = Note(call.new_id("note"), new.title)
    call.write(NOTES.insert(note))
    return {"secret": call.new_id("sec")}


@notes.operation("POST /v1/slow", scope="notes:write", timeout_s=0.05)
async def slow(call: Call, new: NewNote) -> None:
    """Stage a note, then wait until the test lets it go on."""
    call.write(NOTES.insert(Note(call.new_id("note"), new.title)))
    gates = call.use(Gates)
    gates.entered.set()
    await gates.opened.wait()


@notes.operation("POST /v1/gated", scope="notes:write", status=201)
async def gated(call: Call, new: NewNote) -> Note:
    """Like create, and waits for the test."""
    gates = call.use(Gates)
    gates.entered.set()
    await gates.opened.wait()
    note = Note(call.new_id("note"), new.title)
    call.write(NOTES.insert(note))
    return note


@notes.operation("POST /v1/broken", scope="notes:write")
async def broken(call: Call) -> None:
    """Break, with a secret in the message."""
    raise ZeroDivisionError("msk_secret_in_a_message")


@notes.operation("POST /v1/keys/{id}:revoke", scope="notes:write")
async def revoke(call: Call, id: str) -> None:
    """Revoke a key."""
    call.emit(KeyRevoked(id))


@notes.operation("POST /v1/forbidden", scope="notes:write")
async def forbidden(call: Call) -> None:
    """Refuse."""
    raise Forbidden("not today")


@notes.stream("GET /v1/ticks", scope="notes:read")
async def ticks(call: Call, query: StreamQuery) -> AsyncIterator[StreamItem]:
    """Count from ``after`` to 3; with ``wait`` stay open between two and three."""
    start = read_at("/after", int, query.after or "0")
    if start > 3:
        raise Conflict("past the end")
    for number in range(start + 1, 4):
        if number == 3 and query.wait:
            gates = call.use(Gates)
            gates.entered.set()
            await gates.opened.wait()
        yield StreamItem(b'{"n": %d}\n{}' % number, id=str(number), event="tick")


async def may_put(call: Call, name: str) -> UploadTerms:
    """Refuse one name."""
    if name == "forbidden":
        raise Forbidden()
    return UploadTerms("notes/")


@notes.upload("PUT /v1/files/{name}", scope="notes:write", body_bytes_max=100_000, prepare=may_put)
async def put_file(call: Call, name: str, file: Upload) -> Stored:
    """Keep a file."""
    call.write(NOTES.insert(Note(call.new_id("note"), file.key)))
    return Stored(file.sha256, file.size_bytes, file.filename, file.media_type)


@notes.raw("GET /l/{slug}", scope=None, rate=RateClass.UNLIMITED)
async def follow(call: Call, slug: str) -> Raw:
    """Redirect."""
    return Raw(b"", 302, headers=(("Location", f"https://example.org/{slug}"),))


@notes.raw("GET /v1/download", scope=None)
async def download(call: Call) -> Raw:
    """Stream a body."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    headers = (("Cache-Control", "max-age=60"), ("ETag", '"1"'))
    return Raw(chunks(), media_type="text/plain", headers=headers)


@notes.raw("POST /v1/notes/{id}:stamp", scope="notes:write")
async def stamp(call: Call, id: str, new: NoteChange) -> Raw:
    """Put a stamp on a note, once the test lets it."""
    note = await call.one(BY_ID, id=id)
    gates = call.use(Gates)
    gates.entered.set()
    await gates.opened.wait()
    call.write(NOTES.update(note, title=f"{note.title} {new.title}"))
    headers = (("X-Stamp", new.title),)
    return Raw(f"version {note.version + 1}".encode(), 201, "text/plain", headers)


@notes.raw("POST /v1/printouts", scope="notes:write")
async def print_out(call: Call, new: NewNote) -> Raw:
    """Keep a note and stream it back."""
    call.write(NOTES.insert(Note(call.new_id("note"), new.title)))

    async def chunks() -> AsyncIterator[bytes]:
        yield new.title.encode()

    return Raw(chunks(), media_type="text/plain")


@notes.stream("GET /v1/scribbles", scope="notes:read")
async def scribble(call: Call) -> AsyncIterator[StreamItem]:
    """Try to write."""
    call.write(NOTES.insert(Note(call.new_id("note"), "from a stream")))
    yield StreamItem(b"{}")


@notes.raw("GET /v1/lost", scope=None)
async def lost(call: Call) -> Raw:
    """Stream a body that is not there."""

    async def chunks() -> AsyncIterator[bytes]:
        raise NotFound()
        yield b""

    return Raw(chunks())

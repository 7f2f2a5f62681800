"""Records out of a file, page by page: each is written as a call of its own would write it.

How far the file is read is part of the commit that writes what was read, so no record comes twice.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring import (
    Call,
    Failure,
    Invalid,
    Response,
    Unauthenticated,
    Upload,
    UploadTerms,
    handles,
)
from mainspring.kernel.json_reader import JsonReader
from mainspring.ports.blobs import Blobs
from mainspring.ports.keyring import Keyring
from mainspring.services.records import access, api, mutations
from mainspring.services.records.api import transfers as contract
from mainspring.services.records.api.runs import RUN_PAGE_MAX, Run, RunError
from mainspring.services.records.fields import OUTSIDE, targets_of
from mainspring.services.records.model import SYSTEM, CompiledCollection
from mainspring.services.records.operations.many import PageOutcome, error_of
from mainspring.services.records.operations.records import create, upsert
from mainspring.services.records.operations.run_slots import begin_run, free_slot
from mainspring.services.records.presenter import viewable
from mainspring.services.records.schema_cache import denied, named
from mainspring.services.records.sealed_files import FRAME_BYTES, frame_bytes, read_sealed, sealing
from mainspring.services.records.store.runs import RunRow
from mainspring.services.records.transfer_formats import (
    BOM,
    RECORD_BYTES_MAX,
    Format,
    Piece,
    Unreadable,
    body_of,
    pieces,
)
from mainspring.services.records.uploads import FILES, IMPORTS

SHORT_WINDOW_BYTES = 2 * FRAME_BYTES  # of a file that are read for one page, where they do for it
WINDOW_BYTES = 2 * RECORD_BYTES_MAX  # and else
ALONE_FROM = 3  # the attempt of a page from which on its records are written one by one
GIVEN_UP_AT = 6  # and that at which the one that cannot be written is left

_IGNORED = frozenset({*SYSTEM} - {"id"})
_body = JsonReader(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class ImportSpec(msgspec.Struct, frozen=True):
    """What is imported into which collection. ``header`` are the columns of CSV.

    ``frame_bytes`` are those of a sealed frame; 0 where the file is kept as it came, as those from
    before were.
    """

    collection: str
    blob: str
    size_bytes: int
    format: Format
    by: str | None
    header: list[str] = []
    frame_bytes: int = 0


class ImportPlace(msgspec.Struct, frozen=True):
    """How far a file is read: so many bytes, which end in so many lines."""

    offset: int = 0
    line: int = 0


async def may_import(call: Call, collection: str, query: contract.ImportQuery) -> UploadTerms:
    """Refuse before the file comes; what no run refers to is swept a day later."""
    found = await named(call, collection, api.WRITE)
    _require_way(call, found, query.by)
    await free_slot(call)
    keyring = call.use(Keyring)
    return UploadTerms(
        f"{FILES}{found.id}/{IMPORTS}", "the file to import", stored=sealing(keyring)
    )


@handles(contract.import_records, prepare=may_import)
async def import_records(
    call: Call, collection: str, query: contract.ImportQuery, upload: Upload
) -> Response[Run]:
    found = await named(call, collection, api.WRITE)
    _require_way(call, found, query.by)
    stored_bytes = frame_bytes(call.use(Keyring))
    spec = ImportSpec(
        found.id, upload.key, upload.size_bytes, query.format, query.by, frame_bytes=stored_bytes
    )
    window = await _window(call, spec, ImportPlace())
    place = ImportPlace(len(BOM) if window.startswith(BOM) else 0)
    if query.format == "csv":
        header, place = _header(found, window[place.offset :], place, upload.size_bytes)
        spec = msgspec.structs.replace(spec, header=header)
    row = RunRow(
        call.new_id("run"), call.tenant, found.name, "import", _encode(spec).decode(),
        call.caller.actor, "running", None, 0, 0, 0, "[]", None, _encode(place).decode(),
        RUN_PAGE_MAX, call.now_ms, call.now_ms,
    )  # fmt: skip
    return await begin_run(call, msgspec.structs.replace(row, blob=upload.key))


def _require_way(call: Call, found: CompiledCollection, by: str | None) -> None:
    """Raise unless the caller may write some record so, and somebody can be asked later."""
    if call.caller.kind == "anonymous":
        raise Unauthenticated("an import is somebody's: log in, or send an API key")
    ways = ("create",) if by is None else ("create", "update")
    if not any(access.has_way(call, found, action) for action in ways):  # type: ignore[arg-type]
        raise denied(call, api.WRITE)
    if by not in (None, "id") and by not in found.unique_fields:
        raise Invalid.at("/by", f"there is no unique field {by!r}")


def _header(
    found: CompiledCollection, window: bytes, place: ImportPlace, size_bytes: int
) -> tuple[list[str], ImportPlace]:
    """Read the first row. Raises Invalid for what is no field."""
    try:
        last = len(window) >= size_bytes - place.offset
        first = next(pieces("csv", window, 0, last=last), None)
    except Unreadable as error:
        raise Invalid.at("/line/1", str(error)) from None
    header = [] if first is None else [cell or "" for cell in first.cells]
    for name in header:
        if name not in found.types:
            raise Invalid.at("/line/1", f"there is no field {name[:64]!r}: name fields, or id")
    if len(set(header)) < len(header):
        raise Invalid.at("/line/1", "a field is named twice: name each once")
    if first is None:
        raise Invalid.at("/line/1", "there is no header: name the fields in the first line")
    return header, ImportPlace(place.offset + first.end, first.line)


async def _window(
    call: Call, spec: ImportSpec, place: ImportPlace, window_bytes: int = WINDOW_BYTES
) -> bytes:
    size_bytes = min(window_bytes, spec.size_bytes - place.offset)
    if size_bytes <= 0:
        return b""
    blobs = call.use(Blobs)
    if not spec.frame_bytes:
        chunks = blobs.get(spec.blob, place.offset, size_bytes)
        return b"".join([chunk async for chunk in chunks])
    try:
        return await read_sealed(
            call.use(Keyring), blobs, spec.blob, spec.frame_bytes, place.offset, size_bytes
        )
    except ValueError as error:
        raise Invalid(f"the file cannot be opened any more: {error}") from None


class ImportPage:
    """The records of one page: staged until it is full, or one needs another to be committed."""

    def __init__(self, call: Call, collection: CompiledCollection, spec: ImportSpec) -> None:
        self._call = call
        self._collection = collection
        self._spec = spec
        self._seen = mutations.Handover(())
        self._keys: set[Any] = set()
        self._made: set[str] = set()  # ids that earlier records of the page brought
        self.errors: list[RunError] = []
        self.done = self.skipped = 0

    async def take(self, piece: Piece) -> bool:
        """Stage a record, or note what is wrong with it. False where it has to wait."""
        found, by = self._collection, self._spec.by
        try:
            body = body_of(piece, self._spec.header, found.fields, _IGNORED)
            sent = _body.read(body)  # as every body is read that is sent
            key = None if by is None or sent.get(by) is None else _encode(sent[by])
            if key in self._keys:
                return False  # by then the one before it is there to be found
            self._keys.update([] if key is None else [key])
            await self._require_targets(sent)
            if by is None:
                await create(self._call, found, body, seen=self._seen)
            else:
                await upsert(self._call, found, by, body, seen=self._seen)
            self._made.update([sent["id"]] if isinstance(sent.get("id"), str) else [])
            self.done += 1
        except Failure as failure:
            if failure.status >= 500:
                raise
            self.errors.append(error_of(failure, line=piece.line))
        except (ValueError, RecursionError) as error:
            self.errors.append(RunError("malformed", str(error)[:500], None, piece.line))
        return True

    async def _require_targets(self, sent: dict[str, Any]) -> None:
        """Raise Invalid for a relation to nothing: found at the commit, it would fail the page."""
        for field in self._collection.relations:
            at = self._collection.definition.targets[field.name]
            value = sent.get(field.name)
            if at in OUTSIDE or not isinstance(value, list if field.many else str):
                continue
            ids = [id for id in targets_of(field, sent) if id not in self._made]
            if ids and (missing := set(ids) - (await viewable(self._call, at, ids)).keys()):
                raise Invalid.at(f"/{field.name}", f"there is no record {min(missing)}")


async def import_page(call: Call, row: RunRow) -> tuple[PageOutcome, ImportPlace, bool]:
    """Stage the next records of a file. Returns how that went, how far it is, and if that is all.

    Raises Invalid where it cannot be read on, with nothing staged.
    """
    spec = msgspec.json.decode(row.spec, type=ImportSpec)
    place = msgspec.json.decode(row.place, type=ImportPlace)
    found = await named(call, row.collection, api.WRITE)
    if found.id != spec.collection:
        raise Invalid("the collection is gone")
    _require_way(call, found, spec.by)
    most = 1 if call.attempt >= ALONE_FROM else RUN_PAGE_MAX
    for window_bytes in (SHORT_WINDOW_BYTES, WINDOW_BYTES):
        window = await _window(call, spec, place, window_bytes)
        last = place.offset + len(window) >= spec.size_bytes
        taken, problem = _some(spec.format, window, place.line, most, last=last)
        if len(taken) == most or last:
            break
    if call.attempt >= GIVEN_UP_AT and taken:
        error = RunError("not_written", "could not be written, by whatever", None, taken[0].line)
        return PageOutcome(0, 0, [error]), _at(place, taken[0]), False
    page = ImportPage(call, found, spec)
    now = place
    for piece in taken:
        if not await page.take(piece):
            break
        now = _at(place, piece)
    if not taken and problem is not None:
        raise Invalid(f"line {problem.line}: {problem}")
    whole = last and problem is None and len(taken) < most and now == _end(place, taken)
    return PageOutcome(page.done, page.skipped, page.errors), now, whole


def _some(
    format: Format, window: bytes, line: int, most: int, *, last: bool
) -> tuple[list[Piece], Unreadable | None]:
    """The first records of a window, and what keeps others from being read."""
    taken: list[Piece] = []
    try:
        for piece in pieces(format, window, line, last=last):
            taken.append(piece)
            if len(taken) == most:
                break
    except Unreadable as error:
        return taken, error
    return taken, None


def _at(place: ImportPlace, piece: Piece) -> ImportPlace:
    return ImportPlace(place.offset + piece.end, piece.line)


def _end(place: ImportPlace, taken: Sequence[Piece]) -> ImportPlace:
    return _at(place, taken[-1]) if taken else place

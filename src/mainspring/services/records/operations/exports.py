"""Records as a file: read page by page while it is sent, each by the rights of that moment."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from mainspring import Call, Gone, Raw, Rows, Unauthenticated, handles
from mainspring.services.records import access, api
from mainspring.services.records.api import transfers as contract
from mainspring.services.records.changes import now_ms
from mainspring.services.records.model import CompiledCollection
from mainspring.services.records.operations.lists import read_after, visible
from mainspring.services.records.projection import Projection
from mainspring.services.records.schema_cache import named
from mainspring.services.records.store import StoredRecord
from mainspring.services.records.transfer_formats import row

PAGE_ROWS = 500  # read at a time, as far as a page holds them

_MEDIA = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
}


@handles(contract.export_records)
async def export_records(call: Call, collection: str, query: contract.ExportQuery) -> Raw:
    found = await named(call, collection, api.READ)
    access.rule_for(call, found, "list")
    Projection(found, query.fields)
    # What cannot be answered is refused before the download begins.
    first = await _page(call, found, query, query.after)
    name = f'attachment; filename="{collection}.{query.format}"'
    return Raw(
        _body(call, found, query, first),
        media_type=_MEDIA[query.format],
        headers=(("Content-Disposition", name),),
    )


async def _page(
    call: Call, found: CompiledCollection, query: contract.ExportQuery, after: str | None
) -> Rows[StoredRecord]:
    asked = await visible(call, found, query.filter)
    return await read_after(call, found, asked, after, PAGE_ROWS)


async def _body(
    call: Call, found: CompiledCollection, query: contract.ExportQuery, page: Rows[StoredRecord]
) -> AsyncIterator[bytes]:
    """Write page after page. Raises, which cuts the answer off, where it cannot go on."""
    columns = _columns(call, found, query.fields)
    if query.format == "csv":
        yield row(columns)
    elif query.format == "json":
        yield b"["
    begun = False
    while True:
        records = [found.read(stored.data, stored.schema_version) for stored in page.items]
        shown = await Projection(found, query.fields).present(call, records)
        if shown:
            yield _written(query, columns, shown, begun=begun)
            begun = True
        if not page.more and len(shown) == len(records):
            break
        after = records[len(shown) - 1]["id"]
        if not await call.still_allowed():
            raise Unauthenticated("the caller is no longer allowed to export")
        call.now_ms = now_ms(call)
        now = await named(call, found.name, api.READ)
        if (now.id, list(now.fields)) != (found.id, list(found.fields)):
            raise Gone("the collection has other fields by now: export it again")
        found = now
        page = await _page(call, found, query, after)
    if query.format == "json":
        yield b"\n]\n"


def _columns(call: Call, found: CompiledCollection, fields: str | None) -> list[str]:
    """The columns of CSV: where none are named, of all fields that the caller may ever read."""
    if fields is None:
        hidden = {guard.field for guard in found.withholding if guard.read is None}
        shown = [
            name for name in found.fields if call.caller.allows(api.READ) or name not in hidden
        ]
        return ["id", "created_at", "updated_at", *shown]
    return list(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))


def _written(
    query: contract.ExportQuery,
    columns: Sequence[str],
    shown: Sequence[msgspec.Raw],
    *,
    begun: bool,
) -> bytes:
    if query.format == "ndjson":
        return b"".join(bytes(record) + b"\n" for record in shown)
    if query.format == "json":
        return (b",\n" if begun else b"\n") + b",\n".join(bytes(record) for record in shown)
    rows: list[dict[str, Any]] = [msgspec.json.decode(record) for record in shown]
    return b"".join(
        row([told.get(name) for name in columns], escape_formulas=query.escape_formulas)
        for told in rows
    )

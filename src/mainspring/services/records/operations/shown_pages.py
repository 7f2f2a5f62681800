"""What pages of records have in common, however they were found: their condition and their text."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring import Invalid, Response
from mainspring.cel import ast
from mainspring.kernel.etag import tag_of
from mainspring.services.records.far_end import FarEnd
from mainspring.services.records.model import CompiledCollection, decode
from mainspring.services.records.store import StoredRecord


class ListCondition(msgspec.Struct, frozen=True):
    """The condition of a list, and the other collections that it reaches, by id.

    ``caller`` is what it was told of the caller, as far as it asks for that; ``far`` is where a
    list may begin instead.
    """

    condition: ast.Node
    others: Mapping[str, CompiledCollection] = {}
    caller: Mapping[str, Any] = {}
    far: FarEnd | None = None


def as_stored(
    collection: CompiledCollection, rows: list[StoredRecord], cursor: str | None
) -> Response[Any]:
    """A page of records as they are stored: their text is joined, not read and written again.

    Ids and versions tell a page from another one, at a twentieth of its bytes.
    """
    items = ",".join([row.data for row in rows])
    following = msgspec.json.encode(cursor).decode()
    body = f'{{"items":[{items}],"next_cursor":{following}}}'
    told = "".join([f"{row.id}{row.version}," for row in rows])
    seen = f"{collection.id}{collection.version},{told}{following}"
    return Response(msgspec.Raw(body.encode()), etag=tag_of(seen.encode()))


def current(collection: CompiledCollection, row: StoredRecord) -> dict[str, Any]:
    """Read a stored record under the layout of now."""
    record = decode(row.data)
    return record if row.schema_version >= collection.layout else collection.upgrade(record)


def open_cursor(cursor: str) -> bytes:
    """Return what a cursor says. Raises Invalid."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
    except ValueError:
        raise bad_cursor() from None


def bad_cursor() -> Invalid:
    """Say that a cursor is none of this list."""
    return Invalid.at("/cursor", "is not a next_cursor of this list")

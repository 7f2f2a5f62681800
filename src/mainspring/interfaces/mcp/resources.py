"""Collections as resources: listed as far as the caller may list them, and read page by page."""

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from mainspring.interfaces.mcp.catalog import Shapes
from mainspring.interfaces.rest.arguments import query_fields
from mainspring.kernel.errors import NotFound

SCHEME = "mainspring://"
PAGE = 100
URI_CHARS_MAX = 4_096
LIST_RECORDS, GET_RECORD = "records.list_records", "records.get_record"

_URI = re.compile(r"mainspring://collections/([^/?#]+)/records(?:/([^/?#]+))?(?:\?([^#]*))?")

TEMPLATES: list[dict[str, Any]] = [
    {
        "uriTemplate": SCHEME
        + "collections/{collection}/records{?limit,cursor,filter,sort,fields}",
        "name": "records",
        "description": "A page of a collection's records; its next_cursor is the next cursor.",
        "mimeType": "application/json",
    },
    {
        "uriTemplate": SCHEME + "collections/{collection}/records/{id}",
        "name": "record",
        "description": "One record.",
        "mimeType": "application/json",
    },
]


class Wanted(msgspec.Struct, frozen=True):
    """The read that a URI stands for."""

    operation: str
    path: dict[str, str | int]
    query: dict[str, Any]


def listed(shapes: Shapes, cursor: str | None) -> dict[str, Any]:
    """Return a page of the collections whose records the caller may list."""
    names = sorted({shape.name for shape in shapes if shape.operation == LIST_RECORDS})
    after = [name for name in names if cursor is None or name > cursor]
    page: dict[str, Any] = {"resources": [_resource(name) for name in after[:PAGE]]}
    if len(after) > PAGE:
        page["nextCursor"] = after[PAGE - 1]
    return page


def _resource(name: str) -> dict[str, Any]:
    return {
        "uri": f"{SCHEME}collections/{name}/records",
        "name": name,
        "description": f"The records of the collection {name}.",
        "mimeType": "application/json",
    }


def read_uri(uri: str) -> Wanted:
    """Return what a URI asks for. Raises NotFound, Invalid."""
    match = _URI.fullmatch(uri) if len(uri) <= URI_CHARS_MAX else None
    if match is None:
        raise NotFound(f"no resource is like that: see {TEMPLATES[0]['uriTemplate']}")
    path: dict[str, str | int] = {"collection": unquote(match[1])}
    query = query_fields((match[3] or "").encode())
    if match[2] is None:
        return Wanted(LIST_RECORDS, path, query)
    return Wanted(GET_RECORD, {**path, "id": unquote(match[2])}, query)

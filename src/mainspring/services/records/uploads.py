"""Which blobs a record has, and what is left of uploads: counted for ``mainspring doctor``.

A file of its own, since who counts has a database and no call.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from mainspring.ports.blobs import Blobs, StoredBlob
from mainspring.services.records.model import decode
from mainspring.services.records.store import DATA
from mainspring.services.records.store.runs import RUN_OF_BLOB
from mainspring.services.records.thumbnails import original_of

FILES = "records/"  # what the keys of our blobs begin with
IMPORTS = "import/"  # and those of what is imported, behind the collection's id
LEFT_MS = 24 * 3600 * 1000  # an upload that no commit refers to by then never will be

_PAGE = 500
_LATEST_MS = 1 << 62  # later than whatever was written

Find = Callable[..., Awaitable[Any]]  # what a query finds by its parameters, or None


class Uploads(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has: ``unfinished`` puts, and ``left`` files that no record has.

    ``more`` when there may be more than was looked at; ``oldest_ms`` is of what no record has.
    """

    files: int
    size_bytes: int
    unfinished: int
    left: int
    left_bytes: int
    oldest_ms: int | None
    more: bool


async def has_file(find: Find, blob: str) -> bool:
    """Whether what a blob was uploaded for refers to it, or to what it was made of.

    That is a record, or a run that imports it and goes on.
    """
    blob = original_of(blob)
    collection, _, rest = blob.removeprefix(FILES).partition("/")
    if rest.startswith(IMPORTS):
        return await find(RUN_OF_BLOB, blob=blob) is not None
    data = await find(DATA, collection=collection, id=rest.partition("/")[0])
    values = [] if data is None else decode(data).values()
    found = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return any(isinstance(item, dict) and item.get("blob") == blob for item in found)


async def count_uploads(blobs: Blobs, find: Find, most: int) -> Uploads:
    """Look at up to so many blobs; those of an app's own operations count as files it has."""
    looked: list[StoredBlob] = []
    left: list[StoredBlob] = []
    while page := await blobs.older("", _LATEST_MS, limit=_PAGE, after=_last(looked)):
        for blob in page[: most - len(looked)]:
            looked.append(blob)
            ours = blob.key.startswith(FILES)
            if not (await has_file(find, blob.key) if ours else blob.finished):
                left.append(blob)
        if len(looked) == most:
            break
    return Uploads(
        files=len(looked),
        size_bytes=sum(blob.size_bytes for blob in looked),
        unfinished=sum(not blob.finished for blob in left),
        left=sum(blob.finished for blob in left),
        left_bytes=sum(blob.size_bytes for blob in left),
        oldest_ms=min((blob.written_ms for blob in left), default=None),
        more=len(looked) == most,
    )


def _last(looked: Sequence[StoredBlob]) -> str | None:
    return looked[-1].place if looked else None

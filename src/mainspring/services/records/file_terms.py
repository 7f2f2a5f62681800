"""What a file may be that is sent to a field, and what is kept of one that was stored."""

from typing import Any

import msgspec

from mainspring import UploadTerms
from mainspring.kernel.errors import UnsupportedMedia
from mainspring.kernel.operation import Files
from mainspring.services.records import api, file_types
from mainspring.services.records.fields import StoredFile
from mainspring.services.records.jobs import files_of
from mainspring.services.records.model import CompiledCollection

_OF_STORED = "stored_"  # what the last part of a key begins with then: see ``terms_of``


def terms_of(
    collection: CompiledCollection, record_id: str, field: api.Field, of_stored: bool = False
) -> UploadTerms:
    """What a file may be that is uploaded to a field.

    Its key says whether the record is stored already (``of_stored``), where that decides.
    """

    def judged(head: bytes, claimed: str) -> str:
        media_type = file_types.judge(head, claimed)
        if field.types and not file_types.fits(media_type, field.types):
            wanted = ", ".join(field.types)
            raise UnsupportedMedia.at(
                f"/{field.name}",
                f"this is {media_type}, by what is in it: send one of {wanted}",
                f"{field.name!r} takes {wanted}, and this is {media_type}, by what is in it",
            )
        return media_type

    prefix, what = files_of(collection.id, record_id), f"the file of {field.name!r}"
    prefix += _OF_STORED if of_stored else ""
    return UploadTerms(prefix, what, field.max_bytes, judged)


def values_of(files: Files) -> dict[str, Any]:
    """The values of file fields, by their names."""
    return {
        name: msgspec.structs.asdict(
            StoredFile(file.key, file.filename, file.media_type, file.size_bytes, file.sha256)
        )
        for name, file in files.items()
    }


def record_of(blob: str) -> str:
    """The id of the record that a blob was stored for."""
    return blob.split("/")[-2]


def is_of_stored(blob: str) -> bool:
    """Whether a blob came for a record that was stored by then, where its key says so."""
    return blob.rpartition("/")[2].startswith(_OF_STORED)

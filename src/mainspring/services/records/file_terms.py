"""What a file may be that is sent to a field, and what is kept of one that was stored."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring import FieldErrors, Invalid, Upload, UploadTerms
from mainspring.kernel.errors import UnsupportedMedia
from mainspring.kernel.operation import Files
from mainspring.services.records import api, file_types
from mainspring.services.records.fields import StoredFile, file_id, files_in, items_max
from mainspring.services.records.jobs import files_of
from mainspring.services.records.model import UNFIT, CompiledCollection

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
    most = items_max(field) if field.many else 1
    return UploadTerms(prefix, what, field.max_bytes, judged, parts_max=most)


def with_files(
    collection: CompiledCollection,
    values: dict[str, Any],
    files: Files,
    record: Mapping[str, Any],
    pointer: str = "",
) -> dict[str, Any]:
    """Values with the files that came, and those of lists that stay, in the order that is sent.

    Files that came are behind what a list holds. Raises Invalid for an id of no file of the
    ``record``, and for a list that would be too long.
    """
    if not collection.files:
        return values
    made, errors = dict(values), FieldErrors()
    for name in [name for name in values if name in collection.files]:
        if not collection.fields[name].many:
            continue
        there = {file_id(file["blob"]): file for file in files_in(record.get(name))}
        for i, sent in enumerate(values[name]):
            if sent not in there:
                errors.add(f"{pointer}/{name}/{i}", "the record has no such file here: upload it")
        made[name] = [there[sent] for sent in values[name] if sent in there]
    for part, file in files.items():
        name, stored = part.partition("/")[0], _stored(file)
        if not collection.fields[name].many:
            made[name] = stored
            continue
        before = made[name] if name in made else files_in(record.get(name))
        made[name] = [*before, stored]
    for name in made:
        most = items_max(collection.fields[name])
        if name in collection.files and len(files_in(made[name])) > most:
            errors.add(f"{pointer}/{name}", f"holds at most {most} files: first take some out")
    if errors:
        raise Invalid(UNFIT, errors=errors)
    return made


def _stored(file: Upload) -> dict[str, Any]:
    kept = StoredFile(file.key, file.filename, file.media_type, file.size_bytes, file.sha256)
    return msgspec.structs.asdict(kept)


def record_of(blob: str) -> str:
    """The id of the record that a blob was stored for."""
    return blob.split("/")[-2]


def is_of_stored(blob: str) -> bool:
    """Whether a blob came for a record that was stored by then, where its key says so."""
    return blob.rpartition("/")[2].startswith(_OF_STORED)

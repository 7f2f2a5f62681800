"""The public face of uploads in two steps: sent to where files lie, then put in their place."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mainspring import Call, Input, Instant, Response, Upload
from mainspring.kernel.media import MEDIA_TYPE_CHARS_MAX, NAME_CHARS_MAX
from mainspring.services.records.api import FILE_PATH, service

PENDING_PATH = "/v1/pending_uploads"
PENDING_MAX = 100  # uploads of one caller that were begun and not finished
DIRECT_BYTES_MAX = 5 << 30  # what S3 takes in one piece
FINISH_S = 3_600  # how long after its address has ended an upload may still be finished


class NewUpload(Input, frozen=True):
    """What will be sent: so many bytes with this SHA-256 (hex), and nothing else.

    What it is is read from its first bytes when it is finished; ``media_type`` counts where they do
    not tell.
    """

    size_bytes: Annotated[int, Meta(ge=0, le=DIRECT_BYTES_MAX)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    media_type: Annotated[str, Meta(max_length=MEDIA_TYPE_CHARS_MAX)] = "application/octet-stream"
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)] | None = None


class PendingUpload(msgspec.Struct, frozen=True):
    """Where to send the file: a PUT of its bytes to ``url``, with these ``headers`` as they are.

    A ``url`` without a host stands behind the platform's own address. ``id`` finishes it.
    """

    id: str
    url: str
    method: str
    headers: dict[str, str]
    expires_at: Instant


class FinishUpload(Input, frozen=True):
    """Which upload is finished: the ``id`` of the one that was begun for this field."""

    id: Annotated[str, Meta(pattern=r"^upl_[0-9a-z]{26}$(?!\n)")]


@service.contract.operation(f"POST {FILE_PATH}:begin_upload", scope=None, status=201, secret=True)
async def begin_upload(
    call: Call, collection: str, record_id: str, field: str, new: NewUpload
) -> PendingUpload:
    """Ask where to send a file for a file field: the store itself, or the platform.

    Refused to those who may not change the field, and where the file would be too large. Until it
    is finished no record has it.
    """


@service.contract.upload(f"PUT {PENDING_PATH}/{{token}}", scope=None, status=204)
async def upload_pending_file(call: Call, token: str, upload: Upload) -> None:
    """Send the file of an upload that was begun, where the platform is the store.

    Whoever has the address may send what was announced, and nothing else.
    """


@service.contract.operation(f"POST {FILE_PATH}:finish_upload", scope=None, status=201)
async def finish_upload(
    call: Call, collection: str, record_id: str, field: str, finish: FinishUpload
) -> Response[msgspec.Raw]:
    """Put what was sent into the file field, as an upload does.

    Only whoever began it may, once, while they may change the field. Size and checksum are
    compared with what was announced, and its first bytes say what it is.
    """

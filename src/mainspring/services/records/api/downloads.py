"""How files are answered, and links to them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mainspring import Input, Instant

LINK_S_MAX = 3_600


ThumbSize = Annotated[str, Meta(max_length=9)]
WhichFile = Annotated[
    str, Meta(pattern=r"^(?:[0-9]{1,4}|[a-z]+_[0-9a-z_]{1,60})$(?!\n)", description="id or place")
]


class FileView(Input, frozen=True):
    """How to answer with a file: with ``download`` it is an attachment, whatever its field says.

    ``thumb`` is a size that its field has: ``200x200``. ``file`` says which one of a field that
    holds many: by its id, the last part of its ``blob``, or by its place from 0. Where it lies in
    S3 a large one is fetched there, by a redirect; without ``redirect`` the platform sends it.
    """

    download: bool = False
    thumb: ThumbSize | None = None
    file: WhichFile | None = None
    redirect: bool = True


class NewFileLink(Input, frozen=True):
    """For how long a link holds, and how it answers: as ``FileView`` says."""

    expires_in_s: Annotated[int, Meta(ge=1, le=LINK_S_MAX)] = 300
    download: bool = False
    thumb: ThumbSize | None = None
    file: WhichFile | None = None


class FileLink(msgspec.Struct, frozen=True):
    """A link to a file: ``url`` stands behind the platform's own address."""

    url: str
    expires_at: Instant

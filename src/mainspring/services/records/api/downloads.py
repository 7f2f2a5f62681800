"""How files are answered, and links to them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mainspring import Input, Instant

LINK_S_MAX = 3_600


ThumbSize = Annotated[str, Meta(max_length=9)]


class FileView(Input, frozen=True):
    """How to answer with a file: with ``download`` it is an attachment, whatever its field says.

    ``thumb`` is a size that its field has: ``200x200``.
    """

    download: bool = False
    thumb: ThumbSize | None = None


class NewFileLink(Input, frozen=True):
    """For how long a link holds, and how it answers: as ``FileView`` says."""

    expires_in_s: Annotated[int, Meta(ge=1, le=LINK_S_MAX)] = 300
    download: bool = False
    thumb: ThumbSize | None = None


class FileLink(msgspec.Struct, frozen=True):
    """A link to a file: ``url`` stands behind the platform's own address."""

    url: str
    expires_at: Instant

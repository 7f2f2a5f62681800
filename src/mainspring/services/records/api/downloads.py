"""How files are answered, and links to them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from mainspring import Input, Instant

LINK_S_MAX = 3_600


class FileView(Input, frozen=True):
    """How to answer with a file: with ``download`` it is an attachment, whatever its field says."""

    download: bool = False


class NewFileLink(Input, frozen=True):
    """For how long a link holds, and whether it is an attachment whatever its field says."""

    expires_in_s: Annotated[int, Meta(ge=1, le=LINK_S_MAX)] = 300
    download: bool = False


class FileLink(msgspec.Struct, frozen=True):
    """A link to a file: ``url`` stands behind the platform's own address."""

    url: str
    expires_at: Instant

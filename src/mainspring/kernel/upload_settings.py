"""``[uploads]``: what bounds files, whoever takes them."""

from typing import Annotated

import msgspec


class UploadSettings(msgspec.Struct, frozen=True):
    """``[uploads]``: how large a file may be, and how many are on their way at a time."""

    file_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)] = 64 << 20
    form_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)] = 256 << 20
    at_once_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256
    at_once_per_caller_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 32

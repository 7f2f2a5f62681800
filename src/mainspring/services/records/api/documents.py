"""What is asked in MongoDB's language, and answered."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mainspring import Input, PageQuery

Language = dict[str, Any]
SKIPPED_MAX = 10_000
DOCUMENTS_MAX = 10_000  # read for one call
DOCUMENTS_BYTES_MAX = 16 << 20


class FindQuery(PageQuery, frozen=True):
    """A find. Where it has a ``sort``, ``skip`` goes on, and else the ``cursor``."""

    filter: Language = msgspec.field(default_factory=dict)
    projection: Language = msgspec.field(default_factory=dict)
    sort: Language = msgspec.field(default_factory=dict)
    skip: Annotated[int, Meta(ge=0, le=SKIPPED_MAX)] = 0


class DocumentPage(msgspec.Struct, frozen=True):
    """Documents, and where the next page begins: null after a sort, and at the end."""

    items: list[msgspec.Raw]
    next_cursor: str | None = None


class Pipeline(Input, frozen=True):
    """Stages, each of which is given what the one before it made."""

    pipeline: Annotated[list[Language], Meta(max_length=20)]


class PipelineAnswer(msgspec.Struct, frozen=True):
    """What the last stage made."""

    items: list[msgspec.Raw]

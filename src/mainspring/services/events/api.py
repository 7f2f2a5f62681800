"""The public face of the feed: what its operations take, and its Service."""

from typing import Annotated

import msgspec

from mainspring.kernel.event import Envelope
from mainspring.kernel.operation import Input
from mainspring.kernel.page import PAGE_LIMIT_DEFAULT, Cursor, Limit
from mainspring.kernel.service import Service

SCANNED_MAX = 2_000  # events read for one page
PATTERNS_MAX = 20
FILTER_CHARS_MAX = 2_000

_PATTERN = r"(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,2}(\.\*)?)"

Types = Annotated[
    str,
    msgspec.Meta(
        max_length=2_000,
        pattern=rf"^{_PATTERN}(,{_PATTERN}){{0,{PATTERNS_MAX - 1}}}$",
        description="event types, `prefix.*` or `*`, separated by commas",
    ),
]
Filter = Annotated[
    str,
    msgspec.Meta(
        max_length=FILTER_CHARS_MAX,
        description="CEL over the event: `data.total > 100 && subject.startsWith('order_')`",
    ),
]
After = Annotated[Cursor, msgspec.Meta(description="a `seq`, or the `next_cursor` of a page")]

service = Service("events", doc="The feed: every event of the platform, in order, from any point.")


class FeedQuery(Input, frozen=True):
    """Which events, and from where."""

    after: After | None = None
    type: Types = "*"
    filter: Filter | None = None
    limit: Limit = PAGE_LIMIT_DEFAULT


class StreamQuery(Input, frozen=True):
    """Which events; without a place to start from, those that are still to come.

    ``last_event_id`` is the header ``Last-Event-ID``, which a reader sends when it reconnects, and
    goes before ``after``.
    """

    after: After | None = None
    last_event_id: After | None = None
    type: Types = "*"
    filter: Filter | None = None


class Feed(msgspec.Struct, frozen=True):
    """Events in the order of ``seq``, as far as the caller may read them.

    A page may be short and still have a ``next_cursor``. When it is null the end was reached:
    ``position`` is where to go on from (as ``after``) once there is more.
    """

    items: list[Envelope]
    next_cursor: str | None
    position: int

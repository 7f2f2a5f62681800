"""The public face of the feed: its operations, what they take and answer."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from mainspring import PAGE_LIMIT_DEFAULT, Call, Envelope, Input, Service, StreamItem
from mainspring.kernel.errors import PositionGone
from mainspring.kernel.page import Cursor, Limit

READ = "events:read"

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
After = Annotated[
    Cursor,
    msgspec.Meta(
        description="a `next_cursor`, a `position`, the id of a stream's item, or a `seq`"
    ),
]

service = Service(
    "events",
    doc="The feed: every event of the platform, in order, from any point.",
    handlers=("mainspring.services.events.operations",),
)


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
    position: str


# Operations


@service.contract.operation("GET /v1/events", scope=READ, raises=(PositionGone,))
async def list_events(call: Call, query: FeedQuery) -> Feed:
    """Read the feed from a point on. A reader that follows the cursor never misses an event.

    It holds what the caller may read: the events of types whose scope it has, ``records:read`` say,
    and of records those that a view rule shows it.

    One page reads at most 2,000 events, so a page may be short, or empty, and have a
    ``next_cursor`` all the same. Personal fields are null without the scope ``events:personal``, as
    they are for everyone once the person was erased, and ``sealedfields`` names them.
    """


@service.contract.stream("GET /v1/events/stream", scope=READ)
def stream_events(call: Call, query: StreamQuery) -> AsyncIterator[StreamItem]:
    """Follow the feed live. ``Last-Event-ID`` resumes right after the event it names.

    The first item is of kind ``ready`` and has the place the stream starts at as its id, so that a
    reader which loses its connection before the first event resumes there. A slow reader gets the
    same events later: nothing is queued for it, the log is read at its pace. What the caller may
    read is asked again before each event.
    """


@service.contract.operation("GET /v1/events/schemas/{type}", scope=READ)
async def get_event_schema(call: Call, type: str) -> dict[str, Any]:
    """Return the JSON Schema of an event type's ``data``: what ``dataschema`` points at."""

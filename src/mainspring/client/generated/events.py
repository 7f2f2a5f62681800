"""The operations of events. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Iterator
from typing import Any

from mainspring.client.client import Client, Pages
from mainspring.client.sse import StreamEvent
from mainspring.kernel.event import Envelope


class Events:
    """The operations of events."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get_event_schema(self, type: str) -> dict[str, Any]:
        """Return the JSON Schema of an event type's ``data``: what ``dataschema`` points at.

        ``GET /v1/events/schemas/{type}``
        """
        return self._client.send("GET", "/v1/events/schemas/{type}", {"type": type}, dict[str, Any])

    def list(
        self,
        *,
        after: str | None = None,
        type: str | None = None,
        filter: str | None = None,
        limit: int | None = None,
    ) -> Pages[Envelope]:
        """Read the feed from a point on. A reader that follows the cursor never misses an event.

        It holds what the caller may read: the events of types whose scope it has, ``records:read`` say,
        and of records those that a view rule shows it.

        One page reads at most 2,000 events, so a page may be short, or empty, and have a
        ``next_cursor`` all the same. Personal fields are null without the scope ``events:personal``, as
        they are for everyone once the person was erased, and ``sealedfields`` names them.

        ``GET /v1/events``
        """
        return self._client.pages(
            "/v1/events",
            {},
            Envelope,
            {"after": after, "type": type, "filter": filter, "limit": limit},
            place="after",
        )

    def stream(
        self, *, after: str | None = None, type: str | None = None, filter: str | None = None
    ) -> Iterator[StreamEvent]:
        """Follow the feed live. ``Last-Event-ID`` resumes right after the event it names.

        The first item is of kind ``ready`` and has the place the stream starts at as its id, so that a
        reader which loses its connection before the first event resumes there. A slow reader gets the
        same events later: nothing is queued for it, the log is read at its pace. What the caller may
        read is asked again before each event.

        ``GET /v1/events/stream``
        """
        return self._client.follow(
            "/v1/events/stream", {}, {"after": after, "type": type, "filter": filter}
        )

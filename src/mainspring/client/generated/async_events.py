"""The operations of events. Made of the declarations by ``make clients``: edit those."""

from collections.abc import AsyncIterator
from typing import Any

from mainspring.client.async_client import AsyncClient, AsyncPages
from mainspring.client.sse import StreamEvent
from mainspring.kernel.event import Envelope


class AsyncEvents:
    """The operations of events."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get_event_schema(self, type: str) -> dict[str, Any]:
        """Return the JSON Schema of an event type's ``data``: what ``dataschema`` points at."""
        return await self._client.send(
            "GET", "/v1/events/schemas/{type}", {"type": type}, dict[str, Any]
        )

    def list(
        self,
        *,
        after: str | None = None,
        type: str | None = None,
        filter: str | None = None,
        limit: int | None = None,
    ) -> AsyncPages[Envelope]:
        """Read the feed from a point on. A reader that follows the cursor never misses an event."""
        return self._client.pages(
            "/v1/events",
            {},
            Envelope,
            {"after": after, "type": type, "filter": filter, "limit": limit},
            place="after",
        )

    def stream(
        self, *, after: str | None = None, type: str | None = None, filter: str | None = None
    ) -> AsyncIterator[StreamEvent]:
        """Follow the feed live. ``Last-Event-ID`` resumes right after the event it names."""
        return self._client.follow(
            "/v1/events/stream", {}, {"after": after, "type": type, "filter": filter}
        )

"""The rules of webhooks, without I/O: who wants an event, how it is signed, when it is retried."""

import base64
import email.utils
import hmac
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
import structlog

from mainspring import Envelope, Invalid, LruCache
from mainspring.cel import Program, compile_cel
from mainspring.cel.event import EVENT_NAMES
from mainspring.kernel.service import pattern_covers
from mainspring.services.webhooks.api import (
    ATTEMPTS_SHOWN,
    EXCERPT_BYTES_MAX,
    Attempt,
)

log = structlog.get_logger()

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
SEQ_MAX = 2**63 - 1
RETRY_AFTER_S_MAX = 86_400.0
TESTED_TYPE = "webhooks.endpoint.tested"
TYPES_REMEMBERED_MAX = 1_000  # event types whose routes one table remembers

_types = msgspec.json.Decoder(list[str]).decode
_attempts = msgspec.json.Decoder(list[Attempt]).decode
_encode = msgspec.json.Encoder().encode


# Routing


def compile_filter(source: str) -> Program:
    """Compile an endpoint's filter. Raises Invalid, with the place in ``/filter``."""
    return compile_cel(source, EVENT_NAMES, "/filter")


def record_of(event: Envelope, unasked: Sequence[str] = ()) -> Mapping[str, object]:
    """An event as filters see it, without some members of its data."""
    data = msgspec.json.decode(event.data)
    for name in unasked:
        data.pop(name, None)
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "actor": event.actor,
        "impersonator": event.impersonator,
        "correlationid": event.correlationid,
        "causationid": event.causationid,
        "seq": event.seq,
        "data": data,
    }


class RouteRow(msgspec.Struct, frozen=True):
    """What decides whether an endpoint wants an event.

    ``since_seq`` is its creation's place in the log, and null while that has none.
    """

    id: str
    types: str
    filter: str | None
    actor: str
    since_seq: int | None


class EventRoute(msgspec.Struct, frozen=True):
    """An endpoint that may want an event, if that came after its creation."""

    endpoint_id: str
    actor: str
    since_seq: int
    patterns: tuple[str, ...]
    program: Program | None


class Routes:
    """The endpoints of one tenant at one revision, by the types of events they want."""

    __slots__ = ("_by_type", "_routes", "settled")

    def __init__(self, rows: Sequence[RouteRow]) -> None:
        self.settled = all(row.since_seq is not None for row in rows)
        self._routes = [route for row in rows if (route := _route(row)) is not None]
        self._by_type: LruCache[str, Sequence[EventRoute]] = LruCache(TYPES_REMEMBERED_MAX)

    def wanting(self, event: Envelope, withholds: Sequence[str] = ()) -> list[EventRoute]:
        """Return the endpoints whose types and filter take this event.

        Whether whoever they act for may read it is asked next; and so is the filter, of an event
        that may have members which are withheld from them.
        """
        routes = self._by_type.get(event.type)
        if routes is None:
            routes = [
                route
                for route in self._routes
                if any(pattern_covers(pattern, event.type) for pattern in route.patterns)
            ]
            self._by_type.put(event.type, routes)
        if not routes:
            return []
        record: Mapping[str, object] | None = None
        wanting = []
        for route in routes:
            if event.seq is not None and event.seq <= route.since_seq:
                continue
            if route.program is not None and not withholds:
                record = record or record_of(event)
                if not route.program.test(record):
                    continue
            wanting.append(route)
        return wanting


def takes(route: EventRoute, event: Envelope, unasked: Sequence[str]) -> bool:
    """Tell whether an endpoint's filter takes an event, seen without some members of its data."""
    return route.program is None or route.program.test(record_of(event, unasked))


def _route(row: RouteRow) -> EventRoute | None:
    try:
        program = None if row.filter is None else compile_filter(row.filter)
    except Invalid as error:
        # It compiled when it was stored: this version reads it differently. One endpoint's filter
        # must not stop the events of all the others.
        log.error("webhook_filter_unreadable", webhook=row.id, error=error.detail)
        return None
    # Created later than any event that has a place yet, it wants none of those.
    since_seq = SEQ_MAX if row.since_seq is None else row.since_seq
    return EventRoute(row.id, row.actor, since_seq, tuple(_types(row.types)), program)


# Signing (Standard Webhooks 1.0)


def secret_text(secret: bytes) -> str:
    """Write a secret as its owner gets it: ``whsec_`` and base64."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signature(secrets: Iterable[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return ``webhook-signature``: one ``v1,`` HMAC-SHA256 per secret, separated by spaces."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    return " ".join(
        "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        for secret in secrets
    )


# Retrying


def retry_after_s(header: str | None, now_s: float) -> float:
    """Seconds a receiver asked us to wait (RFC 9110, 10.2.3), at most a day; 0 if it did not."""
    if header is None:
        return 0.0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), RETRY_AFTER_S_MAX)
    try:
        asked_s = email.utils.parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(asked_s, 0.0), RETRY_AFTER_S_MAX)


def wait_s(waits: Sequence[float], tries: int, jitter: float, noise: float) -> float | None:
    """Seconds until the attempt after ``tries`` of them; None when that was the last."""
    if tries >= len(waits):
        return None
    return waits[tries] * (1 + jitter * noise)


def excerpt(body: bytes) -> str:
    """The start of an answer as text that every engine stores."""
    return body[:EXCERPT_BYTES_MAX].decode("utf-8", "replace").replace("\x00", "\ufffd")


def add_attempt(attempts: str | None, attempt: Attempt) -> str:
    """Return the JSON list of attempts with one more; the oldest fall out of it."""
    kept = _attempts(attempts)[1 - ATTEMPTS_SHOWN :] if attempts is not None else []
    return _encode([*kept, attempt]).decode()


def host_of(url: str) -> str:
    """Scheme, host and port: what events say of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

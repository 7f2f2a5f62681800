"""The public face of webhooks: operations and jobs, what they take and answer, events, errors."""

from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mainspring import (
    Call,
    Conflict,
    Counter,
    Forbidden,
    Histogram,
    Impersonated,
    Input,
    Instant,
    Invalid,
    Page,
    PageQuery,
    PerKey,
    Response,
    Service,
)

READ, WRITE = "webhooks:read", "webhooks:write"

PATTERNS_MAX = 50  # type patterns of one endpoint
FILTER_CHARS_MAX = 2_000
EXCERPT_BYTES_MAX = 1_024  # kept of what a receiver answered
ATTEMPTS_SHOWN = 20  # of one delivery: the newest
SECRET_OVERLAP_MS = 24 * 3600 * 1000  # both secrets sign for this long after a rotation
FAILING_MS_MAX = 5 * 24 * 3600 * 1000  # an endpoint that only failed for this long is disabled
JOB_ATTEMPTS_MAX = 1_000  # of one delivery's job: over the longest ``retry_after_s``
JOB_TIMEOUT_S = 180.0  # over the longest that settings allow one POST
END_OF_IDS = "evt_~"  # after every event id
RETRIES_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)


class WebhookSettings(msgspec.Struct, frozen=True):
    """``[webhooks]``: how deliveries are sent, and how much of it there may be.

    ``retry_after_s`` are the waits before each attempt, the first included; up to ``retry_jitter``
    of the wait is added to it at random. ``concurrency_per_endpoint`` bounds the deliveries that
    all processes together send to one endpoint at a time: a slow receiver holds no one else up.
    """

    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 15.0
    retry_after_s: Annotated[tuple[float, ...], Meta(min_length=1, max_length=50)] = RETRIES_S
    retry_jitter: Annotated[float, Meta(ge=0, le=1)] = 0.2
    concurrency_per_endpoint: Annotated[int, Meta(ge=1, le=256)] = 32
    endpoints_max: Annotated[int, Meta(ge=1, le=4_000)] = 200
    keep_days: Annotated[int, Meta(ge=1, le=3_650)] = 30

    def __post_init__(self) -> None:
        if any(not 0 <= wait <= 7 * 86_400 for wait in self.retry_after_s):
            raise ValueError("each of retry_after_s must be from 0 to 604800 seconds")


DELIVERIES = Counter(
    "mainspring_webhook_deliveries",
    "Webhook attempts: delivered, refused (another status), or why no answer came.",
    ("outcome",),
)
DELIVERY_SECONDS = Histogram(
    "mainspring_webhook_delivery_duration_seconds",
    "Webhook attempts, from connecting to the answer.",
)

service = Service(
    "webhooks",
    doc="Events, sent to the URLs of those who asked for them, signed and retried.",
    migrations=files("mainspring.services.webhooks") / "migrations",
    settings=WebhookSettings,
    handlers=(
        "mainspring.services.webhooks.consumers",
        "mainspring.services.webhooks.jobs",
        "mainspring.services.webhooks.operations",
    ),
    metrics=(DELIVERIES, DELIVERY_SECONDS),
)

Url = Annotated[str, Meta(min_length=1, max_length=2_048, extra_json_schema={"format": "uri"})]
Pattern = Annotated[
    str,
    Meta(
        max_length=200,
        pattern=r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,2}(\.\*)?)$",
        description="an event type, `prefix.*` or `*`",
    ),
]
Patterns = Annotated[list[Pattern], Meta(min_length=1, max_length=PATTERNS_MAX)]
Filter = Annotated[
    str, Meta(max_length=FILTER_CHARS_MAX, description="CEL over the event: `data.total > 100`")
]
Description = Annotated[str, Meta(max_length=500)]


class NewWebhook(Input, frozen=True):
    """Where to send which events.

    ``personal`` sends fields that are marked personal in the clear, and needs the scope
    ``events:personal``; else they are null.
    """

    url: Url
    types: Patterns = msgspec.field(default_factory=lambda: ["*"])
    filter: Filter | None = None
    description: Description = ""
    personal: bool = False


class WebhookChanges(Input, frozen=True):
    """What to change; the rest stays. Enabling an endpoint forgets its failures.

    Whoever changes more than the description is whom the endpoint acts for from then on.
    """

    url: Url | UnsetType = UNSET
    types: Patterns | UnsetType = UNSET
    filter: Filter | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    personal: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that events are sent to.

    ``acts_for`` is the user or API key that made it, or last chose what it is sent and where: it is
    sent what they may read, asked again for each event. ``failing_since`` is null when the last
    attempt succeeded. ``disabled_reason`` is ``by_caller``, ``gone`` (it answered 410), ``failing``
    (every attempt of five days failed) or ``actor_gone`` (whoever it acts for was revoked or
    deleted, or has expired).
    """

    id: str
    url: str
    types: list[str]
    filter: str | None
    description: str
    personal: bool
    acts_for: str
    enabled: bool
    disabled_reason: str | None
    failing_since: Instant | None
    created_at: Instant
    updated_at: Instant


class WebhookWithSecret(Webhook, frozen=True, kw_only=True):
    """An endpoint and, this once, the secret its deliveries are signed with."""

    secret: str


class RotatedSecret(msgspec.Struct, frozen=True):
    """The new secret, shown once. Until ``old_expires_at`` both sign every delivery."""

    secret: str
    old_expires_at: Instant


class SentTest(msgspec.Struct, frozen=True):
    """The event that was made for the test; its delivery has the same id."""

    event_id: str


class ReplayWindow(Input, frozen=True):
    """Which events to send again: those made from ``since`` until ``until`` (default: now)."""

    since: Instant
    until: Instant | None = None


class ReplayStarted(msgspec.Struct, frozen=True):
    """The job that sends the first part of the events; it enqueues the one for the next."""

    job_id: str


DeliveryState = Literal["delivered", "retrying", "failed"]


class Attempt(msgspec.Struct, frozen=True):
    """One POST to the receiver. ``error`` is set where no answer came.

    ``excerpt`` is the start of the answer, where the address that gave it is public; else what went
    wrong in words.
    """

    at: Instant
    duration_ms: int
    status: int | None = None
    error: str | None = None
    excerpt: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event at one endpoint. ``id`` is the event's, and its ``webhook-id``.

    It exists from the first attempt on and shows the newest attempts last.
    """

    id: str
    webhook_id: str
    type: str
    state: DeliveryState
    attempts: list[Attempt]
    attempts_made: int
    next_attempt_at: Instant | None
    created_at: Instant
    updated_at: Instant


class DeliveryQuery(PageQuery, frozen=True):
    """A page of an endpoint's deliveries in order of their events: ``id``, or newest first."""

    state: DeliveryState | None = None
    sort: Literal["id", "-id"] = "id"


# Events. They name the host and not the URL: many receivers hide a key in its path.


@service.event("webhooks.endpoint.created")
class EndpointCreated(msgspec.Struct, frozen=True):
    """An endpoint was added."""

    id: str
    host: str
    types: list[str]


@service.event("webhooks.endpoint.updated")
class EndpointUpdated(msgspec.Struct, frozen=True):
    """An endpoint was changed by a caller; ``changed`` names the fields."""

    id: str
    host: str
    changed: list[str]


@service.event("webhooks.endpoint.disabled")
class EndpointDisabled(msgspec.Struct, frozen=True):
    """The platform gave an endpoint up: ``gone``, ``failing`` or ``actor_gone``."""

    id: str
    host: str
    reason: str


@service.event("webhooks.endpoint.deleted")
class EndpointDeleted(msgspec.Struct, frozen=True):
    """An endpoint was removed, and what is left of its deliveries is forgotten."""

    id: str
    host: str


@service.event("webhooks.secret.rotated", subject="webhook_id")
class SecretRotated(msgspec.Struct, frozen=True):
    """An endpoint got a new secret."""

    webhook_id: str
    old_expires_at: Instant


@service.event("webhooks.endpoint.tested")
class EndpointTested(msgspec.Struct, frozen=True):
    """Made for a test, and sent to this endpoint alone whatever its types and filter say."""

    id: str
    message: str


class UrlRefused(Invalid):
    """The URL is malformed or leads where webhooks may not go."""

    code, title = "url_refused", "The URL cannot be used for a webhook"


class TooManyEndpoints(Conflict):
    """The tenant has as many endpoints as the settings allow."""

    code, title = "too_many_endpoints", "No more endpoints are allowed"


class EndpointIsDisabled(Conflict):
    """Nothing is sent to a disabled endpoint; enable it first."""

    code, title = "endpoint_disabled", "The endpoint is disabled"


# Jobs


@service.contract.job(
    queue="webhooks",
    max_attempts=JOB_ATTEMPTS_MAX,
    timeout_s=JOB_TIMEOUT_S,
    concurrency=PerKey("endpoint_id", lambda settings: settings.concurrency_per_endpoint),
)
async def deliver(call: Call, endpoint_id: str, event_id: str) -> None:
    """Send an event to an endpoint once, and record the attempt in the commit that ends the job.

    Fails the job for good after the last retry. The order of events is not kept: a delivery that
    waits for its retry lets the others pass.
    """


@service.contract.job(queue="platform")
async def disable(call: Call, endpoint_id: str, reason: str) -> None:
    """Give an endpoint up and say so. Does nothing when it is disabled, gone or works again."""


@service.contract.job(queue="webhooks")
async def replay_page(call: Call, endpoint_id: str, after: str, before: str) -> None:
    """Send the events with ids between two again, a page of the log at a time."""


@service.contract.job(queue="platform")
async def forget_deliveries(call: Call, endpoint_id: str, before: str = END_OF_IDS) -> None:
    """Remove an endpoint's deliveries of events before an id, a page at a time."""


@service.contract.job(queue="platform")
async def forget_old(call: Call, after: str = "") -> None:
    """Once a day: forget the deliveries of every endpoint that are older than settings say."""


service.every("17 3 * * *", forget_old)


# Operations


@service.contract.operation(
    "POST /v1/webhooks",
    scope=WRITE,
    status=201,
    secret=True,
    raises=(UrlRefused, TooManyEndpoints, Invalid, Forbidden),
)
async def create_webhook(call: Call, new: NewWebhook) -> Response[WebhookWithSecret]:
    """Have events sent to a URL, signed with a secret that only this answer shows.

    Every event whose type and filter match and which the caller may read is sent, in no promised
    order and at least once: tell repeats by ``webhook-id``. What the caller may read is asked again
    for each event; once it is revoked the endpoint is disabled.
    """


@service.contract.operation("GET /v1/webhooks", scope=READ)
async def list_webhooks(call: Call, query: PageQuery) -> Page[Webhook]:
    """List endpoints, oldest first."""


@service.contract.operation("GET /v1/webhooks/{id}", scope=READ)
async def get_webhook(call: Call, id: str) -> Response[Webhook]:
    """Show an endpoint. Its secret is not shown again."""


@service.contract.operation(
    "PATCH /v1/webhooks/{id}",
    scope=WRITE,
    raises=(UrlRefused, Invalid, Forbidden),
    impersonated=Impersonated.REFUSED,
)
async def update_webhook(call: Call, id: str, changes: WebhookChanges) -> Response[Webhook | None]:
    """Change an endpoint. Deliveries that wait go to the new URL, or end when it is disabled.

    Whoever changes where it sends what, or enables it, is whom it acts for from then on: nobody has
    sent to them what others may read. The endpoint is answered to those who may read endpoints,
    others hear 204.
    """


@service.contract.operation("DELETE /v1/webhooks/{id}", scope=WRITE)
async def delete_webhook(call: Call, id: str) -> None:
    """Remove an endpoint with its deliveries. What waits is not sent any more."""


@service.contract.operation("POST /v1/webhooks/{id}:rotate_secret", scope=WRITE, secret=True)
async def rotate_secret(call: Call, id: str) -> RotatedSecret:
    """Make a new secret. For 24 h every delivery carries a signature by each of the two."""


@service.contract.operation(
    "POST /v1/webhooks/{id}:test", scope=WRITE, status=202, raises=(EndpointIsDisabled,)
)
async def test_webhook(call: Call, id: str) -> SentTest:
    """Send a ``webhooks.endpoint.tested`` event to this endpoint alone."""


@service.contract.operation(
    "POST /v1/webhooks/{id}:replay",
    scope=WRITE,
    status=202,
    raises=(EndpointIsDisabled, Invalid),
)
async def replay_events(call: Call, id: str, window: ReplayWindow) -> ReplayStarted:
    """Send the events of a time again, delivered or not, as far as types and filter match now.

    They keep their ``webhook-id``. Events that wait for a retry are not sent twice.
    """


@service.contract.operation("GET /v1/webhooks/{webhook_id}/deliveries", scope=READ)
async def list_deliveries(call: Call, webhook_id: str, query: DeliveryQuery) -> Page[Delivery]:
    """List what was sent to an endpoint, each with its attempts."""


@service.contract.operation("GET /v1/webhooks/{webhook_id}/deliveries/{id}", scope=READ)
async def get_delivery(call: Call, webhook_id: str, id: str) -> Delivery:
    """Show what became of one event at an endpoint, with each attempt."""


@service.contract.operation(
    "POST /v1/webhooks/{webhook_id}/deliveries/{id}:retry",
    scope=WRITE,
    status=202,
    raises=(EndpointIsDisabled, Conflict),
)
async def retry_delivery(call: Call, webhook_id: str, id: str) -> Delivery:
    """Send an event again now. A retry that waits is brought forward; else a new one is made."""

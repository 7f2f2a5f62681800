"""Jobs of webhooks: one attempt of a delivery, replays, disabling, forgetting."""

from collections.abc import Collection

import msgspec
import structlog

from mainspring import (
    Call,
    Clock,
    Entropy,
    EventLog,
    JobFailed,
    PersonalFields,
    RetryAfter,
    Telemetry,
    handles,
    rfc3339,
)
from mainspring.kernel.clock import SKEW_MS, is_ahead
from mainspring.kernel.event import without
from mainspring.kernel.event_log import BusEvent
from mainspring.kernel.ids import first_id_at
from mainspring.kernel.sealed_values import SealedValues
from mainspring.kernel.visibility import Visibility, acting_for
from mainspring.ports.http_client import NAME_NOT_RESOLVED, HttpClient, WebAnswer, WebError
from mainspring.services.webhooks import api, model, store
from mainspring.services.webhooks.acting import allowed, withholds
from mainspring.services.webhooks.api import (
    DELIVERIES,
    DELIVERY_SECONDS,
    END_OF_IDS,
    FAILING_MS_MAX,
    Attempt,
    EndpointDisabled,
    WebhookSettings,
)

log = structlog.get_logger()

ACTOR_GONE = "actor_gone"
REPLAY_PAGE = 500  # events of the log one replaying job looks at
FORGET_PAGE = 1_000  # deliveries one forgetting job removes
ENDPOINTS_PAGE = 500
DAY_MS = 24 * 3600 * 1000

api.service.keeps(store.SWEEP_TENANTS, deliveries=store.COUNT_DELIVERIES)
api.service.seals(store.SECRET, store.OLD_SECRET)


@handles(api.deliver)
async def deliver(call: Call, endpoint_id: str, event_id: str) -> None:
    due = await call.find(store.DUE, endpoint_id=endpoint_id, event_id=event_id)
    event = await call.use(EventLog).event(event_id)
    if due is None or event is None or event.tenant != due.tenant:
        return
    acting = await acting_for(call, due.actor) if due.enabled else None
    withheld = None if acting is None else await _withheld(acting, event)
    if acting is None or withheld is None:
        call.write(store.GIVE_UP(endpoint_id=endpoint_id, event_id=event_id, now_ms=call.now_ms))
        if acting is None and due.enabled:
            disable_for_nobody(call, endpoint_id)
        return
    event = _without(event, withheld)
    due = msgspec.structs.replace(due, personal=due.personal and Visibility(acting).personal)
    settings = call.use(WebhookSettings)
    # The job's first attempt begins a series of retries, be it a replay, a retry or a redrive.
    begins = call.attempt == 1
    attempt, answer = await _send_once(call, endpoint_id, due, event)
    ok = attempt.status is not None and 200 <= attempt.status < 300
    outcome = "delivered" if ok else attempt.error or "refused"
    call.use(Telemetry).counter(DELIVERIES).of(outcome).add()
    if ok:
        _record(call, endpoint_id, event, due, attempt, state="delivered")
        if due.failing_since_ms is not None:
            call.write(store.MARK_WORKING(id=endpoint_id))
        return
    _note_failure(call, endpoint_id, due, attempt)
    tries = 1 if begins else (due.tries or 0) + 1
    noise = int.from_bytes(call.use(Entropy).token(4), "big") / 2**32
    wait_s = model.wait_s(settings.retry_after_s, tries, settings.retry_jitter, noise)
    why = f"{attempt.error or attempt.status} at attempt {tries}"
    if wait_s is None or attempt.status == 410:
        _record(call, endpoint_id, event, due, attempt, state="failed", tries=tries)
        raise JobFailed(f"not delivered: {why}")
    if answer is not None:
        asked = answer.headers.get("retry-after")
        wait_s = max(wait_s, model.retry_after_s(asked, call.now_ms / 1000))
    _record(call, endpoint_id, event, due, attempt, state="retrying", tries=tries, wait_s=wait_s)
    raise RetryAfter(wait_s, why)


async def _send_once(
    call: Call, endpoint_id: str, due: store.DueRow, event: BusEvent
) -> tuple[Attempt, WebAnswer | None]:
    """Sign and POST one event."""
    clock, values = call.use(Clock), call.use(SealedValues)
    settings, telemetry = call.use(WebhookSettings), call.use(Telemetry)
    secrets = [await values.open(call, store.SECRET, due.secret, endpoint_id)]
    if due.old_secret is not None and call.now_ms < due.old_secret_until_ms:
        secrets.append(await values.open(call, store.SECRET, due.old_secret, endpoint_id))
    revealed = await call.use(PersonalFields).reveal(event.body, allowed=due.personal)
    body = revealed.encode()
    timestamp_s = clock.now_ms() // 1000
    headers = {
        "Content-Type": "application/cloudevents+json",
        "User-Agent": "Mainspring-Webhooks/1",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": model.signature(secrets, event.id, timestamp_s, body),
    }
    started_s = clock.monotonic_s()
    answer, error = None, None
    try:
        with telemetry.span("webhooks.deliver"):
            answer = await call.use(HttpClient).post(
                due.url, body, headers, timeout_s=settings.timeout_s
            )
    except WebError as failure:
        error = failure
    duration_s = clock.monotonic_s() - started_s
    telemetry.histogram(DELIVERY_SECONDS).of().observe(duration_s)
    at, duration_ms = rfc3339(call.now_ms), round(duration_s * 1000)
    if answer is None:
        assert error is not None  # one of the two
        log.info(
            "webhook_unanswered", event_id=event.id, error=error.code, cause=repr(error.__cause__)
        )
        if error.code == NAME_NOT_RESOLVED:
            duration_ms = 0  # how long the look-up took tells whether a name is there
        return Attempt(at, duration_ms, error=error.code, excerpt=error.detail[:200]), None
    # A receiver may repeat what it was sent; personal fields are kept nowhere that erasure misses.
    kept = answer.public and not (due.personal and revealed != event.body)
    excerpt = model.excerpt(answer.body) if kept else ""
    return Attempt(at, duration_ms, answer.status, excerpt=excerpt), answer


def _note_failure(call: Call, endpoint_id: str, due: store.DueRow, attempt: Attempt) -> None:
    """Remember since when an endpoint fails; have it disabled when it is gone or has for long."""
    reason = None
    if attempt.status == 410:
        reason = "gone"
    elif due.failing_since_ms is None or is_ahead(due.failing_since_ms, call.now_ms):
        late_ms = call.now_ms + SKEW_MS
        call.write(store.MARK_FAILING(id=endpoint_id, now_ms=call.now_ms, late_ms=late_ms))
    elif call.now_ms - due.failing_since_ms >= FAILING_MS_MAX:
        reason = "failing"
    if reason is not None:
        # A job of its own: it is guarded and may run again, which a POST must not because of it.
        _enqueue_disable(call, endpoint_id, reason)


def disable_for_nobody(call: Call, endpoint_id: str) -> None:
    """Stage the end of an endpoint that acts for nobody any more."""
    _enqueue_disable(call, endpoint_id, ACTOR_GONE)


def _enqueue_disable(call: Call, endpoint_id: str, reason: str) -> None:
    once = api.disable.configure(unique_key=f"disable {endpoint_id}")
    call.enqueue(once, endpoint_id=endpoint_id, reason=reason)


async def _withheld(acting: Call, event: BusEvent) -> Collection[str] | None:
    """What of an event whoever an endpoint acts for is not shown; None: all, but of its tests."""
    if event.type == model.TESTED_TYPE:
        return ()
    return await Visibility(acting).withheld(event.envelope)


def _without(event: BusEvent, members: Collection[str]) -> BusEvent:
    """An event without some members of its data."""
    if not members:
        return event
    return BusEvent(
        event.offset, event.id, event.tenant, event.type, event.subject,
        without(event.body, members),
    )  # fmt: skip


def _record(
    call: Call,
    endpoint_id: str,
    event: BusEvent,
    due: store.DueRow,
    attempt: Attempt,
    *,
    state: str,
    tries: int = 0,
    wait_s: float | None = None,
) -> None:
    """Stage the delivery's row: new with its first attempt, changed by the later ones."""
    row = store.DeliveryRow(
        endpoint_id=endpoint_id,
        event_id=event.id,
        type=event.type,
        state=state,
        attempts=model.add_attempt(due.attempts, attempt),
        attempts_made=(due.attempts_made or 0) + 1,
        tries=tries,
        next_ms=None if wait_s is None else call.now_ms + int(wait_s * 1000),
        created_ms=call.now_ms if due.created_ms is None else due.created_ms,
        updated_ms=call.now_ms,
    )
    if due.created_ms is None:
        # Two jobs for one delivery cannot run at once (they share a unique key): a row that is
        # there all the same is kept, rather than the event sent once more.
        call.write(store.DELIVERIES.insert(row, on_conflict=None))
    else:
        call.write(
            store.DELIVERIES.update(
                row,
                state=row.state,
                attempts=row.attempts,
                attempts_made=row.attempts_made,
                tries=row.tries,
                next_ms=row.next_ms,
                updated_ms=row.updated_ms,
            )
        )


def enqueue_delivery(
    call: Call, endpoint_id: str, event_id: str, *, run_at_ms: int | None = None
) -> None:
    """Stage the delivery of an event to an endpoint, unless one waits or runs already."""
    unique_key = delivery_key(endpoint_id, event_id)
    once = api.deliver.configure(unique_key=unique_key, run_at_ms=run_at_ms)
    call.enqueue(once, endpoint_id=endpoint_id, event_id=event_id)


def delivery_key(endpoint_id: str, event_id: str) -> str:
    """The unique key of a delivery's job: its effect is there once per endpoint and event."""
    return f"{endpoint_id} {event_id}"


@handles(api.disable)
async def disable(call: Call, endpoint_id: str, reason: str) -> None:
    row = await call.find(store.ENDPOINT, id=endpoint_id, tenant=call.tenant)
    if row is None or not row.enabled or (reason == "failing" and row.failing_since_ms is None):
        return
    if reason == ACTOR_GONE and await acting_for(call, row.actor) is not None:
        return  # somebody else has taken it over meanwhile
    call.write(
        store.ENDPOINTS.update(row, enabled=False, disabled_reason=reason, updated_ms=call.now_ms),
        store.REVISE(tenant=call.tenant, revision=call.new_id("rev")),
    )
    call.emit(EndpointDisabled(row.id, model.host_of(row.url), reason))
    log.warning("webhook_disabled", webhook=row.id, reason=reason)


@handles(api.replay_page)
async def replay_page(call: Call, endpoint_id: str, after: str, before: str) -> None:
    row = await call.find(store.ENDPOINT, id=endpoint_id, tenant=call.tenant)
    if row is None or not row.enabled:
        return
    page = await call.use(EventLog).events_made(after, before, REPLAY_PAGE)
    routes = model.Routes([model.RouteRow(row.id, row.types, row.filter, row.actor, 0)])
    for event in page.items:
        if event.tenant != call.tenant or event.type == model.TESTED_TYPE:
            continue
        told = event.envelope
        wanting = routes.wanting(told, withholds(call, told))
        wanted, gone = await allowed(call, wanting, told)
        if gone:
            disable_for_nobody(call, row.id)
            return
        for endpoint in wanted:
            enqueue_delivery(call, endpoint, event.id)
    if page.more:
        call.enqueue(api.replay_page, endpoint_id=row.id, after=page.items[-1].id, before=before)


@handles(api.forget_deliveries)
async def forget_deliveries(call: Call, endpoint_id: str, before: str = END_OF_IDS) -> None:
    found = await call.one(
        store.FORGETTABLE, endpoint_id=endpoint_id, before=before, limit=FORGET_PAGE + 1
    )
    if found:
        call.write(
            store.FORGET_DELIVERIES(endpoint_id=endpoint_id, before=before, limit=FORGET_PAGE)
        )
    if found > FORGET_PAGE:
        call.enqueue(api.forget_deliveries, endpoint_id=endpoint_id, before=before)


@handles(api.forget_old)
async def forget_old(call: Call, after: str = "") -> None:
    kept_ms = call.use(WebhookSettings).keep_days * DAY_MS
    before = first_id_at("evt", call.now_ms - kept_ms)
    page = await call.all(store.ALL_ENDPOINTS_AFTER, after=after, limit=ENDPOINTS_PAGE)
    for endpoint in page:
        call.enqueue(api.forget_deliveries, endpoint_id=endpoint.id, before=before)
    if len(page) == ENDPOINTS_PAGE:
        call.enqueue(api.forget_old, after=page[-1].id)

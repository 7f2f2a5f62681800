"""What callers do with webhooks."""

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import (
    Call,
    Command,
    Entropy,
    Forbidden,
    Invalid,
    JobAdmin,
    Page,
    PageQuery,
    Registry,
    Response,
    check_all,
    epoch_ms,
    handles,
    read_at,
    rfc3339,
)
from mainspring.kernel.event_log import require_known
from mainspring.kernel.ids import first_id_at
from mainspring.kernel.sealed_values import SealedValues
from mainspring.kernel.visibility import PERSONAL_SCOPE
from mainspring.ports.http_client import HttpClient, WebError
from mainspring.services.webhooks import api, jobs, model, store
from mainspring.services.webhooks.presenter import (
    present_delivery,
    present_webhook,
    webhook_tag,
)
from mainspring.services.webhooks.store import ENDPOINTS, EndpointRow

_ACTING = frozenset({"url", "types", "filter", "personal"})  # whose change says for whom it acts


@handles(api.create_webhook)
async def create_webhook(call: Call, new: api.NewWebhook) -> Response[api.WebhookWithSecret]:
    _require_possible(call, new)
    url = _checked_url(call, new.url)
    _check_personal(call, new.personal)
    secret = call.use(Entropy).token(model.SECRET_BYTES)
    webhook_id = call.new_id("whk")
    row = EndpointRow(
        id=webhook_id,
        tenant=call.tenant,
        url=url,
        types=_json(new.types),
        filter=new.filter,
        description=new.description,
        personal=new.personal,
        enabled=True,
        disabled_reason=None,
        failing_since_ms=None,
        secret=await _sealed(call, webhook_id, secret),
        old_secret=None,
        old_secret_until_ms=0,
        created_event=call.emit(api.EndpointCreated(webhook_id, model.host_of(url), new.types)),
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
        actor=call.caller.actor,
    )
    allowed = call.use(api.WebhookSettings).endpoints_max
    refusal = api.TooManyEndpoints(
        f"there are {allowed}, and [webhooks] allows no more: delete one first"
    )
    count_in = store.COUNT_IN(
        tenant=call.tenant, revision=call.new_id("rev"), endpoints_max=allowed
    )
    call.write(count_in.expect(1, refusal), ENDPOINTS.insert(row))
    shown = msgspec.structs.asdict(present_webhook(row))
    return Response(
        api.WebhookWithSecret(**shown, secret=model.secret_text(secret)), etag=webhook_tag(row)
    )


@handles(api.list_webhooks)
async def list_webhooks(call: Call, query: PageQuery) -> Page[api.Webhook]:
    rows = await call.page(
        store.ENDPOINTS_AFTER, tenant=call.tenant, after=query.after_id("whk"), limit=query.limit
    )
    return Page.of(rows, present_webhook, lambda row: row.id)


@handles(api.get_webhook)
async def get_webhook(call: Call, id: str) -> Response[api.Webhook]:
    row = await _endpoint(call, id)
    return Response(present_webhook(row), etag=webhook_tag(row))


@handles(api.update_webhook)
async def update_webhook(
    call: Call, id: str, changes: api.WebhookChanges
) -> Response[api.Webhook | None]:
    row = await _endpoint(call, id)
    call.require_match(webhook_tag(row))
    _require_possible(call, changes)
    sent = msgspec.structs.asdict(changes)
    new = {name: value for name, value in sent.items() if value is not UNSET}
    if changes.url is not UNSET:
        new["url"] = _checked_url(call, changes.url)
    if changes.types is not UNSET:
        new["types"] = _json(changes.types)
    new = {name: value for name, value in new.items() if getattr(row, name) != value}
    changed = sorted(new)
    if "url" in new or "personal" in new:
        _check_personal(call, bool(new.get("personal", row.personal)))
    if "enabled" in new:
        new["disabled_reason"] = None if new["enabled"] else "by_caller"
        new["failing_since_ms"] = None if new["enabled"] else row.failing_since_ms
    if new.keys() & _ACTING or new.get("enabled"):
        new["actor"] = call.caller.actor
    if not new:
        return _answer_to(call, row)
    new["updated_ms"] = call.now_ms
    after = msgspec.structs.replace(row, **new, version=row.version + 1)
    call.write(ENDPOINTS.update(row, **new), _revise(call))
    call.emit(api.EndpointUpdated(row.id, model.host_of(after.url), changed))
    return _answer_to(call, after)


@handles(api.delete_webhook)
async def delete_webhook(call: Call, id: str) -> None:
    row = await _endpoint(call, id)
    call.require_match(webhook_tag(row))
    call.write(
        ENDPOINTS.delete(row),
        store.COUNT_OUT(tenant=call.tenant, revision=call.new_id("rev")),
    )
    call.emit(api.EndpointDeleted(row.id, model.host_of(row.url)))
    # What is being sent just now still writes its row.
    after_ms = call.now_ms + int(api.JOB_TIMEOUT_S * 1000)
    call.enqueue(api.forget_deliveries.configure(run_at_ms=after_ms), endpoint_id=row.id)


@handles(api.rotate_secret)
async def rotate_secret(call: Call, id: str) -> api.RotatedSecret:
    row = await _endpoint(call, id)
    call.require_match(webhook_tag(row))
    secret = call.use(Entropy).token(model.SECRET_BYTES)
    until_ms = call.now_ms + api.SECRET_OVERLAP_MS
    call.write(
        ENDPOINTS.update(
            row,
            secret=await _sealed(call, row.id, secret),
            old_secret=row.secret,
            old_secret_until_ms=until_ms,
            updated_ms=call.now_ms,
        )
    )
    call.emit(api.SecretRotated(row.id, rfc3339(until_ms)))
    return api.RotatedSecret(model.secret_text(secret), rfc3339(until_ms))


async def _sealed(call: Call, webhook_id: str, secret: bytes) -> bytes:
    return await call.use(SealedValues).seal(call, store.SECRET, secret, webhook_id)


@handles(api.test_webhook)
async def test_webhook(call: Call, id: str) -> api.SentTest:
    row = await _enabled(call, id)
    return api.SentTest(call.emit(api.EndpointTested(row.id, "This is a test of your webhook.")))


@handles(api.replay_events)
async def replay_events(call: Call, id: str, window: api.ReplayWindow) -> api.ReplayStarted:
    row = await _enabled(call, id)
    since_ms = read_at("/since", epoch_ms, window.since)
    until_ms = call.now_ms if window.until is None else read_at("/until", epoch_ms, window.until)
    if since_ms > until_ms:
        raise Invalid.at("/until", "is before since")
    job_id = call.enqueue(
        api.replay_page,
        endpoint_id=row.id,
        after=first_id_at("evt", since_ms),
        before=first_id_at("evt", min(until_ms, call.now_ms) + 1),
    )
    return api.ReplayStarted(job_id)


@handles(api.list_deliveries)
async def list_deliveries(
    call: Call, webhook_id: str, query: api.DeliveryQuery
) -> Page[api.Delivery]:
    await _endpoint(call, webhook_id)
    newest_first = query.sort == "-id"
    rows = await call.page(
        store.DELIVERY_PAGES[newest_first, query.state],
        endpoint_id=webhook_id,
        after=query.after_id("evt", api.END_OF_IDS if newest_first else ""),
        limit=query.limit,
    )
    return Page.of(rows, partial(present_delivery, call), lambda row: row.event_id)


@handles(api.get_delivery)
async def get_delivery(call: Call, webhook_id: str, id: str) -> api.Delivery:
    await _endpoint(call, webhook_id)
    row = await call.one(store.DELIVERY, endpoint_id=webhook_id, event_id=id)
    return present_delivery(call, row)


@handles(api.retry_delivery)
async def retry_delivery(call: Call, webhook_id: str, id: str) -> api.Delivery:
    endpoint = await _enabled(call, webhook_id)
    row = await call.one(store.DELIVERY, endpoint_id=webhook_id, event_id=id)
    key = jobs.delivery_key(endpoint.id, id)
    call.use(JobAdmin).bring_forward(call, api.deliver.name, key)
    jobs.enqueue_delivery(call, endpoint.id, id)
    return present_delivery(call, row)


def _answer_to(call: Call, row: EndpointRow) -> Response[api.Webhook | None]:
    readable = call.caller.allows(api.READ)
    return Response.shown_if(readable, present_webhook(row), etag=webhook_tag(row))


async def _endpoint(call: Call, webhook_id: str) -> EndpointRow:
    return await call.one(store.ENDPOINT, id=webhook_id, tenant=call.tenant)


async def _enabled(call: Call, webhook_id: str) -> EndpointRow:
    row = await _endpoint(call, webhook_id)
    if not row.enabled:
        raise api.EndpointIsDisabled("nothing is sent to it: enable it first")
    return row


def _revise(call: Call) -> Command:
    return store.REVISE(tenant=call.tenant, revision=call.new_id("rev"))


def _require_possible(call: Call, asked: api.NewWebhook | api.WebhookChanges) -> None:
    """Raise Invalid, or UrlRefused, for all that an endpoint cannot have."""
    url = asked.url
    check_all(
        "the webhook is not valid",
        lambda: url is UNSET or _checked_url(call, url),
        partial(_check_types, call, asked.types),
        partial(_check_filter, asked.filter),
    )


def _checked_url(call: Call, url: str) -> str:
    try:
        return call.use(HttpClient).check(url)
    except WebError as error:
        raise api.UrlRefused.at("/url", error.detail) from None


def _check_types(call: Call, types: Sequence[str] | UnsetType) -> None:
    if types is not UNSET:
        require_known(types, call.use(Registry).events, "/types/{at}")


def _check_filter(source: str | UnsetType | None) -> None:
    if source is not None and source is not UNSET:
        model.compile_filter(source)


def _check_personal(call: Call, personal: bool) -> None:
    """Nobody has personal fields sent anywhere who may not read them."""
    if personal and not call.caller.allows(PERSONAL_SCOPE):
        raise Forbidden(f"receiving personal fields needs the scope {PERSONAL_SCOPE}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

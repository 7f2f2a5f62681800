"""What callers can do with endpoints, and what they are refused."""

import json
from typing import Any

import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Failure, Forbidden, Invalid, NotFound, PreconditionFailed
from mainspring.kernel.page import PageQuery
from mainspring.kernel.table import Query
from mainspring.services.webhooks.api import (
    DeliveryQuery,
    NewWebhook,
    ReplayWindow,
    TooManyEndpoints,
    UrlRefused,
    WebhookChanges,
)
from tests.services.webhooks.receiver import Shop

URL = "https://hooks.example/in?key=topsecret"
TENANTS = Query("test.tenants", "SELECT tenant FROM webhooks_tenants", str)
STORED = Query("test.secrets", "SELECT secret FROM webhooks_endpoints", bytes)


async def make(platform: Shop, **fields: object) -> dict[str, object]:
    new = NewWebhook(**{"url": URL, **fields})  # type: ignore[arg-type]
    made: dict[str, object] = await platform.value("create_webhook", new=new)
    return made


async def events(platform: Shop) -> list[str]:
    seen = await platform.whole.events("webhooks.*")
    return [f"{event.type} {bytes(event.data).decode()}" for event in seen]


async def refusal(platform: Shop, name: str, /, **args: object) -> Failure:
    with pytest.raises(Failure) as caught:
        await platform.run(name, **args)  # type: ignore[arg-type]
    return caught.value


async def test_creating_shows_the_secret_once(at_rest: Shop) -> None:
    made = await make(at_rest, types=["shop.*"], description="orders")
    secret = str(made["secret"])
    assert secret.startswith("whsec_")
    assert len(secret) == len("whsec_") + 44
    assert str(made["id"]).startswith("whk_")
    shown = await at_rest.value("get_webhook", id=made["id"])
    del made["secret"]
    assert shown == made
    (stored,) = await at_rest.runtime.database.read(STORED, ())
    assert secret.removeprefix("whsec_").encode() not in stored
    assert at_rest.runtime.registry.operations["webhooks.create_webhook"].secret


async def test_events_name_neither_secret_nor_path(at_rest: Shop) -> None:
    made = await make(at_rest)
    rotated = await at_rest.value("rotate_secret", id=made["id"])
    await at_rest.run("update_webhook", id=made["id"], changes=WebhookChanges(description="x"))
    await at_rest.run("delete_webhook", id=made["id"])
    log = await events(at_rest)
    assert [line.split(" ")[0] for line in log] == [
        "webhooks.endpoint.created",
        "webhooks.secret.rotated",
        "webhooks.endpoint.updated",
        "webhooks.endpoint.deleted",
    ]
    text = "".join(log)
    for secret in (made["secret"], rotated["secret"], "topsecret"):
        assert str(secret) not in text


async def test_defaults(at_rest: Shop) -> None:
    made = await make(at_rest)
    assert made["types"] == ["*"]
    assert made["filter"] is None
    assert made["enabled"] is True
    assert made["failing_since"] is None


class TestRefusals:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"webhooks.endpoints_max": 2}

    @pytest.fixture
    def private(self) -> bool:
        return False

    @pytest.mark.parametrize(
        "url",
        ["ftp://a.example/", "https://u:p@a.example/", "http://127.0.0.1/", "http://[::1]/",
         "http://169.254.169.254/latest/meta-data", "not a url"],
    )  # fmt: skip
    async def test_urls(self, at_rest: Shop, url: str) -> None:
        failure = await refusal(at_rest, "create_webhook", new=NewWebhook(url=url))
        assert isinstance(failure, UrlRefused)
        assert failure.status == 422
        assert [error.pointer for error in failure.errors] == ["/url"]
        assert await events(at_rest) == []

    async def test_all_that_cannot_be_is_told_at_once(self, at_rest: Shop) -> None:
        new = NewWebhook(url="ftp://a.example/", types=["shop.no.such"], filter="data.x >")
        failure = await refusal(at_rest, "create_webhook", new=new)
        assert isinstance(failure, Invalid)
        assert [error.pointer for error in failure.errors] == ["/url", "/types/0", "/filter"]

    async def test_filters(self, at_rest: Shop) -> None:
        failure = await refusal(
            at_rest, "create_webhook", new=NewWebhook(url=URL, filter="data.x >")
        )
        assert isinstance(failure, Invalid)
        assert [error.pointer for error in failure.errors] == ["/filter"]
        unknown = await refusal(
            at_rest, "create_webhook", new=NewWebhook(url=URL, filter="nothing == 1")
        )
        assert isinstance(unknown, Invalid)

    async def test_types_that_there_are_not(self, at_rest: Shop) -> None:
        made = await make(at_rest)
        wrong = ["shop.*", "shop.order.payed", "ordres.*"]
        for name, args in (
            ("create_webhook", {"new": NewWebhook(url=URL, types=wrong)}),
            ("update_webhook", {"id": made["id"], "changes": WebhookChanges(types=wrong)}),
        ):
            failure = await refusal(at_rest, name, **args)  # type: ignore[arg-type]
            assert (failure.status, failure.code) == (422, "invalid")
            assert [error.pointer for error in failure.errors] == ["/types/1", "/types/2"]
            assert "do you mean shop.order.paid" in failure.errors[0].detail

    async def test_too_many(self, at_rest: Shop) -> None:
        first = await make(at_rest)
        await make(at_rest)
        refused = await refusal(at_rest, "create_webhook", new=NewWebhook(url=URL))
        assert isinstance(refused, TooManyEndpoints)
        assert refused.detail == "there are 2, and [webhooks] allows no more: delete one first"
        await at_rest.run("delete_webhook", id=first["id"])
        await make(at_rest)

    async def test_other_tenants_see_nothing(self, at_rest: Shop) -> None:
        made = await make(at_rest)
        other = Caller("key", "key_1", tenant="other", scopes=frozenset({"*"}))
        for name, args in (
            ("get_webhook", {"id": made["id"]}),
            ("update_webhook", {"id": made["id"], "changes": WebhookChanges(enabled=False)}),
            ("delete_webhook", {"id": made["id"]}),
            ("rotate_secret", {"id": made["id"]}),
            ("test_webhook", {"id": made["id"]}),
            (
                "replay_events",
                {"id": made["id"], "window": ReplayWindow(since="2026-01-01T00:00:00Z")},
            ),
            ("list_deliveries", {"webhook_id": made["id"], "query": DeliveryQuery()}),
        ):
            with pytest.raises(NotFound):
                await at_rest.run(name, caller=other, **args)  # type: ignore[arg-type]
        page = await at_rest.value("list_webhooks", caller=other, query=PageQuery())
        assert page["items"] == []

    @pytest.mark.parametrize(
        ("since", "until", "pointer"),
        [
            ("yesterday", None, "/since"),
            ("2026-01-01T00:00:00Z", "soon", "/until"),
            ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "/until"),
        ],
    )
    async def test_windows(
        self, at_rest: Shop, since: str, until: str | None, pointer: str
    ) -> None:
        made = await make(at_rest)
        window = ReplayWindow(since=since, until=until)
        failure = await refusal(at_rest, "replay_events", id=made["id"], window=window)
        assert [error.pointer for error in failure.errors] == [pointer]


async def test_updates_are_guarded_by_their_tag(at_rest: Shop) -> None:
    made = await make(at_rest)
    first = await at_rest.run("get_webhook", id=made["id"])
    changed = await at_rest.run(
        "update_webhook",
        id=made["id"],
        changes=WebhookChanges(
            url="https://Other.example", types=["shop.order.*"], filter="seq > 1"
        ),
        if_match=first.etag,
    )
    assert changed.etag != first.etag
    shown = json.loads(changed.body)
    assert shown["url"] == "https://other.example/"
    assert (shown["types"], shown["filter"]) == (["shop.order.*"], "seq > 1")
    again = await at_rest.run("get_webhook", id=made["id"])
    assert (again.etag, again.body) == (changed.etag, changed.body)
    with pytest.raises(PreconditionFailed):
        await at_rest.run("delete_webhook", id=made["id"], if_match=first.etag)
    cleared = await at_rest.value(
        "update_webhook", id=made["id"], changes=WebhookChanges(filter=None)
    )
    assert cleared["filter"] is None


async def test_personal_fields_go_where_their_reader_says(at_rest: Shop) -> None:
    plain = Caller("key", "key_1", scopes=frozenset({"webhooks:write"}))
    reader = Caller("key", "key_2", scopes=frozenset({"webhooks:write", "events:personal"}))
    new = NewWebhook(url=URL, personal=True)
    with pytest.raises(Forbidden):
        await at_rest.run("create_webhook", caller=plain, new=new)
    made = await at_rest.value("create_webhook", caller=reader, new=new)
    types = WebhookChanges(types=["shop.order.*"])
    await at_rest.run("update_webhook", caller=plain, id=made["id"], changes=types)
    elsewhere = WebhookChanges(url="https://else.example")
    with pytest.raises(Forbidden):
        await at_rest.run("update_webhook", caller=plain, id=made["id"], changes=elsewhere)
    off = WebhookChanges(url="https://else.example", personal=False)
    outcome = await at_rest.run("update_webhook", caller=plain, id=made["id"], changes=off)
    assert (outcome.status, outcome.body, outcome.etag) == (204, b"", None)  # it may not read
    changed = await at_rest.value("get_webhook", id=made["id"])
    assert changed["personal"] is False
    with pytest.raises(Forbidden):
        await at_rest.run(
            "update_webhook", caller=plain, id=made["id"], changes=WebhookChanges(personal=True)
        )


async def test_a_change_that_changes_nothing_is_no_event(at_rest: Shop) -> None:
    made = await make(at_rest, types=["shop.*"])
    before = await at_rest.run("get_webhook", id=made["id"])
    same = await at_rest.run(
        "update_webhook", id=made["id"], changes=WebhookChanges(types=["shop.*"], enabled=True)
    )
    assert same.etag == before.etag
    assert len(await events(at_rest)) == 1


async def test_disabling_and_enabling(at_rest: Shop) -> None:
    made = await make(at_rest)
    off = await at_rest.value(
        "update_webhook", id=made["id"], changes=WebhookChanges(enabled=False)
    )
    assert (off["enabled"], off["disabled_reason"]) == (False, "by_caller")
    failure = await refusal(at_rest, "test_webhook", id=made["id"])
    assert (failure.status, failure.code) == (409, "endpoint_disabled")
    assert failure.detail == "nothing is sent to it: enable it first"
    on = await at_rest.value("update_webhook", id=made["id"], changes=WebhookChanges(enabled=True))
    assert (on["enabled"], on["disabled_reason"]) == (True, None)


async def test_pages(at_rest: Shop) -> None:
    made = [(await make(at_rest))["id"] for _ in range(5)]
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await at_rest.value("list_webhooks", query=PageQuery(limit=2, cursor=cursor))
        found += [item["id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert found == made
    assert pages == 3


async def test_of_a_tenant_without_endpoints_nothing_is_left(at_rest: Shop) -> None:
    """And the next endpoint it makes is counted, and sent to, as the first was."""
    for _ in range(2):
        made = await make(at_rest)
        assert await at_rest.runtime.scheduler.sweep() == 0
        assert await at_rest.runtime.database.read(TENANTS, ()) == ["main"]
        await at_rest.run("delete_webhook", id=made["id"])
        await at_rest.runtime.scheduler.sweep()
        assert await at_rest.runtime.database.read(TENANTS, ()) == []

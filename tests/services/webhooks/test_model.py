import base64
import random
import time

import msgspec
import pytest
from standardwebhooks import Webhook as Verifier

from mainspring.kernel.event import Envelope
from mainspring.services.webhooks import model
from mainspring.services.webhooks.api import ATTEMPTS_SHOWN, RETRIES_S, Attempt, NewWebhook
from mainspring.services.webhooks.model import RouteRow


def event(type_: str, data: object, subject: str = "x_1") -> Envelope:
    return Envelope(
        specversion="1.0", id="evt_1", source="/shop", type=type_, subject=subject,
        time="2026-01-01T00:00:00.000Z", datacontenttype="application/json", dataschema="/s",
        tenant="main", actor="system", correlationid="req_1", seq=7,
        data=msgspec.Raw(msgspec.json.encode(data)),
    )  # fmt: skip


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks specification's own library."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    payload = b'{"test": 2432232314}'
    signed = model.signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, payload)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_judge_accepts_any_of_several_signatures(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(50):
        old, new = source.randbytes(32), source.randbytes(32)
        body = source.randbytes(source.randrange(2000)).hex().encode()
        now_s = int(time.time())
        headers = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(now_s),
            "webhook-signature": model.signature([new, old], "evt_1", now_s, body),
        }
        for secret in (old, new):
            Verifier(model.secret_text(secret)).verify(body, headers, json_parse=False)


def wanting(routes: model.Routes, happened: Envelope) -> list[str]:
    return [route.endpoint_id for route in routes.wanting(happened)]


@pytest.mark.parametrize(
    ("patterns", "takes", "leaves"),
    [
        (["*"], ["a.b.c", "shop.order.paid"], []),
        (["shop.*"], ["shop.order.paid"], ["shopping.list.made"]),
        (["shop.order.*"], ["shop.order.paid"], ["shop.orders.paid", "shop.order"]),
        (["shop.order.paid"], ["shop.order.paid"], ["shop.order.paid2", "shop.order"]),
        (["a.*", "shop.order.paid"], ["shop.order.paid", "a.b.c"], ["b.c.d"]),
    ],
)
def test_patterns(patterns: list[str], takes: list[str], leaves: list[str]) -> None:
    routes = model.Routes(
        [RouteRow("whk_1", msgspec.json.encode(patterns).decode(), None, "system", 0)]
    )
    for name in takes:
        assert wanting(routes, event(name, {})) == ["whk_1"]
        assert wanting(routes, event(name, {})) == ["whk_1"]
    for name in leaves:
        assert wanting(routes, event(name, {})) == []


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("data.total > 100", True),
        ("data.total > 101", False),
        ("data.buyer.country == 'NO'", True),
        ("data.absent == null", True),
        ("type == 'shop.order.paid' && seq == 7", True),
        ("subject.startsWith('order_')", False),
        ("time >= timestamp('2026-01-01T00:00:00Z')", True),
    ],
)
def test_filters(source: str, wanted: bool) -> None:
    routes = model.Routes([RouteRow("whk_1", '["*"]', source, "system", 6)])
    found = wanting(routes, event("shop.order.paid", {"total": 101, "buyer": {"country": "NO"}}))
    assert found == (["whk_1"] if wanted else [])


def test_a_filter_that_no_longer_compiles_stops_only_its_own_endpoint() -> None:
    rows = [
        RouteRow("a", '["*"]', "gone == 1", "system", 0),
        RouteRow("b", '["*"]', None, "system", 0),
    ]
    routes = model.Routes(rows)
    assert wanting(routes, event("shop.order.paid", {})) == ["b"]


def test_an_endpoint_wants_what_came_after_its_creation() -> None:
    rows = [RouteRow(str(seq), '["*"]', None, "system", seq) for seq in (5, 6, 7, 8)]
    rows.append(RouteRow("unplaced", '["*"]', None, "system", None))
    routes = model.Routes(rows)
    assert wanting(routes, event("shop.order.paid", {})) == ["5", "6"]
    assert not routes.settled
    assert model.Routes(rows[:4]).settled


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0), ("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("99999999999999999999", 86_400.0),
        ("-5", 0.0), ("1.5", 0.0), ("soon", 0.0), ("", 0.0), ("²", 0.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0), ("Thu, 01 Jan 2025 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_400.0), ("Thu, 99 Jan 2026 00:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float) -> None:
    assert model.retry_after_s(header, 1_767_225_600.0) == seconds


def test_waits_follow_the_schedule_and_end() -> None:
    waits = [model.wait_s(RETRIES_S, tries, 0.0, 0.9) for tries in range(1, 11)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]
    assert model.wait_s(RETRIES_S, 1, 0.2, 0.5) == pytest.approx(5.5)


def test_only_the_newest_attempts_are_kept() -> None:
    text: str | None = None
    for n in range(ATTEMPTS_SHOWN + 5):
        text = model.add_attempt(text, Attempt("t", n))
    kept = msgspec.json.decode(text or "", type=list[Attempt])
    assert [a.duration_ms for a in kept] == list(range(5, ATTEMPTS_SHOWN + 5))


def test_excerpts_are_text_that_every_engine_stores() -> None:
    assert model.excerpt(b"\x00\xff" + b"a" * 5000) == "\ufffd\ufffd" + "a" * 1022


@pytest.mark.parametrize(
    "types", [[], ["Shop.*"], ["shop.*.paid"], ["**"], [""], ["a b"], ["a..b"], ["*"] * 51]
)
def test_patterns_that_make_no_sense_are_refused(types: list[str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "https://a.example", "types": types}, NewWebhook)

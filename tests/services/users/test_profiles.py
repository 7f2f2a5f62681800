"""What people tell of themselves in fields of the installation's own: validated, sealed, erased."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.table import Query
from mainspring.services.users.api.profiles import ProfileField
from mainspring.services.users.api.settings import UsersSettings

ME = "/v1/users/me"
FIELDS: dict[str, dict[str, Any]] = {
    "city": {"type": "text", "max": 20}, "age": {"type": "integer", "min": 0, "max": 150},
    "size": {"type": "number"}, "news": {"type": "boolean"}, "site": {"type": "url"},
    "plan": {"type": "select", "values": ["free", "paid"], "by": "admin"}, "more": {"type": "json"},
}  # fmt: skip
SETTINGS = {
    f"users.profile.{name}.{part}": value
    for name, field in FIELDS.items()
    for part, value in field.items()
}
BODIES = Query("test.bodies", "SELECT body FROM events", str)


@pytest.fixture
async def whole(platform_server: str | None) -> AsyncIterator[testing.Platform]:
    async with testing.Platform(database=platform_server, settings=SETTINGS) as whole:
        yield whole


async def test_a_profile_is_kept_changed_and_erased(whole: testing.Platform) -> None:
    ann = await whole.as_user("ann@example.com")
    assert (await ann.get(ME)).expect(200)["profile"] == {}
    told = {
        "city": "Uppsala", "age": 42, "size": 1.5, "news": False, "site": "https://a.example",
        "more": {"pets": ["cat"]},
    }  # fmt: skip
    changed = await ann.patch(ME, {"profile": told})
    assert changed.expect(200)["profile"] == told == (await ann.get(ME)).json["profile"]
    assert changed.etag == (await ann.get(ME)).etag
    # A merge patch: what is sent changes, null takes it out, and the name stays as it is.
    now = (await ann.patch(ME, {"profile": {"age": 43, "size": None}})).expect(200)
    assert now["profile"] == {**{n: v for n, v in told.items() if n != "size"}, "age": 43}
    assert (await ann.patch(ME, {"display_name": "Ann"})).json["profile"] == now["profile"]
    listed = (await whole.admin.get("/v1/users?email=ann@example.com")).expect(200)["items"]
    assert listed[0]["profile"] == now["profile"]
    events = (await whole.admin.get("/v1/events?type=users.user.updated")).expect(200)["items"]
    assert events[0]["data"]["profile"] == told
    assert not any("Uppsala" in body for body in await whole.rows(BODIES))
    (await whole.admin.delete(f"/v1/users/{ann.id}?erase=true")).expect(204)
    events = (await whole.admin.get("/v1/events?type=users.user.updated")).expect(200)["items"]
    assert {e["data"]["profile"] for e in events} == {None}
    await whole.drain()  # every consumer reads an event of who is gone


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"nothing": 1}, "/profile/nothing"), ({"city": "x" * 21}, "/profile/city"),
    ({"city": 1}, "/profile/city"), ({"age": 151}, "/profile/age"), ({"age": 1.5}, "/profile/age"),
    ({"age": True}, "/profile/age"), ({"news": "yes"}, "/profile/news"),
    ({"site": "javascript:alert(1)"}, "/profile/site"), ({"site": "https://a b"}, "/profile/site"),
    ({"more": "x" * 5_000}, "/profile/more"), ({"plan": "gold"}, "/profile/plan"),
)  # fmt: skip


async def test_what_does_not_fit_is_refused_and_nothing_changes(whole: testing.Platform) -> None:
    ann = await whole.as_user("ann@example.com")
    (await ann.patch(ME, {"profile": {"city": "Oslo"}})).expect(200)
    tag = (await ann.get(ME)).etag
    for wrong, pointer in WRONG:
        answer = await ann.patch(ME, {"profile": {"city": "Rome", **wrong}})
        assert answer.status == 422, wrong
        assert pointer in [e["pointer"] for e in answer.json["errors"]]
    for body in ({"profile": None}, {"profile": []}, {"profile": {str(i): 1 for i in range(60)}}):
        assert (await ann.patch(ME, body)).status == 422
    refused = await ann.patch(ME, {"profile": {"plan": "paid"}})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (403, "/profile/plan")
    assert (await ann.get(ME)).etag == tag
    given = await whole.admin.patch(f"/v1/users/{ann.id}", {"profile": {"plan": "paid"}})
    assert given.expect(200)["profile"] == {"city": "Oslo", "plan": "paid"}
    whole_profile = (await ann.get(ME)).json["profile"]
    assert (await ann.patch(ME, {"profile": whole_profile})).expect(200)["profile"] == whole_profile
    assert (await ann.patch(ME, {"profile": {"plan": None}})).status == 403


async def test_rules_ask_for_a_profile(whole: testing.Platform) -> None:
    rule = "record.plan == caller.profile.plan && caller.profile.age >= 18"
    fields = [{"name": "plan", "type": "text", "max": 20}]
    new = {"name": "offers", "fields": fields, "rules": {"list": rule, "view": rule}}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    offers = "/v1/collections/offers/records"
    for plan in ("free", "paid", None):
        (await whole.admin.post(offers, {"plan": plan})).expect(201)
    ann, bert = [await whole.as_user(f"{name}@example.com") for name in ("ann", "bert")]
    profile = {"profile": {"plan": "paid", "age": 30}}
    (await whole.admin.patch(f"/v1/users/{ann.id}", profile)).expect(200)

    async def seen(client: Any) -> list[str]:
        return [item["plan"] for item in (await client.get(offers)).expect(200)["items"]]

    assert await seen(ann) == ["paid"]
    # Nobody's profile is no value, and neither is what a profile has not: nor is the opposite.
    for client in (bert, whole.anonymous):
        assert await seen(client) == []
    for opposite in ("record.plan != caller.profile.plan", "!(caller.profile.plan == 'paid')"):
        rules = {"rules": {"list": opposite}}
        (await whole.admin.patch("/v1/collections/offers", rules)).expect(200)
        assert await seen(bert) == await seen(whole.anonymous) == []
    assert await seen(ann) == []
    known = {"rules": {"list": "!has(caller.profile.plan) && has(caller.id)"}}
    (await whole.admin.patch("/v1/collections/offers", known)).expect(200)
    assert (len(await seen(bert)), await seen(ann), await seen(whole.anonymous)) == (3, [], [])


def test_settings_say_what_does_not_fit() -> None:
    for wrong in (
        {"type": "select"}, {"type": "text", "values": ("a",)}, {"type": "boolean", "min": 1},
        {"type": "text", "max": 1e9}, {"type": "integer", "min": 2, "max": 1},
        {"type": "select", "values": ("a", "a")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            ProfileField(**wrong)
    with pytest.raises(ValueError, match="is not a name"):
        UsersSettings(profile={"No Name": ProfileField("text")})

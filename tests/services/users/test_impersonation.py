"""Acting as a user: who may, what they may do then, who is named, and what ends it."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import App, Impersonated
from mainspring.app import BUILT_IN
from mainspring.gateway.identify import CachedIdentity
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.caller import Impersonation
from mainspring.kernel.errors import NotFound, Unauthenticated
from mainspring.services.users import store
from mainspring.services.users.api.errors import (
    ImpersonationThrottled,
    NotToImpersonate,
    ScopeNotHeld,
    SessionNeeded,
)
from mainspring.services.users.api.impersonations import Impersonating, ImpersonationToken
from mainspring.services.users.api.structs import Disabling, NewRole
from mainspring.services.users.impersonation import AN_HOUR_MAX, AT_ONCE_MAX
from mainspring.testing import Client, Platform
from tests.services.users.people import ERASE, PASSWORD, People, data_of
from tests.services.users.test_races import interrupted

PROCESSES = 2  # each has to have heard
WHY = {"reason": "ticket 12"}
SUPPORT = ["users:own", "users:read", "users:impersonate", "events:read"]
# What is for who acts as a user with ``write``; everything else that writes is for the user alone.
WRITES = {
    "users.update_me", "users.send_verification", "users.update_organization",
    "records.create_collection", "records.update_collection", "records.delete_collection",
    "records.create_record", "records.update_record", "records.replace_record",
    "records.upsert_record", "records.delete_record", "records.batch_records",
    "records.batch_steps", "records.explain_rule", "records.upload_file", "records.cancel_run",
    "records.upload_pending_file", "records.finish_upload",  # none begins: its answer is a secret
    "jobs.cancel_job", "jobs.pause_queue", "jobs.resume_queue",
    "webhooks.delete_webhook", "webhooks.test_webhook", "webhooks.replay_events",
    "webhooks.retry_delivery",
}  # fmt: skip
# What is posted, and changes nothing for who is acted as.
POSTED = {"users.stop_impersonation", "users.create_stream_token"}


def test_every_operation_says_whether_it_is_for_who_acts_as_a_user() -> None:
    found: dict[Impersonated, set[str]] = {kind: set() for kind in Impersonated}
    for service in BUILT_IN:
        for name, operation in service.operations.items():
            found[operation.impersonated].add(name)
            secret = operation.secret and name not in POSTED
            if secret or operation.recent_s is not None:
                assert operation.impersonated is Impersonated.REFUSED, name
            if operation.method == "GET":
                assert operation.impersonated is Impersonated.READS, name
    assert found[Impersonated.WRITES] == WRITES  # is a new one about the account, or for later?
    posted = {
        name
        for service in BUILT_IN
        for name, operation in service.operations.items()
        if operation.writes and operation.impersonated is Impersonated.READS
    }
    assert posted == POSTED


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        """Tell who acts, as an app that is mounted sees it."""
        by = scope["mainspring.caller"].impersonator or "nobody"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f'"{by}"'.encode()})

    app = App("site")
    app.mount("/page", page)
    async with Platform(app, database=platform_server, processes=PROCESSES) as platform:
        role = {"name": "support", "scopes": SUPPORT}
        (await platform.admin.post("/v1/roles", role)).expect(201)
        role = {"name": "customer", "scopes": ["users:own", "events:read"]}
        (await platform.admin.post("/v1/roles", role)).expect(201)
        yield platform


async def begin(platform: Platform, admin: Client, user: Client, **more: Any) -> Any:
    answer = await admin.post(f"/v1/users/{user.id}:impersonate", {**WHY, **more})
    return answer.expect(201)


async def test_whoever_acts_is_named_and_changes_what_was_agreed(platform: Platform) -> None:
    ann = await platform.as_user("ann@example.com", roles=["customer"])
    assert ann.id is not None
    admin = await platform.as_user("support@example.com", roles=["support", "user"])
    begun = await begin(platform, admin, ann, minutes=5)
    assert (begun["expires_in"], begun["impersonation"]["ended_at"]) == (300, None)
    claims = msgspec.json.decode(
        base64.urlsafe_b64decode(begun["access_token"].split(".")[1] + "==")
    )
    assert (claims["sub"], claims["act"]) == (ann.id, {"sub": admin.id})
    assert "auth_time" not in claims

    looking = platform.as_bearer(begun["access_token"])
    for _ in range(PROCESSES):
        assert (await looking.get("/v1/users/me")).expect(200)["id"] == ann.id
    name = {"display_name": "Anna"}
    refused = (await looking.patch("/v1/users/me", name)).expect(403)
    assert refused["code"] == "not_for_impersonators"
    (await looking.post("/v1/stream_tokens")).expect(201)
    (await looking.post("/page")).expect(403)
    assert (await looking.get("/page")).expect(200) == admin.id

    acting = platform.as_bearer((await begin(platform, admin, ann, write=True))["access_token"])
    (await acting.post("/page")).expect(200)
    key = {"Idempotency-Key": "k"}
    (await ann.patch("/v1/users/me", {"display_name": "Ann"}, headers=key)).expect(200)
    # Were it the user's own key, this would be key_reused.
    (await acting.patch("/v1/users/me", name, headers=key)).expect(200)
    updates = await platform.events("users.user.updated")
    assert {(one.actor, one.impersonator) for one in updates} == {
        (ann.id, None),
        (ann.id, admin.id),
    }
    (told,) = [one for one in updates if one.impersonator is not None]
    (shown,) = (
        await platform.admin.get(f"/v1/events?type=users.*&filter=impersonator=='{admin.id}'")
    ).expect(200)["items"]
    assert shown["id"] == told.id
    for path, body in [
        (f"/v1/users/{ann.id}:impersonate", WHY),
        ("/v1/users/me:change_password", {"password": PASSWORD, "new_password": PASSWORD + "!"}),
        ("/v1/api_keys", {"name": "k", "scopes": []}),
        ("/v1/organizations", {"name": "Acme"}),
        ("/v1/invitations:accept", {"token": "t" * 43}),
    ]:
        code = (await acting.post(path, body)).expect(403)["code"]
        assert code in {"not_for_impersonators", "forbidden"}, path
    for path in ("/v1/sessions", "/v1/users/me"):
        assert (await acting.delete(path)).expect(403)["code"] == "not_for_impersonators"

    sessions = (await ann.get("/v1/sessions")).expect(200)["items"]
    theirs = [one for one in sessions if one["impersonator_id"] is not None]
    assert (len(sessions), [one["impersonator_id"] for one in theirs]) == (3, [admin.id] * 2)
    assert {(one["address"], one["user_agent"]) for one in theirs} == {("", "")}  # not the user's
    (own,) = (await ann.get("/v1/events?type=users.impersonation.started&limit=1")).expect(200)[
        "items"
    ]
    assert own["data"]["user_id"] == ann.id
    listed = await platform.admin.get(f"/v1/impersonations?user_id={ann.id}")
    assert sorted(one["write"] for one in listed.expect(200)["items"]) == [False, True]
    # Who acts ends it by that token too, although it only looks; nobody else finds it.
    path = f"/v1/impersonations/{begun['impersonation']['id']}:stop"
    (await ann.post(path)).expect(404)
    (await looking.post(path)).expect(204)
    (await looking.get("/v1/users/me")).expect(401)


AT_ONCE = {"stopped": "stopped", "logout": "logout", "disabled": "disabled", "away": "logout"}


async def test_it_ends_before_that_is_answered(platform: Platform) -> None:
    for end in (*AT_ONCE, "rights", "role"):
        ann = await platform.as_user(f"ann.{end}@example.com")
        admin = await platform.as_user(f"{end}@example.com", roles=["support", "user"])
        begun = await begin(platform, admin, ann)
        acting = platform.as_bearer(begun["access_token"])
        for _ in range(PROCESSES):
            (await acting.get("/v1/users/me")).expect(200)
        await _end(platform, end, begun["impersonation"]["id"], ann, admin)
        for _ in range(PROCESSES):
            (await acting.get("/v1/users/me")).expect(401)
    ended = await platform.events("users.impersonation.ended")
    found = sorted(event.read(dict)["ended_by"] for event in ended)
    assert found == sorted(AT_ONCE.values())
    await platform.pass_time(minutes=16)  # what lost its ground is noted at the latest then
    assert len(await platform.events("users.impersonation.ended")) == len(AT_ONCE) + 2
    listed = (await platform.admin.get("/v1/impersonations")).expect(200)["items"]
    found = sorted(one["ended_by"] for one in listed)
    assert found == sorted([*AT_ONCE.values(), "expired", "expired"])


async def _end(platform: Platform, end: str, id: str, ann: Client, admin: Client) -> None:
    root = platform.admin
    match end:
        case "stopped":
            (await admin.post(f"/v1/impersonations/{id}:stop")).expect(204)
        case "logout":
            (await ann.delete("/v1/sessions")).expect(204)
        case "disabled":
            (await root.post(f"/v1/users/{admin.id}:disable", {"reason": "left"})).expect(200)
        case "role":
            role = {"scopes": ["users:own"]}
            (await root.patch("/v1/roles/support", role)).expect(200)
        case "rights":
            roles = {"roles": ["user", "admin"]}
            (await root.patch(f"/v1/users/{ann.id}", roles)).expect(200)
        case "away":
            (session,) = (await admin.get("/v1/sessions")).expect(200)["items"]
            (await admin.delete(f"/v1/sessions/{session['id']}")).expect(204)


async def support(people: People, *scopes: str, email: str = "support@example.com") -> Caller:
    """Make somebody who may act as users, logged in."""
    role = {"scopes": scopes or SUPPORT, "name": "r" + str(people.asked)}
    await people.ask("create_role", caller=SYSTEM, new=msgspec.convert(role, NewRole))
    await people.administrator(email, role["name"], "user")
    return await people.caller(await people.log_in(email))


async def impersonate(people: People, admin: Caller, user_id: str | None) -> ImpersonationToken:
    given = Impersonating(reason="ticket 12")
    outcome = await people.ask("impersonate_user", caller=admin, id=user_id, given=given)
    token: ImpersonationToken = outcome.value
    return token


async def test_nobody_acts_as_whom_they_are_not_over(people: People) -> None:
    admin = await support(people)
    ann = await people.sign_up()
    root = await people.administrator()
    more = await support(people, "jobs:read", email="more@example.com")
    key = Caller("key", "key_1", scopes=frozenset({"*"}))
    for caller, user_id, failure in [
        (key, ann.id, SessionNeeded),
        (admin, root.id, NotToImpersonate),
        (admin, admin.id, NotToImpersonate),
        (admin, more.id, ScopeNotHeld),
        (admin, "user_" + "0" * 26, NotFound),
    ]:
        with pytest.raises(failure):
            await impersonate(people, caller, user_id)
    await people.ask("disable_user", caller=SYSTEM, id=ann.id, given=Disabling(reason="left"))
    with pytest.raises(NotToImpersonate):
        await impersonate(people, admin, ann.id)
    assert "users.impersonation.started" not in await people.events()


@pytest.mark.parametrize("who", ["user", "admin", "session"])
async def test_none_begins_while_one_of_both_goes(people: People, who: str) -> None:
    admin = await support(people)
    ann = await people.sign_up()

    async def meanwhile() -> None:
        if who == "session":
            await people.ask("delete_session", caller=admin, id=admin.session_id)
            return
        gone = ann.id if who == "user" else admin.id
        await people.ask("disable_user", caller=SYSTEM, id=gone, given=Disabling(reason="left"))

    given = Impersonating(reason="ticket 12")
    failure = NotToImpersonate if who == "user" else Unauthenticated
    with pytest.raises(failure):
        await interrupted(
            people,
            "impersonate_user",
            "impersonations_by",
            meanwhile,
            admin,
            id=ann.id,
            given=given,
        )


async def test_how_many_and_how_often(people: People) -> None:
    admin = await support(people)
    ann = await people.sign_up()
    for began in range(AN_HOUR_MAX):
        token = await impersonate(people, admin, ann.id)
        if began == AT_ONCE_MAX - 1:
            with pytest.raises(ImpersonationThrottled, match="stop with one"):
                await impersonate(people, admin, ann.id)
        if began >= AT_ONCE_MAX - 1:
            await people.ask("stop_impersonation", caller=admin, id=token.impersonation.id)
    with pytest.raises(ImpersonationThrottled) as throttled:
        await impersonate(people, admin, ann.id)
    assert throttled.value.retry_after_s == 3_600
    people.clock.move(3_600)
    await impersonate(people, admin, ann.id)


async def test_the_user_is_told_and_what_is_kept_goes_with_them(people: People) -> None:
    admin = await support(people)
    ann = await people.sign_up()
    await people.verify()
    await impersonate(people, admin, ann.id)
    await people.work()
    mail = (await people.mail.sent())[-1]
    assert mail.to == "ann@example.com"
    assert "acts in your account" in mail.subject
    (told,) = await people.bodies("users.impersonation.started")
    assert data_of(told)["reason"] == "ticket 12"
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)
    assert await people.all(store.IMPERSONATION_PAGE, tenant="main", after="", limit=9) == []
    (told,) = await people.bodies("users.impersonation.started")
    assert data_of(told)["reason"] is None


def test_who_acts_uses_up_limits_of_their_own() -> None:
    caller = Caller("user", "user_ann", impersonation=Impersonation("user_root", writes=False))
    assert CachedIdentity(caller, 1, ()).limit_key == "main/user_root"

"""Organisations: who belongs to them, who may do what in them, and how one gets in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import Conflict
from mainspring.kernel.call import Caller
from mainspring.services.users import model
from mainspring.services.users.api.organizations import (
    InvitationProof,
    NewInvitation,
    NewOrganization,
)
from mainspring.services.users.api.structs import EmailProof
from mainspring.testing import Client, HttpAnswer, Platform
from tests.services.users.people import People, page, token_in

ORGANIZATIONS = "/v1/organizations"


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(database=platform_server) as platform:
        yield platform


async def proved(platform: Platform, name: str) -> Client:
    """Somebody who has proved the address ``name@example.com``."""
    who = await platform.as_user(f"{name}@example.com")
    await platform.drain()
    token = token_in((await platform.mails(f"{name}@example.com"))[-1])
    (await platform.anonymous.post("/v1/users:verify_email", {"token": token})).expect(204)
    return who


async def invite(
    platform: Platform, who: Client, organization: str, email: str, role: str = "member"
) -> str:
    """Invite somebody; return the token that was mailed."""
    path = f"{ORGANIZATIONS}/{organization}/invitations"
    (await who.post(path, {"email": email, "role": role})).expect(201)
    await platform.drain()
    return token_in((await platform.mails(email))[-1])


async def join(
    platform: Platform, owner: Client, organization: str, name: str, role: str
) -> Client:
    who = await proved(platform, name)
    token = await invite(platform, owner, organization, f"{name}@example.com", role)
    joined = await who.post("/v1/invitations:accept", {"token": token})
    assert joined.expect(200)["role"] == role
    return who


async def made(owner: Client, name: str = "Bridges") -> str:
    organization: str = (await owner.post(ORGANIZATIONS, {"name": name})).expect(201)["id"]
    return organization


def code(answer: HttpAnswer) -> Any:
    return answer.json["code"] if answer.json else answer.status


async def test_who_may_do_what(platform: Platform) -> None:
    ann = await platform.as_user("ann@example.com")
    organization = await made(ann)
    path = f"{ORGANIZATIONS}/{organization}"
    bert = await join(platform, ann, organization, "bert", "admin")
    carl = await join(platform, ann, organization, "carl", "surveyor")
    dora = await platform.as_user("dora@example.com")
    for nobody in (dora, platform.anonymous):
        for asked in (path, f"{path}/members", f"{path}/invitations"):
            assert (await nobody.get(asked)).status in (401, 404)
    # Members see members; owners and admins their addresses as well.
    for who, whole in ((ann, True), (bert, True), (carl, False)):
        found = (await who.get(f"{path}/members")).expect(200)["items"]
        assert [(m["role"], bool(m["email"])) for m in found] == [
            ("owner", whole), ("admin", whole), ("surveyor", whole),
        ]  # fmt: skip
    members = f"{path}/members"
    beyond = [
        (carl, "PATCH", path, {"name": "Mine"}),
        (carl, "POST", f"{path}/invitations", {"email": "x@example.com"}),
        (carl, "GET", f"{path}/invitations", None),
        (bert, "DELETE", path, None),
        (bert, "POST", f"{path}:transfer", {"user_id": bert.id}),
        (bert, "PATCH", f"{members}/{bert.id}", {"role": "owner"}),
        (bert, "PATCH", f"{members}/{carl.id}", {"role": "admin"}),
        (bert, "DELETE", f"{members}/{ann.id}", None),
        (bert, "POST", f"{path}/invitations", {"email": "x@example.com", "role": "admin"}),
    ]
    for who, method, asked, body in beyond:
        options = {} if body is None else {"body": body}
        answer = await who.request(method, asked, **options)
        assert code(answer) == "role_beyond_yours", (method, asked, body)
    (await bert.patch(path, {"name": "Tunnels"})).expect(200)
    (await bert.patch(f"{members}/{carl.id}", {"role": "member"})).expect(204)
    assert (await carl.get(path)).expect(200)["role"] == "member"
    for wrong in ("two\nlines", "see https://evil.example", "  "):
        assert (await ann.post(ORGANIZATIONS, {"name": wrong})).status == 422
    # The last owner stays, or hands it over.
    for answer in (
        await ann.delete(f"{members}/{ann.id}"),
        await ann.patch(f"{members}/{ann.id}", {"role": "member"}),
    ):
        assert code(answer) == "last_owner"
    (await ann.post(f"{path}:transfer", {"user_id": carl.id})).expect(204)
    assert [(await who.get(path)).expect(200)["role"] for who in (ann, bert, carl)] == [
        "admin",
        "admin",
        "owner",
    ]
    (await ann.delete(f"{members}/{ann.id}")).expect(204)
    assert (await ann.get(path)).status == 404
    assert (await ann.get(ORGANIZATIONS)).expect(200)["items"] == []
    everybodys = (await platform.admin.get(f"{ORGANIZATIONS}?all=true")).expect(200)["items"]
    assert [(o["id"], o["name"], o["role"]) for o in everybodys] == [
        (organization, "Tunnels", None)
    ]
    assert (await carl.get(f"{ORGANIZATIONS}?all=true")).status == 422
    (await carl.delete(path)).expect(204)
    assert (await bert.get(path)).status == 404


async def test_an_invitation_is_for_one_proved_address_and_once(platform: Platform) -> None:
    ann = await platform.as_user("ann@example.com")
    organization = await made(ann)
    waiting = f"{ORGANIZATIONS}/{organization}/invitations"
    stranger = "bert@example.com"
    first = await ann.post(waiting, {"email": stranger})
    # Of an address with an account and of one without the same is answered.
    dora = await proved(platform, "dora")
    second = await ann.post(waiting, {"email": "dora@example.com"})
    assert first.status == second.status == 201
    assert [*first.json] == [*second.json]
    assert code(await ann.post(waiting, {"email": stranger})) == "invitation_exists"
    resend = f"{waiting}/{first.json['id']}:resend"
    assert code(await ann.post(resend)) == "mail_throttled"
    platform.clock.move(61)
    (await ann.post(resend)).expect(202)
    await platform.drain()
    token = token_in((await platform.mails(stranger))[-1])
    bert = await platform.as_user(stranger)
    for who in (dora, bert):  # another's, and not proved
        answer = await who.post("/v1/invitations:accept", {"token": token})
        assert code(answer) == "address_not_proved"
    assert (await bert.get("/v1/users/me/invitations")).expect(200)["items"] == []
    by_id = {"id": first.json["id"]}
    assert code(await dora.post("/v1/invitations:accept", by_id)) == "token_invalid"
    assert code(await dora.post("/v1/invitations:decline", by_id)) == "token_invalid"
    (own,) = (await dora.get("/v1/users/me/invitations")).expect(200)["items"]
    assert (own["id"], own["organization_name"]) == (second.json["id"], "Bridges")
    (await dora.post("/v1/invitations:accept", {"id": own["id"]})).expect(200)
    assert code(await dora.post("/v1/invitations:accept", {"id": own["id"]})) == "token_invalid"
    assert code(await ann.post(waiting, {"email": "dora@example.com"})) == "already_member"
    (await platform.anonymous.post("/v1/invitations:decline", {"token": token})).expect(204)
    assert (await ann.get(waiting)).expect(200)["items"] == []
    # Taken back, and too late.
    platform.clock.move(3_600)
    token = await invite(platform, ann, organization, "carl@example.com")
    carl = await proved(platform, "carl")
    (found,) = (await ann.get(waiting)).expect(200)["items"]
    (await ann.delete(f"{waiting}/{found['id']}")).expect(204)
    assert code(await carl.post("/v1/invitations:accept", {"token": token})) == "token_invalid"
    platform.clock.move(3_600)
    token = await invite(platform, ann, organization, "carl@example.com")
    platform.clock.move(7 * 86_400)
    assert code(await carl.post("/v1/invitations:accept", {"token": token})) == "token_invalid"
    told = [e.data for e in await platform.events("users.invitation.*")]
    assert len(told) >= 6
    assert "example.com" not in str(told)  # who is invited may be nobody's user


async def test_who_may_invite_no_more_lets_nobody_in(platform: Platform) -> None:
    ann = await platform.as_user("ann@example.com")
    organization = await made(ann)
    bert = await join(platform, ann, organization, "bert", "admin")
    carl = await proved(platform, "carl")
    token = await invite(platform, bert, organization, "carl@example.com")
    member = f"{ORGANIZATIONS}/{organization}/members/{bert.id}"
    (await ann.patch(member, {"role": "member"})).expect(204)
    assert code(await carl.post("/v1/invitations:accept", {"token": token})) == "token_invalid"
    (await ann.patch(member, {"role": "admin"})).expect(204)
    for act, body in ((":disable", {"reason": "away"}), (":enable", None)):
        given = {} if body is None else {"body": body}
        asked = await platform.admin.request("POST", f"/v1/users/{bert.id}{act}", **given)
        asked.expect(200)
        if body is not None:
            refused = await carl.post("/v1/invitations:accept", {"token": token})
            assert code(refused) == "token_invalid"
    (await carl.post("/v1/invitations:accept", {"token": token})).expect(200)


async def test_the_end_of_a_user_reaches_organisations(platform: Platform) -> None:
    ann = await proved(platform, "ann")
    alone, shared = await made(ann, "Alone"), await made(ann, "Shared")
    bert = await join(platform, ann, shared, "bert", "admin")
    other = await made(bert, "Another")
    await invite(platform, bert, other, "ann@example.com")
    (await ann.delete("/v1/users/me?erase=true")).expect(204)
    found = (await platform.admin.get(f"{ORGANIZATIONS}?all=true")).expect(200)["items"]
    assert [o["id"] for o in found] == [shared, other]
    assert alone not in str(found)
    (left,) = (await bert.get(f"{ORGANIZATIONS}/{shared}/members")).expect(200)["items"]
    assert left["user_id"] == bert.id
    assert (await bert.get(f"{ORGANIZATIONS}/{other}/invitations")).expect(200)["items"] == []
    # Nobody owns it; who may write users makes somebody the owner.
    member = f"{ORGANIZATIONS}/{shared}/members/{bert.id}"
    assert code(await bert.patch(member, {"role": "owner"})) == "role_beyond_yours"
    clerk = await platform.as_key("users:own", "users:write")
    renamed = await clerk.patch(f"{ORGANIZATIONS}/{shared}", {"name": "Ours"})
    assert (renamed.status, renamed.body) == (204, b"")
    listed = await clerk.get(f"{ORGANIZATIONS}/{other}/invitations")
    assert code(listed) == "role_beyond_yours"
    assert (await clerk.get(f"{ORGANIZATIONS}/{other}/members")).status == 403
    (await platform.admin.patch(member, {"role": "owner"})).expect(204)
    told = [e for e in await platform.events() if e.type == "users.organization.deleted"]
    assert [e.subject for e in told] == [alone]


async def test_members_are_told_what_happens(platform: Platform) -> None:
    role = {"name": "listener", "scopes": ["users:own", "events:read"]}
    (await platform.admin.post("/v1/roles", role)).expect(201)
    ann = await platform.as_user("ann@example.com", roles=("listener",))
    dora = await platform.as_user("dora@example.com", roles=("listener",))
    organization = await made(ann)
    bert = await join(platform, ann, organization, "bert", "member")
    change = {"roles": ["listener"]}
    (await platform.admin.patch(f"/v1/users/{bert.id}", change)).expect(200)
    await platform.place_events()

    async def told(who: Client, kind: str) -> int:
        answer = await who.get(f"/v1/events?type=users.{kind}.*&limit=500")
        return len(answer.expect(200)["items"])

    assert [await told(ann, kind) for kind in ("organization", "member", "invitation")] == [1, 2, 1]
    assert [await told(bert, kind) for kind in ("organization", "member", "invitation")] == [
        1,
        2,
        0,
    ]
    assert [await told(dora, kind) for kind in ("organization", "member", "invitation")] == [0] * 3
    (await ann.delete(f"{ORGANIZATIONS}/{organization}/members/{bert.id}")).expect(204)
    await platform.place_events()
    assert await told(bert, "organization") == 0
    assert await told(bert, "member") == 2  # what happened to himself


async def test_two_owners_who_leave_at_once_leave_one(people: People) -> None:
    ann, bert = await people.person("ann@example.com"), await people.person("bert@example.com")
    new = api_new("Bridges")
    made = (await people.ask("create_organization", caller=ann, new=new)).value
    await add(people, ann, made.id, bert, "bert@example.com", "owner")

    async def leave(who: Caller) -> Any:
        return await people.ask("delete_member", caller=who, organization_id=made.id, id=who.id)

    done = await asyncio.gather(leave(ann), leave(bert), return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in done) == 1
    left = next(
        who for who, one in zip((ann, bert), done, strict=True) if isinstance(one, Conflict)
    )
    (owner,) = (
        await people.ask("list_members", caller=left, organization_id=made.id, query=page())
    ).value.items
    assert (owner.user_id, owner.role) == (left.id, "owner")


async def test_there_is_a_bound_on_everything(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ORGANIZATIONS_MAX", 1)
    monkeypatch.setattr(model, "MEMBERS_MAX", 1)
    monkeypatch.setattr(model, "INVITATIONS_MAX", 1)
    ann, bert = await people.person("ann@example.com"), await people.person("bert@example.com")
    made = (await people.ask("create_organization", caller=ann, new=api_new("a"))).value
    with pytest.raises(Conflict, match="at most 1 organisations"):
        await people.ask("create_organization", caller=ann, new=api_new("b"))
    with pytest.raises(Conflict, match="at most 1 members"):
        await add(people, ann, made.id, bert, "bert@example.com", "member")
    more = NewInvitation(email="more@example.com")
    with pytest.raises(Conflict, match="at most 1 invitations"):
        await people.ask("create_invitation", caller=ann, organization_id=made.id, new=more)


def api_new(name: str) -> NewOrganization:
    return NewOrganization(name=name)


async def add(
    people: People, owner: Caller, organization: str, who: Caller, email: str, role: str
) -> None:
    """Let somebody join whose address is proved now."""
    await people.ask("send_verification", caller=who)
    new = NewInvitation(email=email, role=role)
    await people.ask("create_invitation", caller=owner, organization_id=organization, new=new)
    await people.work()
    mails = [mail for mail in await people.mail.sent() if mail.to == email]
    proof, token = token_in(mails[0]), token_in(mails[-1])
    await people.ask("verify_email", given=EmailProof(token=proof))
    await people.ask("accept_invitation", caller=who, given=InvitationProof(token=token))

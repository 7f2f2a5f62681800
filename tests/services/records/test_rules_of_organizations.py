"""Rules about the organisations that a caller belongs to, and records that are theirs."""

from typing import Any

import pytest

from mainspring import testing
from mainspring.testing import Client
from tests.services.users.test_organizations import join, made

ORG = {"name": "org", "type": "relation", "collection": "organizations"}
TITLE = {"name": "title", "type": "text", "max": 40}
RECORDS = "/v1/collections/plans/records"
MINE = "record.org in caller.organizations"


async def make(admin: Client, rule: str = MINE, *, name: str = "plans", **field: Any) -> None:
    rules = dict.fromkeys(("list", "view", "create", "update", "delete"), rule)
    new = {"name": name, "fields": [{**ORG, **field}, TITLE], "rules": rules}
    (await admin.post("/v1/collections", new)).expect(201)


async def add(admin: Client, title: str, org: str | None, name: str = "plans") -> str:
    path = f"/v1/collections/{name}/records"
    added: str = (await admin.post(path, {"title": title, "org": org})).expect(201)["id"]
    return added


async def shown(who: Client, ids: dict[str, str]) -> str:
    """Titles that somebody is shown: by a list, which the database judges, and one by one."""
    listed = (await who.get(f"{RECORDS}?sort=title")).expect(200)["items"]
    alone = [t for t, id in sorted(ids.items()) if (await who.get(f"{RECORDS}/{id}")).status == 200]
    assert [record["title"] for record in listed] == alone
    return "".join(alone)


async def test_rules_ask_for_organisations_and_roles(whole: testing.Platform) -> None:
    ann = await whole.as_user("ann@example.com")
    first, second, third = [await made(ann, name) for name in ("First", "Second", "Third")]
    bert = await join(whole, ann, first, "bert", "admin")
    joined = await join(whole, ann, second, "carl", "surveyor")
    dora, nobody = await whole.as_user("dora@example.com"), whole.anonymous
    role = {"name": "keys", "scopes": ["users:own", "api_keys:own"]}
    (await whole.admin.post("/v1/roles", role)).expect(201)
    (await whole.admin.patch(f"/v1/users/{bert.id}", {"roles": ["keys"]})).expect(200)
    made_key = await bert.post("/v1/api_keys", {"name": "k", "scopes": ["users:own"]})
    key = whole.as_bearer(made_key.expect(201)["key"])
    await make(whole.admin)
    ids = {
        title: await add(whole.admin, title, org)
        for title, org in (("a", first), ("b", second), ("c", third), ("d", None))
    }
    callers = (ann, bert, joined, dora, key, nobody)
    for rule, expected in (
        (MINE, ("abc", "a", "b", "", "a", "")),
        (f"!({MINE})", ("d", "bcd", "acd", "abcd", "bcd", "")),
        ("record.org in caller.organizations_by_role.owner", ("abc", "", "", "", "", "")),
        ("record.org in caller.organizations_by_role.surveyor", ("", "", "b", "", "", "")),
        (
            "!(record.org in caller.organizations_by_role.admin)",
            ("abcd", "bcd", "abcd", "abcd", "bcd", ""),
        ),
        (
            "record.org in caller.organizations_by_role.owner"
            " || record.org in caller.organizations_by_role.admin",
            ("abc", "a", "", "", "a", ""),
        ),
        ("size(caller.organizations) > 1", ("abcd", "", "", "", "", "")),
        ("size(caller.organizations_by_role.surveyor) == 1", ("", "", "abcd", "", "", "")),
        ("has(caller.organizations)", ("abcd", "abcd", "abcd", "abcd", "abcd", "")),
    ):
        rules = {"list": rule, "view": rule}
        (await whole.admin.patch("/v1/collections/plans", {"rules": rules})).expect(200)
        found = [await shown(who, ids) for who in callers]
        assert found == [*expected], rule
    for wrong in ("'x' in caller.organizations_by_role", "caller.organizations.owner == 'x'"):
        answer = await whole.admin.patch("/v1/collections/plans", {"rules": {"list": wrong}})
        assert answer.status == 422, wrong
    # Through a relation of another collection, which the database judges alone.
    plan = {"name": "plan", "type": "relation", "collection": "plans"}
    rules = dict.fromkeys(("list", "view"), "record.plan.org in caller.organizations")
    new = {"name": "sheets", "fields": [plan, TITLE], "rules": rules}
    (await whole.admin.post("/v1/collections", new)).expect(201)
    for title, id in ids.items():
        sheet = {"title": title, "plan": id}
        (await whole.admin.post("/v1/collections/sheets/records", sheet)).expect(201)
    for who, expected_sheets in ((ann, "abc"), (bert, "a"), (dora, ""), (nobody, "")):
        listed = (await who.get("/v1/collections/sheets/records?sort=title")).expect(200)
        assert "".join(s["title"] for s in listed["items"]) == expected_sheets


async def test_who_belongs_no_more_sees_no_more(whole: testing.Platform) -> None:
    ann = await whole.as_user("ann@example.com")
    organization = await made(ann)
    bert = await join(whole, ann, organization, "bert", "member")
    await make(whole.admin)
    id = await add(whole.admin, "a", organization)
    (await bert.post(RECORDS, {"title": "b", "org": organization})).expect(201)
    member = f"/v1/organizations/{organization}/members/{bert.id}"
    async with await bert.stream("records.stream_records", collection="plans") as items:
        assert [*await items.json()] == ["position"]
        (await whole.admin.patch(f"{RECORDS}/{id}", {"title": "aa"})).expect(200)
        assert (await items.json())["record"]["title"] == "aa"
        (await ann.delete(member)).expect(204)
        assert (await bert.get(f"{RECORDS}/{id}")).status == 404
        assert (await bert.get(RECORDS)).expect(200)["items"] == []
        refused = await bert.post(RECORDS, {"title": "c", "org": organization})
        assert refused.status == 403
        (await whole.admin.patch(f"{RECORDS}/{id}", {"title": "secret"})).expect(200)
        assert (await items.json())["end"] == "changed"


async def test_what_a_deleted_organisation_leaves(whole: testing.Platform) -> None:
    ann = await whole.as_user("ann@example.com")
    gone, stays = await made(ann, "Gone"), await made(ann, "Stays")
    await make(whole.admin)
    await make(whole.admin, name="drafts", required=True, on_delete="cascade")
    await make(whole.admin, "size(record.org) > 0", name="groups", many=True)
    plan = await add(whole.admin, "a", gone)
    draft, kept = [await add(whole.admin, "a", org, "drafts") for org in (gone, stays)]
    new = {"title": "a", "org": [gone, stays]}
    group = (await whole.admin.post("/v1/collections/groups/records", new)).expect(201)["id"]
    unknown = "org_01jdq3w7z8e9r0t1y2v3x4z5a6"
    for org, said in ((unknown, "there is no organization"), (ann.id, "not the id of")):
        answer = await whole.admin.post(RECORDS, {"title": "x", "org": org})
        assert said in answer.json["errors"][0]["detail"]
    for wrong in ({"required": True}, {"on_delete": "restrict"}):
        refused = {"name": "wrong", "fields": [{**ORG, **wrong}]}
        assert (await whole.admin.post("/v1/collections", refused)).status == 422
    reserved = await whole.admin.post("/v1/collections", {"name": "organizations", "fields": []})
    assert reserved.status == 422
    (await ann.delete(f"/v1/organizations/{gone}")).expect(204)
    await whole.drain()
    paths = "/v1/collections/{}/records/{}"
    assert (await whole.admin.get(paths.format("plans", plan))).expect(200)["org"] is None
    assert (await whole.admin.get(paths.format("groups", group))).expect(200)["org"] == [stays]
    assert (await whole.admin.get(paths.format("drafts", draft))).status == 404
    (await whole.admin.get(paths.format("drafts", kept))).expect(200)
    answer = await whole.admin.post(RECORDS, {"title": "x", "org": gone})
    assert answer.json["errors"][0]["pointer"] == "/org"


@pytest.mark.parametrize("role", ["owner", "surveyor"])
async def test_explain_knows_organisations(whole: testing.Platform, role: str) -> None:
    ann = await whole.as_user("ann@example.com")
    organization = await made(ann)
    await make(whole.admin, f"record.org in caller.organizations_by_role.{role}")
    id = await add(whole.admin, "a", organization)
    question = {"action": "view", "record": id, "caller": ann.id}
    answer = await whole.admin.post("/v1/collections/plans/records:explain", question)
    assert answer.expect(200)["allowed"] is (role == "owner")

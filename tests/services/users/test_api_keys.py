"""API keys: never more than their maker holds, shown once, and gone when they are revoked."""

import asyncio

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Invalid, NotFound, Unauthenticated
from mainspring.kernel.table import Query, Statement
from mainspring.services.users.admin import ensure_admin_key, new_key
from mainspring.services.users.api.errors import RoleBuiltIn, RoleTaken, ScopeNotHeld
from mainspring.services.users.api.structs import (
    MadeApiKey,
    NewApiKey,
    NewRole,
    RoleChanges,
    UserChanges,
)
from tests.services.users.people import EVENT_BODIES, KEYS, People, page

FORGET_FIRST_KEY = Statement("test.forget_first_key", "DELETE FROM users_first_key")


async def make(people: People, caller: Caller, *scopes: str, **more: object) -> MadeApiKey:
    new = msgspec.structs.replace(NewApiKey(name="a key", scopes=list(scopes)), **more)
    key: MadeApiKey = (await people.ask("create_api_key", caller=caller, new=new)).value
    return key


async def somebody(people: People, *scopes: str, email: str = "ann@example.com") -> Caller:
    """A user whose one role gives these scopes."""
    role = NewRole(name="role_" + email.partition("@")[0], scopes=list(scopes))
    await people.ask("create_role", caller=SYSTEM, new=role)
    await people.administrator(email, role.name)
    return await people.caller(await people.log_in(email))


async def test_a_key_is_shown_once_and_not_kept(people: People) -> None:
    made = await make(people, SYSTEM, "records:read", "records:write")
    assert made.key.startswith("msk_")
    assert made.key.startswith(made.prefix)
    caller = await people.caller(made.key)
    assert (caller.kind, caller.id) == ("key", made.id)
    assert caller.scopes == {"records:read", "records:write"}
    read = (await people.ask("get_api_key", caller=SYSTEM, id=made.id)).body
    kept = "".join(await people.all(EVENT_BODIES)) + read.decode()
    assert made.key not in kept
    assert made.key[len(made.prefix) :] not in kept


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (["records:read"], "records:write"), (["records:read"], "records:*"),
        (["records:*"], "*"), (["records:*"], "recordsx:read"), (["users:own"], "users:write"),
    ],
)  # fmt: skip
async def test_a_key_never_does_more_than_its_maker(
    people: People, held: list[str], asked: str
) -> None:
    ann = await somebody(people, "api_keys:own", *held)
    with pytest.raises(ScopeNotHeld):
        await make(people, ann, *held, asked)
    made = await make(people, ann, *held)
    assert (await people.caller(made.key)).scopes == set(held)


async def test_a_key_made_by_a_key_is_bound_alike(people: People) -> None:
    ann = await somebody(people, "api_keys:own", "records:*")
    first = await people.caller((await make(people, ann, "api_keys:own", "records:read")).key)
    with pytest.raises(ScopeNotHeld):
        await make(people, first, "records:write")
    second = await make(people, first, "records:read")
    assert second.owner_id == ann.id


async def test_a_key_does_less_when_its_owner_may_do_less(people: People) -> None:
    ann = await somebody(people, "api_keys:own", "records:*", "jobs:read")
    made = await make(people, ann, "records:read", "jobs:read")
    parent = await people.caller((await make(people, ann, "api_keys:own", "jobs:read")).key)
    child = await make(people, parent, "jobs:read")
    changes = RoleChanges(scopes=["records:*"])
    await people.ask("update_role", caller=SYSTEM, name="role_ann", changes=changes)
    assert (await people.caller(made.key)).scopes == {"records:read"}
    assert (await people.caller(child.key)).scopes == frozenset()
    assert ann.id is not None
    changes_of_user = UserChanges(roles=[])
    await people.ask("update_user", caller=SYSTEM, id=ann.id, changes=changes_of_user)
    assert (await people.caller(made.key)).scopes == frozenset()


async def test_a_key_expires(people: People) -> None:
    expires_at = rfc3339(people.clock.now_ms() + 60_000)
    made = await make(people, SYSTEM, "*", expires_at=expires_at)
    assert made.expires_at == expires_at
    identity = await people.authenticator.authenticate(made.key, people.clock.now_ms())
    assert identity.expires_ms == people.clock.now_ms() + 60_000
    people.clock.move(60)
    with pytest.raises(Unauthenticated):
        await people.caller(made.key)
    for bad in (expires_at, "tomorrow", "2027-13-01T00:00:00Z", ""):
        with pytest.raises(Invalid) as refused:
            await make(people, SYSTEM, "*", expires_at=bad)
        assert refused.value.errors[0].pointer == "/expires_at"


async def test_an_expired_key_is_shown_for_a_month_and_then_forgotten(people: People) -> None:
    lasting = await make(people, SYSTEM, "*")
    expires_at = rfc3339(people.clock.now_ms() + 60_000)
    made = await make(people, SYSTEM, "*", expires_at=expires_at)
    for days, there in ((29, True), (2, False)):
        people.clock.move(days * 86_400)
        await people.runtime.scheduler.sweep()
        listed = (await people.ask("list_api_keys", caller=SYSTEM)).value.items
        assert (made.id in {key.id for key in listed}) is there
    assert lasting.id in {key.id for key in listed}


async def test_a_revoked_key_is_gone_before_it_is_answered(people: People) -> None:
    made = await make(people, SYSTEM, "*")
    told: list[str] = []
    people.runtime.dispatcher.on_commit(lambda _, events: told.extend(e.subject for e in events))
    await people.ask("delete_api_key", caller=SYSTEM, id=made.id)
    assert told == [made.id]
    assert "users.api_key.revoked" in people.authenticator.revoking
    with pytest.raises(Unauthenticated):
        await people.caller(made.key)


async def test_callers_reach_their_own_keys_and_administrators_all(people: People) -> None:
    ann = await somebody(people, "api_keys:own", email="ann@example.com")
    bob = await somebody(people, "api_keys:own", email="bob@example.com")
    anns = [(await make(people, ann, "api_keys:own")).id for _ in range(3)]
    bobs = await make(people, bob, "api_keys:own")
    first = (await people.ask("list_api_keys", caller=ann, query=page(2))).value
    rest = (await people.ask("list_api_keys", caller=ann, query=page(2, first.next_cursor))).value
    assert [key.id for key in [*first.items, *rest.items]] == anns
    everyones = (await people.ask("list_api_keys", caller=SYSTEM)).value.items
    assert [key.id for key in everyones[1:]] == [*anns, bobs.id]  # after the platform's first
    for name in ("get_api_key", "delete_api_key"):
        for id in (bobs.id, "key_01jd0000000000000000000000", "x"):
            with pytest.raises(NotFound):
                await people.ask(name, caller=ann, id=id)
    await people.caller(bobs.key)
    await people.ask("delete_api_key", caller=ann, id=anns[0])
    alone = await people.caller((await make(people, SYSTEM, "api_keys:own")).key)
    assert (await people.ask("list_api_keys", caller=alone)).value.items == []
    assert (await people.ask("get_api_key", caller=alone, id=alone.id)).status == 200


@pytest.mark.parametrize("text", ["msk_", "msk_x", "msk_" + "A" * 43, "msk_\u00e9", "", "Bearer"])
async def test_a_key_nobody_made_is_refused(people: People, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await people.caller(text)


# Roles


async def test_a_role_is_made_changed_and_deleted(people: People) -> None:
    ann = await somebody(people, "records:read")
    assert ann.scopes == {"records:read"}
    new = NewRole(name="role_ann", scopes=[])
    with pytest.raises(RoleTaken):
        await people.ask("create_role", caller=SYSTEM, new=new)
    await people.ask("delete_role", caller=SYSTEM, name="role_ann")
    assert ann.id is not None
    read = await people.ask("get_user", caller=SYSTEM, id=ann.id)
    assert read.value.roles == []
    tokens = await people.log_in()
    new = NewRole(name="role_ann", scopes=["records:read"])
    await people.ask("create_role", caller=SYSTEM, new=new)
    assert (await people.caller(tokens)).scopes == frozenset()


async def test_roles_escalate_nobody(people: People) -> None:
    ann = await somebody(people, "roles:*", "records:read")
    for new in (NewRole(name="x", scopes=["*"]), NewRole(name="x", scopes=["records:*"])):
        with pytest.raises(ScopeNotHeld):
            await people.ask("create_role", caller=ann, new=new)
    strong = NewRole(name="strong", scopes=["jobs:*"])
    await people.ask("create_role", caller=SYSTEM, new=strong)
    changes = RoleChanges(scopes=[])
    with pytest.raises(ScopeNotHeld):
        await people.ask("update_role", caller=ann, name="strong", changes=changes)
    with pytest.raises(ScopeNotHeld):
        await people.ask("delete_role", caller=ann, name="strong")
    changes = RoleChanges(scopes=["roles:*", "records:read", "users:write"])
    with pytest.raises(ScopeNotHeld):
        await people.ask("update_role", caller=ann, name="role_ann", changes=changes)


async def test_built_in_roles_stay(people: People) -> None:
    changes = RoleChanges(scopes=["users:own", "links:write"])
    with pytest.raises(RoleBuiltIn):
        await people.ask("update_role", caller=SYSTEM, name="admin", changes=changes)
    for name in ("admin", "user"):
        with pytest.raises(RoleBuiltIn):
            await people.ask("delete_role", caller=SYSTEM, name=name)
    await people.ask("update_role", caller=SYSTEM, name="user", changes=changes)
    assert (await people.person()).scopes == {"users:own", "links:write"}
    for name in ("", "x", "a\x00", "User", "a\n"):
        with pytest.raises(NotFound):
            await people.ask("get_role", caller=SYSTEM, name=name)
    with pytest.raises(Invalid):
        await people.ask("create_role", caller=SYSTEM, new=NewRole(name="a\n", scopes=[]))
    names = [role.name for role in (await people.ask("list_roles", caller=SYSTEM)).value.items]
    assert names == ["admin", "user"]


async def test_a_grant_and_the_roles_deletion_do_not_both_win(people: People) -> None:
    ann = await people.sign_up()
    for i in range(5):
        await people.ask("create_role", caller=SYSTEM, new=NewRole(name=f"r{i}", scopes=["a:b"]))
        changes = UserChanges(roles=["user", f"r{i}"])
        await asyncio.gather(
            people.ask("update_user", caller=SYSTEM, id=ann.id, changes=changes),
            people.ask("delete_role", caller=SYSTEM, name=f"r{i}"),
            return_exceptions=True,
        )
    orphans = Query(
        "test.orphans",
        "SELECT COUNT(*) FROM users_grants g WHERE NOT EXISTS"
        " (SELECT 1 FROM users_roles r WHERE r.tenant = g.tenant AND r.name = g.role)",
        int,
    )
    assert await people.all(orphans) == [0]


# The first administrator's key


async def test_the_first_key_is_made_once_and_never_again(people: People) -> None:
    dispatcher = people.runtime.dispatcher
    text = new_key(people.runtime.entropy)
    await people.run(FORGET_FIRST_KEY())
    assert await ensure_admin_key(dispatcher, text)
    assert not await ensure_admin_key(dispatcher, text)
    caller = await people.caller(text)
    assert caller.scopes == {"*"}
    assert await people.events() == ["users.api_key.created"]
    assert text not in "".join(await people.all(EVENT_BODIES))
    assert caller.id is not None
    await people.ask("delete_api_key", caller=SYSTEM, id=caller.id)
    assert not await ensure_admin_key(dispatcher, text)
    with pytest.raises(Unauthenticated):
        await people.caller(text)


async def test_processes_that_start_at_once_make_one_first_key(people: People) -> None:
    text = new_key(people.runtime.entropy)
    await people.run(FORGET_FIRST_KEY())
    before = await people.all(KEYS)
    made = await asyncio.gather(
        *(ensure_admin_key(people.runtime.dispatcher, text) for _ in range(5))
    )
    assert sum(made) == 1
    assert await people.all(KEYS) == before
    assert await people.events() == ["users.api_key.created"]

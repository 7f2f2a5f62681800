"""What somebody may do now, asked by whatever acts after their call."""

import pytest

from mainspring.kernel.authority import Authority
from mainspring.kernel.call import SYSTEM, Call, Caller
from mainspring.kernel.table import Query
from mainspring.services.users.api.errors import ScopeNotHeld
from mainspring.services.users.api.structs import RoleChanges, UserChanges
from tests.services.users.people import ERASE, KEEP, People
from tests.services.users.test_api_keys import make, somebody

GONE = Query("test.gone", "SELECT id FROM users_gone", str)


async def current(people: People, id: str, tenant: str = "main") -> Caller | None:
    call: Call = people.runtime.dispatcher.call(SYSTEM, request_id="req_later")
    return await call.use(Authority).current(id, tenant, people.clock.now_ms())


async def test_authority_follows_the_roles(people: People) -> None:
    ann = await somebody(people, "api_keys:own", "records:*")
    made = await make(people, ann, "records:read")
    found = await current(people, ann.actor)
    assert found is not None
    assert (found.kind, found.id, found.scopes) == ("user", ann.id, ann.scopes)
    by_key = await current(people, made.id)
    assert by_key is not None
    assert (by_key.kind, by_key.id, by_key.scopes) == ("key", made.id, {"records:read"})
    changes = RoleChanges(scopes=["jobs:read"])
    await people.ask("update_role", caller=SYSTEM, name="role_ann", changes=changes)
    found, by_key = await current(people, ann.actor), await current(people, made.id)
    assert found is not None
    assert by_key is not None
    assert (found.scopes, by_key.scopes) == ({"jobs:read"}, set())
    await people.ask("update_user", caller=SYSTEM, id=ann.actor, changes=UserChanges(roles=[]))
    found = await current(people, ann.actor)
    assert found is not None
    assert found.scopes == set()


async def test_nobody_has_authority_once_gone(people: People) -> None:
    ann = await somebody(people, "api_keys:own", "records:*")
    made = await make(people, ann, "records:read")
    alone = await make(people, SYSTEM, "records:read")
    assert await current(people, ann.actor, "other") is None
    assert await current(people, made.id, "other") is None
    await people.ask("delete_user", caller=SYSTEM, id=ann.actor, query=ERASE)
    assert await current(people, ann.actor) is None
    assert await current(people, made.id) is None
    assert await current(people, alone.id) is not None
    await people.ask("delete_api_key", caller=SYSTEM, id=alone.id)
    assert await current(people, alone.id) is None
    for nobody in ("", "system", "anonymous", "sess_01jd0000000000000000000000", "user_x"):
        assert await current(people, nobody) is None


async def test_who_was_deleted_is_erased_only_by_those_who_hold_as_much(people: People) -> None:
    clerk = Caller("key", "key_1", scopes=frozenset({"users:write"}))
    ann = await people.sign_up()
    chief = await somebody(people, "jobs:admin", email="chief@example.com")
    for id in (ann.id, chief.actor):
        await people.ask("delete_user", caller=SYSTEM, id=id, query=KEEP)
    await people.ask("delete_user", caller=clerk, id=ann.id, query=ERASE)
    with pytest.raises(ScopeNotHeld):
        await people.ask("delete_user", caller=clerk, id=chief.actor, query=ERASE)
    peer = Caller("key", "key_2", scopes=frozenset({"users:write", "jobs:*"}))
    await people.ask("delete_user", caller=peer, id=chief.actor, query=ERASE)
    assert await people.all(GONE) == []


async def test_of_whom_nothing_is_known_needs_every_scope(people: People) -> None:
    ann = await people.sign_up()
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=KEEP)
    people.clock.move(401 * 86_400)
    await people.runtime.scheduler.sweep()  # as those who were deleted before this was written down
    assert await people.all(GONE) == []
    clerk = Caller("key", "key_1", scopes=frozenset({"users:*"}))
    with pytest.raises(ScopeNotHeld):
        await people.ask("delete_user", caller=clerk, id=ann.id, query=ERASE)
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)

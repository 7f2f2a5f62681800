"""Keys made by keys: bound by the whole line of those who made them, and gone with any of them."""

import asyncio

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Invalid, Unauthenticated
from mainspring.kernel.table import Statement
from mainspring.services.users import store
from mainspring.services.users.api.errors import ScopeNotHeld, TooManyApiKeys
from mainspring.services.users.api.structs import (
    EmailChange,
    EmailProof,
    MadeApiKey,
    PasswordChange,
    PasswordReset,
    ResetRequest,
    RoleChanges,
    UserChanges,
)
from mainspring.services.users.operations import api_keys
from tests.services.users.people import ERASE, EVENT_BODIES, KEEP, KEYS, PASSWORD, People
from tests.services.users.test_api_keys import make, somebody

NEW = "eleven blue elephants"
SCOPES = ("api_keys:own", "records:read")


async def line(people: People, caller: Caller, length: int) -> list[MadeApiKey]:
    """Keys that made one another, the first made by the caller."""
    made = []
    for _ in range(length):
        made.append(await make(people, caller, *SCOPES))
        caller = await people.caller(made[-1].key)
    return made


async def holds(people: People, key: MadeApiKey) -> bool:
    try:
        await people.caller(key.key)
    except Unauthenticated:
        return False
    return True


async def test_a_key_that_ends_soon_makes_none_that_lasts(people: People) -> None:
    soon_ms = people.clock.now_ms() + 3_000
    short = await make(people, SYSTEM, *SCOPES, expires_at=rfc3339(soon_ms))
    caller = await people.caller(short.key)
    with pytest.raises(Invalid) as refused:
        await make(people, caller, *SCOPES, expires_at=rfc3339(soon_ms + 1))
    assert refused.value.errors[0].pointer == "/expires_at"
    child = await make(people, caller, *SCOPES)
    assert (child.expires_at, child.maker_id) == (rfc3339(soon_ms), short.id)
    grandchild = await make(people, await people.caller(child.key), *SCOPES)
    assert grandchild.expires_at == rfc3339(soon_ms)
    people.clock.move(3)
    assert not await holds(people, child)
    assert not await holds(people, grandchild)


async def test_revoking_a_key_reaches_all_that_were_made_with_it(people: People) -> None:
    first, second, third = await line(people, SYSTEM, 3)
    beside = await make(people, SYSTEM, *SCOPES)
    caller = (await people.authenticator.authenticate(third.key, people.clock.now_ms())).tags
    assert set(caller) == {first.id, second.id, third.id}  # one event about any ends what is cached
    await people.ask("delete_api_key", caller=SYSTEM, id=second.id)
    assert [await holds(people, key) for key in (first, second, third, beside)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert (await people.events())[-2:] == ["users.api_key.revoked"] * 2
    assert await people.all(KEYS) == [2]


async def test_a_line_follows_the_roles_of_the_user_it_begins_with(people: People) -> None:
    ann = await somebody(people, *SCOPES, "jobs:read")
    *_, last = await line(people, ann, 3)
    assert last.owner_id == ann.id
    tags = (await people.authenticator.authenticate(last.key, people.clock.now_ms())).tags
    assert {ann.id, "role_ann"} < set(tags)
    changes = RoleChanges(scopes=["api_keys:own"])
    await people.ask("update_role", caller=SYSTEM, name="role_ann", changes=changes)
    assert (await people.caller(last.key)).scopes == {"api_keys:own"}
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=KEEP)
    assert not await holds(people, last)


async def test_a_line_has_an_end(people: People) -> None:
    *_, last = await line(people, SYSTEM, store.LINE_MAX)
    with pytest.raises(TooManyApiKeys, match="in a row"):
        await make(people, await people.caller(last.key), *SCOPES)


async def test_a_key_whose_maker_is_gone_is_dead_and_swept(people: People) -> None:
    first, second = await line(people, SYSTEM, 2)
    gone = Statement("test.gone", "DELETE FROM users_api_keys WHERE id = :id")
    await people.run(gone(id=first.id))  # as when both commits fell together
    assert not await holds(people, second)
    await people.runtime.scheduler.sweep()
    assert await people.all(KEYS) == [0]


# What ends the keys of a user


async def test_a_password_reset_ends_keys(people: People) -> None:
    ann = await somebody(people, *SCOPES)
    keys = await line(people, ann, 2)
    await people.ask("request_password_reset", request=ResetRequest(email="ann@example.com"))
    reset = PasswordReset(token=await people.mailed_token(), password=NEW)
    await people.ask("reset_password", reset=reset)
    assert [await holds(people, key) for key in keys] == [False, False]
    assert (await people.events()).count("users.api_key.revoked") == 2


@pytest.mark.parametrize("kept", [False, True])
async def test_a_password_change_ends_keys_unless_they_are_kept(people: People, kept: bool) -> None:
    ann = await somebody(people, *SCOPES, "users:own")
    key = await make(people, ann, *SCOPES)
    change = PasswordChange(password=PASSWORD, new_password=NEW, keep_api_keys=kept)
    await people.ask("change_password", caller=ann, change=change)
    assert await holds(people, key) is kept


async def test_another_address_ends_keys_and_sessions(people: People) -> None:
    ann = await somebody(people, *SCOPES, "users:own")
    await people.work()
    key, session = await make(people, ann, *SCOPES), await people.log_in()
    change = EmailChange(email="new@example.com", password=PASSWORD)
    await people.ask("change_email", caller=ann, change=change)
    assert await holds(people, key)
    await people.ask("verify_email", given=EmailProof(token=await people.mailed_token()))
    assert not await holds(people, key)
    with pytest.raises(Unauthenticated):
        await people.caller(session)


async def test_an_address_an_administrator_changes_ends_them_too(people: People) -> None:
    ann = await somebody(people, *SCOPES)
    key, session = await make(people, ann, *SCOPES), await people.log_in()
    changes = UserChanges(email="new@example.com")
    await people.ask("update_user", caller=SYSTEM, id=ann.actor, changes=changes)
    assert not await holds(people, key)
    with pytest.raises(Unauthenticated):
        await people.caller(session)


async def test_a_key_made_while_its_maker_ends_holds_nothing(people: People) -> None:
    ann = await somebody(people, *SCOPES, "users:own")
    change = PasswordChange(password=PASSWORD, new_password=NEW)
    made, _ = await asyncio.gather(
        asyncio.gather(*(make(people, ann, *SCOPES) for _ in range(8)), return_exceptions=True),
        people.ask("change_password", caller=ann, change=change),
    )
    for key in made:
        # The session that changes the password stays: what it makes after that is its own.
        assert isinstance(key, MadeApiKey)
    keys = [key for key in made if isinstance(key, MadeApiKey)]
    assert await people.all(KEYS) == [sum([await holds(people, key) for key in keys])]


# Who may revoke


async def test_nobody_revokes_what_holds_more(people: People) -> None:
    first = await make(people, SYSTEM, "*")
    clerk = await people.caller((await make(people, SYSTEM, "api_keys:*")).key)
    with pytest.raises(ScopeNotHeld) as refused:
        await people.ask("delete_api_key", caller=clerk, id=first.id)
    assert "*" not in str(refused.value)
    less = await make(people, SYSTEM, "api_keys:own")
    await people.ask("delete_api_key", caller=clerk, id=less.id)
    await people.ask("delete_api_key", caller=SYSTEM, id=first.id)


async def test_a_narrow_key_does_not_revoke_the_wide_one_beside_it(people: People) -> None:
    ann = await somebody(people, *SCOPES)
    wide, narrow = await make(people, ann, *SCOPES), await make(people, ann, "api_keys:own")
    caller = await people.caller(narrow.key)
    with pytest.raises(ScopeNotHeld):
        await people.ask("delete_api_key", caller=caller, id=wide.id)
    await people.ask("delete_api_key", caller=caller, id=narrow.id)
    await people.ask("delete_api_key", caller=ann, id=wide.id)
    assert await people.all(KEYS) == [0]


async def test_what_holds_no_more_may_be_revoked(people: People) -> None:
    ann = await somebody(people, *SCOPES)
    key = await make(people, ann, *SCOPES)
    await people.ask("update_user", caller=SYSTEM, id=ann.actor, changes=UserChanges(roles=[]))
    clerk = await people.caller((await make(people, SYSTEM, "api_keys:*")).key)
    await people.ask("delete_api_key", caller=clerk, id=key.id)
    assert not await holds(people, key)


async def test_a_key_lists_and_ends_what_it_made(people: People) -> None:
    first, second = await line(people, SYSTEM, 2)
    caller = await people.caller(first.key)
    assert (await people.ask("list_api_keys", caller=caller)).value.items[0].id == second.id
    await people.ask("get_api_key", caller=caller, id=second.id)
    with pytest.raises(ScopeNotHeld):
        await make(people, caller, "records:write")
    await people.ask("delete_api_key", caller=caller, id=second.id)
    assert await holds(people, first)


async def test_a_key_of_no_user_makes_so_many_and_no_more(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "LINE_KEYS_MAX", 3)
    first, second, third = await line(people, SYSTEM, 3)
    await make(people, await people.caller(first.key), *SCOPES)
    for key in (first, second, third):
        with pytest.raises(TooManyApiKeys, match="belongs to no user"):
            await make(people, await people.caller(key.key), *SCOPES)
    await people.ask("delete_api_key", caller=SYSTEM, id=third.id)
    await make(people, await people.caller(second.key), *SCOPES)


async def test_the_name_of_a_key_is_erased_with_its_owner(people: People) -> None:
    ann = await somebody(people, *SCOPES)
    named = "Ann Lovelace's phone"
    own = await make(people, ann, *SCOPES, name=named)
    await make(people, await people.caller(own.key), *SCOPES, name=named)
    await make(people, SYSTEM, *SCOPES, name="the shop's")

    async def told() -> str:
        return "".join([await people.sealer.reveal(b) for b in await people.all(EVENT_BODIES)])

    assert named not in "".join(await people.all(EVENT_BODIES))
    assert (await told()).count(named) == 2
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)
    assert named not in await told()
    assert "the shop's" in await told()

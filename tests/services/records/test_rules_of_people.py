"""Rules about the user behind a caller: who it is, by which address, with which roles."""

from typing import Any

from mainspring.kernel.authority import Authenticator
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.services.users import service as users
from mainspring.services.users.api.structs import Login, NewApiKey, NewRole, NewUser
from tests.services.records.platform import NOBODY, Platform


async def _ask(platform: Platform, name: str, caller: Caller = SYSTEM, **args: Any) -> Any:
    operation = users.operations[f"users.{name}"]
    return (await platform.runtime.dispatcher.run(operation, platform.call(caller), args)).value


async def _people(platform: Platform) -> tuple[Caller, Caller, Caller]:
    """Ann, who is an editor; a key of hers; and a key that is nobody's."""
    scopes = ["api_keys:own", "jobs:read"]
    await _ask(platform, "create_role", new=NewRole(name="editor", scopes=scopes))
    new = NewUser(email="ann@Example.com", password="a long password", roles=["editor"])
    await _ask(platform, "create_user", new=new)
    login = Login(email=new.email, password=new.password)
    tokens = await _ask(platform, "create_session", NOBODY, login=login)
    gate = platform.call().use(Authenticator)
    ann = (await gate.authenticate(tokens.access_token, platform.clock.now_ms())).caller
    key = NewApiKey(name="a key", scopes=["jobs:read"])
    hers = await _ask(platform, "create_api_key", ann, new=key)
    nobodys = await _ask(platform, "create_api_key", new=key)
    return ann, Caller("key", hers.id), Caller("key", nobodys.id)


async def test_a_key_of_a_user_is_judged_as_that_user(platform: Platform) -> None:
    ann, key, nobodys = await _people(platform)
    await platform.make("notes", {"name": "who", "type": "text", "max": 60})
    notes = [await platform.add("notes", who=who) for who in (ann.id, "ann@example.com", key.id)]
    of_user, of_address, of_key = notes
    for rule, found in (
        ("record.who == caller.user", {ann: [of_user], key: [of_user]}),
        ("record.who == caller.id", {ann: [of_user], key: [of_key]}),
        ("record.who == caller.email", {ann: [of_address], key: [of_address]}),
        ("record.who != caller.email", {ann: [of_user, of_key], key: [of_user, of_key]}),
        ("caller.email_verified", {}),
        ("!caller.email_verified", {ann: notes, key: notes}),
        ("'editor' in caller.roles", {ann: notes, key: notes}),
        ("!('admin' in caller.roles)", {ann: notes, key: notes}),
        ("has(caller.user)", {ann: notes, key: notes}),
        ("!has(caller.user)", {nobodys: notes, NOBODY: notes}),
    ):
        change = {"rules": {"list": rule, "view": rule}}
        await platform.run("update_collection", name="notes", change=change)
        for caller in (ann, key, nobodys, NOBODY):
            listed = await platform.everything("notes", caller)
            assert listed == found.get(caller, []), (rule, caller)


async def test_what_a_user_is_counts_as_it_is_now(platform: Platform) -> None:
    ann, key, _ = await _people(platform)
    rules = {"list": "'editor' in caller.roles"}
    await platform.make("notes", {"name": "who", "type": "text", "max": 60}, rules=rules)
    note = await platform.add("notes")
    assert await platform.everything("notes", key) == [note]
    await _ask(
        platform, "delete_user", id=ann.id, query=users.operations["users.delete_user"].query()
    )  # type: ignore[misc]
    for caller in (ann, key):
        assert await platform.everything("notes", caller) == []

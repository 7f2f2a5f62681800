"""What happens when somebody else's commit falls between two reads of a call."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mainspring.kernel.call import ANONYMOUS, SYSTEM, Caller
from mainspring.kernel.errors import Failure, NotFound, Unauthenticated
from mainspring.kernel.table import Query
from mainspring.services.users import service
from mainspring.services.users.api.structs import (
    Login,
    NewApiKey,
    NewRole,
    PasswordChange,
    RefreshRequest,
    UserChanges,
)
from tests.services.users.people import EMAIL, KEYS, PASSWORD, Interrupted, People

NEW = "eleven blue elephants"


async def interrupted(
    people: People,
    name: str,
    after: str,
    meanwhile: Callable[[], Awaitable[Any]],
    caller: Caller = ANONYMOUS,
    **args: Any,
) -> Any:
    """Run an operation; ``meanwhile`` happens after its first read named ``after``."""
    call = people.runtime.dispatcher.call(caller, request_id="r")
    call.reader = Interrupted(call.reader, f"users.{after}", meanwhile)
    operation = service.operations[f"users.{name}"]
    return (await people.runtime.dispatcher.run(operation, call, args)).value


LOGIN = Login(email=EMAIL, password=PASSWORD)


@pytest.mark.parametrize("after", ["user_by_email", "failure"])
async def test_no_login_with_a_password_that_changes_meanwhile(people: People, after: str) -> None:
    me = await people.person()

    async def change() -> None:
        given = PasswordChange(password=PASSWORD, new_password=NEW)
        await people.ask("change_password", caller=me, change=given)

    with pytest.raises(Unauthenticated):
        await interrupted(people, "create_session", after, change, login=LOGIN)
    await people.log_in(EMAIL, NEW)


async def test_no_login_of_a_user_who_is_deleted_meanwhile(people: People) -> None:
    me = await people.person()

    async def delete() -> None:
        await people.ask("delete_me", caller=me)

    with pytest.raises(Unauthenticated):
        await interrupted(people, "create_session", "failure", delete, login=LOGIN)
    assert await people.all(Query("test.s", "SELECT COUNT(*) FROM users_sessions", int)) == [0]


async def test_no_refresh_of_a_session_that_ends_meanwhile(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    me = await people.caller(tokens)

    async def log_out() -> None:
        await people.ask("delete_sessions", caller=me)

    given = RefreshRequest(refresh_token=tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await interrupted(people, "refresh_session", "session", log_out, given=given)


async def test_logging_out_everywhere_takes_a_login_of_meanwhile_along(people: People) -> None:
    me = await people.person()
    late = []

    async def log_in() -> None:
        late.append(await people.log_in())

    await interrupted(people, "delete_sessions", "sessions_of", log_in, caller=me)
    with pytest.raises(Unauthenticated):
        await people.caller(late[0])


async def test_a_role_that_goes_meanwhile_is_not_granted(people: People) -> None:
    ann = await people.sign_up()
    new = NewRole(name="editor", scopes=["records:*"])
    await people.ask("create_role", caller=SYSTEM, new=new)

    async def remake() -> None:
        await people.ask("delete_role", caller=SYSTEM, name="editor")
        stronger = NewRole(name="editor", scopes=["*"])
        await people.ask("create_role", caller=SYSTEM, new=stronger)

    clerk = Caller("key", "key_1", scopes=frozenset({"users:*", "records:*"}))
    changes = UserChanges(roles=["user", "editor"])
    with pytest.raises(Failure, match="do not hold"):
        await interrupted(
            people, "update_user", "role", remake, caller=clerk, id=ann.id, changes=changes
        )


async def test_a_user_who_rises_meanwhile_is_out_of_reach(people: People) -> None:
    ann = await people.sign_up()

    async def promote() -> None:
        changes = UserChanges(roles=["admin"])
        await people.ask("update_user", caller=SYSTEM, id=ann.id, changes=changes)

    clerk = Caller("key", "key_1", scopes=frozenset({"users:*"}))
    changes = UserChanges(email="mine@example.com")
    with pytest.raises(Failure, match="only those who hold every scope"):
        await interrupted(
            people, "update_user", "user", promote, caller=clerk, id=ann.id, changes=changes
        )


async def test_a_key_of_a_user_who_goes_meanwhile_does_nothing(people: People) -> None:
    await people.administrator()
    root = await people.caller(await people.log_in("root@example.com"))

    async def delete() -> None:
        await people.ask("delete_me", caller=root)

    new = NewApiKey(name="late", scopes=["*"])
    with pytest.raises(Unauthenticated):
        await interrupted(people, "create_api_key", "api_key_page_of", delete, caller=root, new=new)
    assert await people.all(KEYS) == [0]


async def test_two_deletions_at_once_are_one(people: People) -> None:
    ann = await people.sign_up()

    async def delete() -> None:
        await people.ask("delete_user", caller=SYSTEM, id=ann.id)

    with pytest.raises(NotFound):
        await interrupted(
            people,
            "delete_user",
            "user",
            delete,
            caller=SYSTEM,
            id=ann.id,
            query=service.operations["users.delete_user"].query(),
        )
    assert (await people.events()).count("users.user.deleted") == 1

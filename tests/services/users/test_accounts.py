"""Users: signing up, proving an address, changing and deleting, and who may do it to whom."""

import asyncio

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Invalid, NotFound, PreconditionFailed, Unauthenticated
from mainspring.kernel.event import envelope
from mainspring.kernel.table import Query, Statement
from mainspring.services.users import service
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import (
    BadMailToken,
    EmailTaken,
    ScopeNotHeld,
    SessionNeeded,
    SignUpClosed,
    WrongCredentials,
    WrongPassword,
)
from mainspring.services.users.api.structs import (
    EmailChange,
    EmailProof,
    NewApiKey,
    NewRole,
    NewUser,
    OwnChanges,
    User,
    UserChanges,
    UserQuery,
)
from tests.services.users.people import (
    ALL_JOB_ARGS,
    EMAIL,
    ERASE,
    EVENT_BODIES,
    KEYS,
    PASSWORD,
    People,
    data_of,
)


async def test_a_sign_up_is_a_user_an_event_and_a_mail(people: People) -> None:
    user = await people.sign_up(" Ann@Example.com ", display_name=" Ann ")
    assert (user.email, user.display_name, user.email_verified) == ("Ann@example.com", "Ann", False)
    assert user.roles == ["user"]
    assert await people.events() == ["users.user.created"]
    assert await people.work() == ["send_token"]
    (mail,) = await people.mail.sent()
    assert mail.to == "Ann@example.com"
    assert (await people.caller(await people.log_in())).scopes == {"users:own"}


async def test_of_many_sign_ups_with_one_address_one_wins(people: People) -> None:
    spellings = [EMAIL, EMAIL.upper(), f" {EMAIL}", "Ann@example.com"] * 2
    made = await asyncio.gather(*(people.sign_up(email) for email in spellings))
    assert await people.events() == ["users.user.created"]
    listed = (await people.ask("list_users", caller=SYSTEM)).value.items
    assert [user.id for user in listed if user in made] == [user.id for user in listed]
    assert len(listed) == 1


async def test_of_many_users_an_administrator_makes_with_one_address_one_wins(
    people: People,
) -> None:
    outcomes = await asyncio.gather(
        *(people.administrator(EMAIL, "user") for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(o, User) for o in outcomes) == 1
    assert sum(isinstance(o, EmailTaken) for o in outcomes) == 4


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"email": "nobody"}, "/email"),
        ({"password": "password1"}, "/password"),
        ({"password": "ann@example.com"}, "/password"),
        ({"roles": ["user", "nonsense"]}, "/roles/0"),
    ],
)
async def test_a_bad_sign_up_changes_nothing(
    people: People, changes: dict[str, object], pointer: str
) -> None:
    new = msgspec.structs.replace(NewUser(email=EMAIL, password=PASSWORD), **changes)
    with pytest.raises(Invalid) as refused:
        await people.ask("create_user", caller=SYSTEM, new=new)
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert await people.events() == []


async def test_an_address_and_a_password_are_refused_together(people: People) -> None:
    with pytest.raises(Invalid) as refused:
        await people.ask("create_user", new=NewUser("nobody", "aaaaaaaaaa"))
    assert [error.pointer for error in refused.value.errors] == ["/email", "/password"]


async def test_nobody_signs_up_with_roles_of_their_choice(people: People) -> None:
    for roles in (["admin"], ["user", "admin"], []):
        with pytest.raises(ScopeNotHeld):
            await people.sign_up(roles=roles)
    clerk = Caller("user", "user_1", scopes=frozenset({"users:write"}))
    new = NewUser(email=EMAIL, password=PASSWORD, roles=["admin"])
    with pytest.raises(ScopeNotHeld):
        await people.ask("create_user", caller=clerk, new=new)


async def test_sign_up_can_be_closed(people: People) -> None:
    closed = UsersSettings(sign_up=False)
    people.runtime.resources[UsersSettings] = closed
    with pytest.raises(SignUpClosed):
        await people.sign_up()
    assert (await people.administrator()).roles == ["admin"]


async def test_an_address_is_proved_once_with_what_was_mailed(people: People) -> None:
    await people.sign_up()
    token = await people.mailed_token()
    assert token not in "".join(await people.all(EVENT_BODIES))
    await people.ask("verify_email", given=EmailProof(token=token))
    me = await people.caller(await people.log_in())
    assert (await people.ask("get_me", caller=me)).value.email_verified
    for bad in (token, "", "x" * 43):
        with pytest.raises(BadMailToken):
            await people.ask("verify_email", given=EmailProof(token=bad))


async def test_a_token_expires_and_is_for_one_address(people: People) -> None:
    me = await people.person()
    await people.work()
    change = EmailChange(email="new@example.com", password=PASSWORD)
    await people.ask("change_email", caller=me, change=change)
    second = await people.mailed_token()
    assert (await people.mail.sent())[-1].to == "new@example.com"
    people.clock.move(UsersSettings().verify_token_s)
    with pytest.raises(BadMailToken):
        await people.ask("verify_email", given=EmailProof(token=second))
    await people.ask("send_verification", caller=me)
    first = await people.mailed_token()
    await people.ask("change_email", caller=me, change=change)
    await people.ask("verify_email", given=EmailProof(token=await people.mailed_token()))
    with pytest.raises(BadMailToken):
        await people.ask("verify_email", given=EmailProof(token=first))


async def test_verification_mails_are_sent_again_but_not_in_a_burst(people: People) -> None:
    me = await people.person()
    await people.work()
    await people.ask("send_verification", caller=me)
    assert await people.work() == []
    people.clock.move(61)
    await people.ask("send_verification", caller=me)
    assert await people.work() == ["send_token"]


async def test_another_address_needs_the_password_and_a_proof(people: People) -> None:
    me = await people.person()
    await people.ask("verify_email", given=EmailProof(token=await people.mailed_token()))
    wrong = EmailChange(email="new@example.com", password="wrong password")
    with pytest.raises(WrongPassword):
        await people.ask("change_email", caller=me, change=wrong)
    right = EmailChange(email="new@example.com", password=PASSWORD)
    asked = await people.ask("change_email", caller=me, change=right)
    assert (asked.status, asked.body) == (202, b"")
    tokens = await people.log_in(EMAIL)
    with pytest.raises(WrongCredentials):
        await people.log_in("new@example.com")
    await people.ask("verify_email", given=EmailProof(token=await people.mailed_token()))
    with pytest.raises(Unauthenticated):
        await people.caller(tokens)
    with pytest.raises(WrongCredentials):
        await people.log_in(EMAIL)
    changed = (await people.log_in("new@example.com")).user
    assert (changed.email, changed.email_verified) == ("new@example.com", True)


async def test_an_address_somebody_took_meanwhile_stays_theirs(people: People) -> None:
    me = await people.person()
    change = EmailChange(email="bob@example.com", password=PASSWORD)
    await people.ask("change_email", caller=me, change=change)
    token = await people.mailed_token()
    await people.sign_up("BOB@example.com", PASSWORD + " of Bob")
    with pytest.raises(BadMailToken):
        await people.ask("verify_email", given=EmailProof(token=token))
    assert (await people.log_in(EMAIL)).user.id == me.id


async def test_a_name_changes_with_its_version(people: People) -> None:
    me = await people.person()
    read = await people.ask("get_me", caller=me)
    changes = OwnChanges(display_name="Annie")
    changed = await people.ask("update_me", caller=me, changes=changes, if_match=read.etag)
    assert changed.value.display_name == "Annie"
    assert changed.etag == (await people.ask("get_me", caller=me)).etag != read.etag
    with pytest.raises(PreconditionFailed):
        await people.ask("update_me", caller=me, changes=changes, if_match=read.etag)


async def test_users_are_listed_page_by_page(people: People) -> None:
    made = [(await people.sign_up(f"u{i}@example.com")).id for i in range(5)]
    listed, cursor = [], None
    while True:
        answer = (await people.ask("list_users", caller=SYSTEM, query=users_page(2, cursor))).value
        listed += [user.id for user in answer.items]
        cursor = answer.next_cursor
        if cursor is None:
            break
        assert len(answer.items) == 2
    assert listed == made
    for bad in ("x", "sess_01jd0000000000000000000000", "\x00"):
        with pytest.raises(Invalid):
            await people.ask("list_users", caller=SYSTEM, query=users_page(2, bad))


async def test_a_user_is_found_by_address(people: People) -> None:
    ann = await people.sign_up()
    await people.sign_up("bob@example.com")
    for email, found in (("ANN@example.com ", [ann]), ("carl@example.com", []), ("", [])):
        query = UserQuery(email=email)
        answer = (await people.ask("list_users", caller=SYSTEM, query=query)).value
        assert (answer.items, answer.next_cursor) == (found, None)


@pytest.mark.parametrize("id", ["", "x", "user_1", "sess_01jd0000000000000000000000", "a\x00b"])
async def test_an_id_that_is_no_users_is_not_found(people: People, id: str) -> None:
    with pytest.raises(NotFound):
        await people.ask("get_user", caller=SYSTEM, id=id)
    with pytest.raises(NotFound):
        await people.ask("delete_user", caller=SYSTEM, id=id, query=ERASE)


# Who may do what to whom


async def test_nobody_takes_over_somebody_who_may_do_more(people: People) -> None:
    root = await people.administrator()
    role = NewRole(name="clerk", scopes=["users:write", "users:read", "users:own"])
    await people.ask("create_role", caller=SYSTEM, new=role)
    await people.administrator("clerk@example.com", "clerk")
    clerk = await people.caller(await people.log_in("clerk@example.com"))
    ann = await people.sign_up()
    for changes in (UserChanges(email="mine@example.com"), UserChanges(roles=[])):
        with pytest.raises(ScopeNotHeld):
            await people.ask("update_user", caller=clerk, id=root.id, changes=changes)
    with pytest.raises(ScopeNotHeld):
        await people.ask("delete_user", caller=clerk, id=root.id)
    changes = UserChanges(roles=["user", "admin"])
    with pytest.raises(ScopeNotHeld):
        await people.ask("update_user", caller=clerk, id=ann.id, changes=changes)
    changes = UserChanges(roles=["user", "clerk"])
    given = await people.ask("update_user", caller=clerk, id=ann.id, changes=changes)
    assert given.value.roles == ["clerk", "user"]


async def test_roles_given_and_taken_count_at_once(people: People) -> None:
    ann = await people.sign_up()
    tokens = await people.log_in()
    changes = UserChanges(roles=["admin"])
    given = await people.ask("update_user", caller=SYSTEM, id=ann.id, changes=changes)
    assert given.value.roles == ["admin"]
    assert (await people.ask("get_user", caller=SYSTEM, id=ann.id)).etag == given.etag
    assert (await people.caller(tokens)).scopes == {"*"}
    changes = UserChanges(roles=[])
    await people.ask("update_user", caller=SYSTEM, id=ann.id, changes=changes)
    assert (await people.caller(tokens)).scopes == frozenset()


async def test_what_is_about_oneself_needs_a_person(people: People) -> None:
    await people.administrator()
    root = await people.caller(await people.log_in("root@example.com"))
    new = NewApiKey(name="cli", scopes=["users:own"])
    key = (await people.ask("create_api_key", caller=root, new=new)).value.key
    caller = await people.caller(key)
    assert (await people.ask("get_me", caller=caller)).value.email == "root@example.com"
    with pytest.raises(SessionNeeded):
        await people.ask("update_me", caller=caller, changes=OwnChanges(display_name="x"))
    with pytest.raises(SessionNeeded):
        await people.ask("delete_me", caller=caller)
    with pytest.raises(SessionNeeded):
        await people.ask("get_me", caller=SYSTEM)


# Deleting and erasing


async def test_a_deleted_user_has_nothing_left(people: People) -> None:
    await people.administrator()
    tokens = await people.log_in("root@example.com")
    me = await people.caller(tokens)
    new = NewApiKey(name="cli", scopes=["*"])
    key = (await people.ask("create_api_key", caller=me, new=new)).value.key
    await people.ask("delete_me", caller=me)
    for credential in (tokens.access_token, key):
        with pytest.raises(Unauthenticated):
            await people.caller(credential)
    for table in (
        "users",
        "grants",
        "sessions",
        "mail_tokens",
        "failures",
        "mails",
        "reads",
    ):
        assert await people.all(_count(f"users_{table}")) == [0], table
    assert await people.all(KEYS) == [0]
    assert (await people.events())[-3:] == [
        "users.session.revoked", "users.api_key.revoked", "users.user.deleted",
    ]  # fmt: skip
    with pytest.raises(Unauthenticated):
        await people.log_in("root@example.com")
    await people.sign_up("root@example.com")


async def test_erasure_takes_the_person_out_of_every_event(people: People) -> None:
    ann = await people.sign_up(display_name="Ann Smith")
    me = await people.caller(await people.log_in())
    await people.ask("update_me", caller=me, changes=OwnChanges(display_name="Annie"))
    before = await people.all(EVENT_BODIES)
    stored = "".join(before)
    assert EMAIL not in stored
    assert "Ann Smith" not in stored
    (created,) = await people.bodies("users.user.created")
    assert data_of(created)["email"] == EMAIL
    await people.ask("delete_me", caller=me, query=ERASE)
    after = await people.all(EVENT_BODIES)
    assert after[: len(before)] == before
    assert EMAIL not in "".join([await people.sealer.reveal(body) for body in after])
    assert envelope(after[-1]).type == "users.user.erased"
    assert envelope(after[-1]).subject == ann.id
    with pytest.raises(NotFound):
        await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)


async def test_somebody_deleted_before_can_still_be_erased(people: People) -> None:
    ann = await people.sign_up()
    await people.ask("delete_user", caller=SYSTEM, id=ann.id)
    with pytest.raises(NotFound):
        await people.ask("delete_user", caller=SYSTEM, id=ann.id)
    await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)
    bodies = await people.all(EVENT_BODIES)
    assert EMAIL not in "".join([await people.sealer.reveal(body) for body in bodies])
    with pytest.raises(NotFound):
        await people.ask("delete_user", caller=SYSTEM, id=ann.id, query=ERASE)


async def test_erasure_takes_the_mails_too(people: People) -> None:
    ann = await people.sign_up()
    await people.sign_up("bert@example.com")
    me = await people.caller(await people.log_in())
    change = EmailChange(email="ann@example.org", password=PASSWORD)
    await people.ask("change_email", caller=me, change=change)
    await people.work()
    assert {m.to for m in await people.mail.sent()} == {
        EMAIL,
        "ann@example.org",
        "bert@example.com",
    }
    on_its_way = (await people.mail.sent())[0]
    await people.ask("delete_me", caller=me, query=ERASE)
    done = await people.work()
    assert [m.to for m in await people.mail.sent()] == ["bert@example.com"]
    assert "forget_mail" in done
    # A mail that was being sent while its person was erased goes once it can only have ended.
    await people.mail.send(on_its_way)
    assert on_its_way.person == ann.id
    (late,) = await people.all(ALL_JOB_ARGS)
    assert EMAIL not in late
    await people.run(Statement("test.now", "UPDATE jobs SET state = 'ready'")())
    await people.work()
    assert [m.to for m in await people.mail.sent()] == ["bert@example.com"]


def test_only_these_are_open_to_everybody() -> None:
    open_to_all = {name for name, found in service.operations.items() if found.scope is None}
    assert open_to_all == {
        "users.begin_passkey_login", "users.create_passkey_session",
        "users.create_user", "users.create_session", "users.refresh_session", "users.get_jwks",
        "users.verify_email", "users.request_password_reset", "users.reset_password",
        "users.create_stream_token", "users.complete_session", "users.create_login",
        "users.complete_login",
        "users.get_callback", "users.create_callback", "users.magic_session",
        "users.redeem_log_in", "users.undo_email_change", "users.decline_invitation",
        # What browsers and other applications ask of the identity provider.
        "users.get_authorization", "users.create_authorization", "users.login_user",
        "users.consent_client", "users.get_logout", "users.logout_user", "users.token_client",
        "users.introspect_token", "users.revoke_token", "users.get_userinfo",
        "users.create_userinfo", "users.get_openid_configuration",
        "users.get_authorization_server", "users.get_signing_keys",
    }  # fmt: skip


def users_page(limit: int, cursor: str | None) -> UserQuery:
    return UserQuery(limit=limit, cursor=cursor)


def _count(table: str) -> Query[int]:
    return Query("test.count", f"SELECT COUNT(*) FROM {table}", int)

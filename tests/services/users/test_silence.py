"""What outsiders and narrow callers are not told: who has an account, and who somebody is."""

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.table import Statement
from mainspring.services.users.admin import settle_addresses
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import (
    EmailTaken,
    MailThrottled,
    PasswordThrottled,
    WrongCredentials,
)
from mainspring.services.users.api.structs import (
    EmailChange,
    NewRole,
    NewUser,
    RoleChanges,
    UserChanges,
)
from tests.services.users.people import EMAIL, PASSWORD, CountingPasswords, People

SPELL = Statement(
    "test.spell", "UPDATE users_users SET email = :email, email_key = :email_key WHERE id = :id"
)
OTHER = "sixteen tired tractors"


def clerk(*scopes: str) -> Caller:
    return Caller("key", "key_1", scopes=frozenset(scopes))


async def test_a_sign_up_does_not_tell_who_has_an_account(
    people: People, passwords: CountingPasswords
) -> None:
    await people.sign_up()
    await people.work()
    answers, work = [], []
    for email in (EMAIL.upper(), "nobody@example.com"):
        before = passwords.hashed
        new = NewUser(email=email, password=OTHER, display_name="x")
        outcome = await people.ask("create_user", new=new)
        shape = msgspec.structs.replace(outcome.value, id="user_", email="")
        answers.append((outcome.status, outcome.etag, outcome.headers, shape))
        work.append(passwords.hashed - before)
    assert answers[0] == answers[1]
    assert work == [1, 1]
    assert await people.work() == ["send_token", "send_token"]
    told, asked = (await people.mail.sent())[-2:]
    assert (told.to, "have an account" in told.subject) == (EMAIL, True)
    assert (asked.to, "confirm" in asked.subject) == ("nobody@example.com", True)
    with pytest.raises(WrongCredentials):
        await people.log_in(EMAIL, OTHER)
    await people.log_in(EMAIL, PASSWORD)


async def test_administrators_are_told_that_an_address_is_taken(people: People) -> None:
    await people.sign_up()
    new = NewUser(email=EMAIL, password=OTHER)
    with pytest.raises(EmailTaken, match="another user has this address"):
        await people.ask("create_user", caller=clerk("users:write"), new=new)


async def test_one_domain_in_two_spellings_is_one_account(people: People) -> None:
    await people.sign_up("ann@b\u00fccher.example")
    await people.sign_up("ann@XN--BCHER-KVA.example", OTHER)
    listed = (await people.ask("list_users", caller=SYSTEM)).value.items
    assert [user.email for user in listed] == ["ann@xn--bcher-kva.example"]
    for email in ("ANN@B\u00dcCHER.example", "ann@xn--bcher-kva.example"):
        assert (await people.log_in(email)).user == listed[0]


async def test_before_log_in_an_address_can_be_asked_for_its_proof(people: People) -> None:
    people.runtime.resources[UsersSettings] = UsersSettings(verify_before_log_in=True)
    await people.sign_up()
    with pytest.raises(WrongCredentials) as unproved:
        await people.log_in()
    with pytest.raises(WrongCredentials) as unknown:
        await people.log_in("nobody@example.com")
    assert str(unproved.value) == str(unknown.value)
    await people.verify()
    await people.log_in()


async def test_a_change_of_address_does_not_tell_who_has_an_account(people: People) -> None:
    await people.sign_up("bob@example.com")
    me = await people.person()
    await people.work()
    answers = []
    for email in ("BOB@example.com", "nobody@example.com"):
        change = EmailChange(email=email, password=PASSWORD)
        outcome = await people.ask("change_email", caller=me, change=change)
        answers.append((outcome.status, outcome.body, outcome.etag, outcome.headers))
    assert answers[0] == answers[1]
    assert await people.work() == ["send_token", "send_token"]
    told, asked = (await people.mail.sent())[-2:]
    assert (told.to, told.person == me.id) == ("bob@example.com", False)
    assert (asked.to, asked.person) == ("nobody@example.com", me.id)


# Mails


async def test_mails_of_one_kind_come_ever_more_seldom(people: People) -> None:
    me = await people.person()
    sent = 0
    for _ in range(24 * 60):
        people.clock.move(60)
        await people.ask("send_verification", caller=me)
    sent = len(await people.work())
    assert 20 < sent < 32  # about one an hour


async def test_nobody_is_flooded_through_sign_ups(people: People) -> None:
    await people.sign_up()
    for i in range(10):
        await people.sign_up(EMAIL, f"{OTHER} {i}")
    assert await people.work() == ["send_token", "send_token"]


async def test_one_user_does_not_have_strangers_mailed_without_end(people: People) -> None:
    me = await people.person()
    await people.work()
    changes = [EmailChange(email=f"s{i}@example.com", password=PASSWORD) for i in range(4)]
    for change in changes[:3]:
        await people.ask("change_email", caller=me, change=change)
    with pytest.raises(MailThrottled) as refused:
        await people.ask("change_email", caller=me, change=changes[3])
    assert refused.value.retry_after_s == 60
    assert await people.work() == ["send_token"] * 3
    people.clock.move(60)
    await people.ask("change_email", caller=me, change=changes[3])


# Answers of writes


async def test_who_may_only_write_reads_nothing(people: People) -> None:
    ann = await people.sign_up()
    changes = UserChanges(display_name="x")
    for caller in (clerk("users:write"), clerk("users:write", "users:own")):
        outcome = await people.ask("update_user", caller=caller, id=ann.id, changes=changes)
        assert (outcome.status, outcome.body, outcome.etag) == (204, b"", None)
    reader = clerk("users:write", "users:read")
    outcome = await people.ask("update_user", caller=reader, id=ann.id, changes=changes)
    assert (outcome.status, outcome.value.email) == (200, EMAIL)
    await people.ask("create_role", caller=SYSTEM, new=NewRole(name="r", scopes=["roles:write"]))
    update = RoleChanges(scopes=["roles:write"])
    outcome = await people.ask("update_role", caller=clerk("roles:write"), name="r", changes=update)
    assert (outcome.status, outcome.body, outcome.etag) == (204, b"", None)


# Evidence


async def test_wrong_passwords_leave_few_events_without_the_address(people: People) -> None:
    ann = await people.sign_up()
    for _ in range(40):
        people.clock.move(900)
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    assert (await people.events()).count("users.password.refused") == 5
    shown = "".join(await people.bodies("users.password.refused"))
    assert ann.id in shown
    assert EMAIL not in shown
    assert "wrong password" not in shown


async def test_addresses_nobody_has_do_not_fill_the_log(people: People) -> None:
    for i in range(150):
        with pytest.raises(WrongCredentials):
            await people.log_in(f"nobody{i}@example.com", "wrong password")
    assert (await people.events()).count("users.password.refused") == 100


async def test_a_throttled_account_says_so(people: People) -> None:
    await people.sign_up()
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    with pytest.raises(PasswordThrottled):
        await people.log_in()


async def test_reading_people_leaves_one_event_an_hour(people: People) -> None:
    ann = await people.sign_up()
    reader = clerk("users:read")
    for _ in range(3):
        await people.ask("get_user", caller=reader, id=ann.id)
        await people.ask("list_users", caller=reader)
    await people.ask("get_user", caller=clerk("users:read", "users:own"), id=ann.id)
    reads = [type for type in await people.events() if type != "users.user.created"]
    assert reads == ["users.user.read", "users.user.listed"]
    people.clock.move(3_600)
    await people.ask("get_user", caller=reader, id=ann.id)
    assert (await people.events())[-1] == "users.user.read"
    assert EMAIL not in "".join(await people.bodies("users.user.read"))


async def test_reading_oneself_leaves_none(people: People) -> None:
    root = await people.administrator()
    me = await people.caller(await people.log_in("root@example.com"))
    await people.ask("get_user", caller=me, id=root.id)
    await people.ask("get_me", caller=me)
    assert "users.user.read" not in await people.events()


async def test_an_address_that_was_stored_otherwise_is_one_account(people: People) -> None:
    stored, key = "Ann@b\u00fccher.example", "ann@b\u00fccher.example"
    ann = await people.sign_up("Ann@xn--bcher-kva.example")
    await people.run(SPELL(id=ann.id, email=stored, email_key=key))  # as a former version did
    bob = await people.sign_up("b\u00f6b@example.com")
    two = await people.sign_up("two@example.com")
    await people.run(SPELL(id=two.id, email="b\u00d6b@example.com", email_key="b\u00f6b@former"))
    for _ in range(2):
        await settle_addresses(people.runtime.dispatcher)
        for email in (stored, "ANN@xn--bcher-kva.example"):
            assert (await people.log_in(email)).user.id == ann.id
            await people.sign_up(email, OTHER)
    listed = (await people.ask("list_users", caller=SYSTEM)).value.items
    assert [(user.id, user.email) for user in listed] == [
        (ann.id, "Ann@xn--bcher-kva.example"),
        (bob.id, "b\u00f6b@example.com"),
        (two.id, "b\u00d6b@example.com"),  # has another's address: told in the log, left alone
    ]


async def test_a_domain_is_not_another_that_looks_alike(people: People) -> None:
    ann = await people.sign_up("ann@strasse.example")
    other = await people.sign_up("ann@stra\u00dfe.example", OTHER)
    assert (await people.log_in("ann@stra\u00dfe.example", OTHER)).user.id == other.id
    assert (await people.log_in("ann@strasse.example")).user.id == ann.id

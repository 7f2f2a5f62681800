"""What people are told of their accounts, and taking a stolen address back."""

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Unauthenticated
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import BadMailToken, WrongCredentials
from mainspring.services.users.api.structs import (
    EmailChange,
    EmailProof,
    EmailUndo,
    NewApiKey,
    PasswordChange,
    PasswordReset,
    ResetRequest,
    UserChanges,
)
from tests.services.users.people import EMAIL, PASSWORD, People, token_in

OTHER, THIRD = "eve@example.com", "mallory@example.com"
NEW_PASSWORD = "another horse entirely"


async def proved(people: People) -> Caller:
    me = await people.person()
    await people.verify()
    return await people.caller(await people.log_in()) if me else me


async def moves(people: People, me: Caller, email: str) -> None:
    """Change the address, as whoever knows the password can."""
    people.clock.move(3_600)
    change = EmailChange(email=email, password=PASSWORD)
    await people.ask("change_email", caller=me, change=change)
    await people.verify()
    await people.work()


async def mails_to(people: People, email: str) -> list[str]:
    await people.work()
    return [mail.subject for mail in await people.mail.sent() if mail.to == email]


async def undo_token(people: People, email: str = EMAIL) -> str:
    await people.work()
    return token_in([mail for mail in await people.mail.sent() if mail.to == email][-1])


async def undo(people: People, token: str) -> None:
    given = EmailUndo(token=token, password=NEW_PASSWORD)
    await people.ask("undo_email_change", undo=given)


async def test_the_former_address_is_told_only_once_the_new_one_is_proved(people: People) -> None:
    me = await proved(people)
    change = EmailChange(email=OTHER, password=PASSWORD)
    await people.ask("change_email", caller=me, change=change)
    told = "Mainspring: the address of your account was changed"
    assert told not in await mails_to(people, EMAIL)
    assert (await people.log_in(EMAIL)).user.email == EMAIL
    await people.verify()
    assert (await mails_to(people, EMAIL))[-1] == told


async def test_the_former_address_takes_the_account_back_once(people: People) -> None:
    await moves(people, await proved(people), OTHER)
    thief = await people.log_in(OTHER)
    token = await undo_token(people)
    await undo(people, token)
    with pytest.raises(Unauthenticated):
        await people.caller(thief)
    for email, password in ((OTHER, PASSWORD), (EMAIL, PASSWORD), (OTHER, NEW_PASSWORD)):
        with pytest.raises(WrongCredentials):
            await people.log_in(email, password)
    back = await people.log_in(EMAIL, NEW_PASSWORD)
    assert (back.user.email, back.user.email_verified) == (EMAIL, True)
    with pytest.raises(BadMailToken):
        await undo(people, token)


async def test_a_thief_who_moves_twice_does_not_get_away(people: People) -> None:
    await moves(people, await proved(people), OTHER)
    token = await undo_token(people)
    await moves(people, await people.caller(await people.log_in(OTHER)), THIRD)
    theirs = await undo_token(people, OTHER)
    await undo(people, theirs)  # the thief undoes the second, and hopes to end the first
    await undo(people, token)
    with pytest.raises(BadMailToken):
        await undo(people, theirs)
    assert (await people.log_in(EMAIL, NEW_PASSWORD)).user.email == EMAIL


async def test_what_was_mailed_since_is_worth_nothing_after_it(people: People) -> None:
    await moves(people, await proved(people), OTHER)
    token = await undo_token(people)
    thief = await people.caller(await people.log_in(OTHER))
    people.clock.move(3_600)
    change = EmailChange(email=THIRD, password=PASSWORD)
    await people.ask("change_email", caller=thief, change=change)
    waiting = await people.mailed_token()
    await undo(people, token)
    with pytest.raises(BadMailToken):
        await people.ask("verify_email", given=EmailProof(token=waiting))


async def test_it_cannot_be_undone_after_a_week_or_when_somebody_has_the_address(
    people: People,
) -> None:
    await moves(people, await proved(people), OTHER)
    token = await undo_token(people)
    await people.sign_up(EMAIL, NEW_PASSWORD)
    with pytest.raises(BadMailToken):
        await undo(people, token)
    people.clock.move(7 * 86_400)
    with pytest.raises(BadMailToken):
        await undo(people, token)


async def test_an_address_that_was_never_proved_is_told_nothing(people: People) -> None:
    await moves(people, await people.person(), OTHER)
    assert await mails_to(people, EMAIL) == ["Mainspring: confirm your e-mail address"]


async def test_an_administrator_leaves_nothing_to_undo(people: People) -> None:
    me = await proved(people)
    changes = UserChanges(email=OTHER)
    await people.ask("update_user", caller=SYSTEM, id=me.id, changes=changes)
    told = (await mails_to(people, EMAIL))[-1]
    assert told == "Mainspring: an administrator changed the address of your account"
    last = [mail for mail in await people.mail.sent() if mail.to == EMAIL][-1]
    with pytest.raises(AssertionError):
        token_in(last)


async def test_people_are_told_of_passwords_keys_and_ended_sessions(people: People) -> None:
    await people.administrator(EMAIL)
    await people.verify()
    me = await people.caller(await people.log_in())
    key = NewApiKey(name="k", scopes=["users:own"])
    await people.ask("create_api_key", caller=me, new=key)
    change = PasswordChange(password=PASSWORD, new_password=NEW_PASSWORD)
    await people.ask("change_password", caller=me, change=change)
    await people.ask("delete_sessions", caller=me)
    found = (await mails_to(people, EMAIL))[-3:]
    assert found == [
        "Mainspring: an API key was made for your account",
        "Mainspring: your password was changed",
        "Mainspring: you were logged out everywhere",
    ]


async def test_harmless_notices_can_be_left_out_and_no_others(people: People) -> None:
    resources = people.runtime.resources
    before = resources[UsersSettings]
    resources[UsersSettings] = UsersSettings(quiet_notices=("sessions_ended", "api_key_created"))
    try:
        me = await proved(people)
        sent = len(await mails_to(people, EMAIL))
        await people.ask("delete_sessions", caller=me)
        assert len(await mails_to(people, EMAIL)) == sent
        await people.ask("request_password_reset", request=ResetRequest(email=EMAIL))
        reset = PasswordReset(token=await people.mailed_token(), password=NEW_PASSWORD)
        await people.ask("reset_password", reset=reset)
        assert (await mails_to(people, EMAIL))[-1] == "Mainspring: your password was changed"
    finally:
        resources[UsersSettings] = before


async def test_mails_that_anyone_asks_for_do_not_keep_a_notice_away(people: People) -> None:
    me = await proved(people)
    most = people.runtime.resources[UsersSettings].mails_per_address_day
    for _ in range(20):
        people.clock.move(3_600)
        await people.ask("request_password_reset", request=ResetRequest(email=EMAIL))
        await people.sign_up(EMAIL, NEW_PASSWORD)
        await people.work()
    assert len(await people.mail.sent()) == most
    await people.ask("delete_sessions", caller=me)
    assert (await mails_to(people, EMAIL))[-1] == "Mainspring: you were logged out everywhere"

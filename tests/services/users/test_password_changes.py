"""Changing a password that is known and resetting one that is not."""

import asyncio

import pytest

from mainspring.kernel.call import ANONYMOUS
from mainspring.kernel.errors import Invalid, Unauthenticated
from mainspring.services.users import service
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import (
    BadMailToken,
    PasswordThrottled,
    WrongCredentials,
    WrongPassword,
)
from mainspring.services.users.api.structs import (
    EmailChange,
    EmailProof,
    PasswordChange,
    PasswordReset,
    ResetRequest,
)
from mainspring.services.users.mail_templates import MailTemplates
from tests.deadline import DEADLINE_S
from tests.services.users.people import (
    ALL_JOB_ARGS,
    EMAIL,
    EVENT_BODIES,
    PASSWORD,
    Interrupted,
    People,
    token_in,
)

NEW = "eleven blue elephants"


async def request_reset(people: People, email: str = EMAIL) -> None:
    await people.ask("request_password_reset", request=ResetRequest(email=email))


async def test_a_change_ends_every_other_session(people: People) -> None:
    await people.sign_up()
    mine, other = await people.log_in(), await people.log_in()
    me = await people.caller(mine)
    change = PasswordChange(password=PASSWORD, new_password=NEW)
    await people.ask("change_password", caller=me, change=change)
    await people.caller(mine)
    with pytest.raises(Unauthenticated):
        await people.caller(other)
    await people.log_in(EMAIL, NEW)
    assert (await people.events())[-3:] == [
        "users.session.revoked", "users.password.changed", "users.session.created",
    ]  # fmt: skip
    kept = "".join(await people.all(EVENT_BODIES))
    assert PASSWORD not in kept
    assert NEW not in kept
    with pytest.raises(WrongCredentials):
        await people.log_in()


@pytest.mark.parametrize("new", ["short", "password1", "ann@example.com1", "aaaaaaaaaaaaa"])
async def test_the_new_password_follows_the_rules(people: People, new: str) -> None:
    me = await people.person()
    change = PasswordChange(password=PASSWORD, new_password=new)
    with pytest.raises(Invalid) as refused:
        await people.ask("change_password", caller=me, change=change)
    assert refused.value.errors[0].pointer == "/new_password"
    await people.log_in()


async def test_guessing_ones_way_to_a_change_is_throttled_like_logging_in(people: People) -> None:
    me = await people.person()
    change = PasswordChange(password="wrong password", new_password=NEW)
    for _ in range(5):
        with pytest.raises(WrongPassword):
            await people.ask("change_password", caller=me, change=change)
    with pytest.raises(PasswordThrottled):
        await people.ask("change_password", caller=me, change=change)
    with pytest.raises(PasswordThrottled):
        await people.log_in()


async def test_two_changes_at_once_do_not_both_count(people: People) -> None:
    me = await people.person()
    outcomes = await asyncio.gather(
        *(
            people.ask(
                "change_password",
                caller=me,
                change=PasswordChange(password=PASSWORD, new_password=f"{NEW} {i}"),
            )
            for i in range(3)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(o, WrongPassword) for o in outcomes) == 2


# Resetting


async def test_a_reset_ends_every_session_and_proves_the_address(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    await people.work()
    await request_reset(people)
    assert await people.work() == ["start_reset", "send_token"]
    token = token_in((await people.mail.sent())[-1])
    reset = PasswordReset(token=token, password=NEW)
    await people.ask("reset_password", reset=reset)
    with pytest.raises(Unauthenticated):
        await people.caller(tokens)
    fresh = await people.log_in(EMAIL, NEW)
    assert fresh.user.email_verified
    with pytest.raises(BadMailToken):
        await people.ask("reset_password", reset=reset)


async def test_a_token_resets_once_also_when_used_twice_at_once(people: People) -> None:
    await people.sign_up()
    await people.work()
    await request_reset(people)
    token = await people.mailed_token()
    outcomes = await asyncio.gather(
        *(
            people.ask("reset_password", reset=PasswordReset(token=token, password=f"{NEW} {i}"))
            for i in range(4)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(o, BadMailToken) for o in outcomes) == 3


async def test_a_token_read_before_another_used_it_is_still_used_up(people: People) -> None:
    await people.sign_up()
    await people.work()
    await request_reset(people)
    token = await people.mailed_token()

    async def meanwhile() -> None:
        reset = PasswordReset(token=token, password=NEW)
        await people.ask("reset_password", reset=reset)

    operation = service.operations["users.reset_password"]
    call = people.runtime.dispatcher.call(ANONYMOUS, request_id="r")
    call.reader = Interrupted(call.reader, "users.mail_token_by_hash", meanwhile)
    late = PasswordReset(token=token, password="twelve yellow elephants")
    with pytest.raises(BadMailToken):
        await people.runtime.dispatcher.run(operation, call, {"reset": late})
    await people.log_in(EMAIL, NEW)


async def test_a_weak_password_does_not_use_the_token_up(people: People) -> None:
    await people.sign_up()
    await people.work()
    await request_reset(people)
    token = await people.mailed_token()
    with pytest.raises(Invalid):
        await people.ask("reset_password", reset=PasswordReset(token=token, password="password1"))
    await people.ask("reset_password", reset=PasswordReset(token=token, password=NEW))


async def test_a_reset_expires_and_is_no_verification(people: People) -> None:
    await people.sign_up()
    verification = await people.mailed_token()
    await request_reset(people)
    token = await people.mailed_token()
    people.clock.move(UsersSettings().reset_token_s)
    for bad in (verification, token, "", "x"):
        with pytest.raises(BadMailToken):
            await people.ask("reset_password", reset=PasswordReset(token=bad, password=NEW))


async def test_a_changed_password_or_address_ends_open_resets(people: People) -> None:
    me = await people.person()
    await people.work()
    await request_reset(people)
    token = await people.mailed_token()
    change = PasswordChange(password=PASSWORD, new_password=NEW)
    await people.ask("change_password", caller=me, change=change)
    with pytest.raises(BadMailToken):
        await people.ask("reset_password", reset=PasswordReset(token=token, password=NEW))
    people.clock.move(61)
    await request_reset(people)
    token = await people.mailed_token()
    moved = EmailChange(email="new@example.com", password=NEW)
    await people.ask("change_email", caller=me, change=moved)
    proof = EmailProof(token=await people.mailed_token())
    await people.ask("verify_email", given=proof)
    with pytest.raises(BadMailToken):
        await people.ask("reset_password", reset=PasswordReset(token=token, password=NEW))


async def test_an_outsider_cannot_tell_who_has_an_account(people: People) -> None:
    await people.sign_up()
    await people.work()
    answers = []
    for email in (EMAIL, "nobody@example.com"):
        request = ResetRequest(email=email)
        outcome = await people.ask("request_password_reset", request=request)
        answers.append((outcome.status, outcome.body, outcome.headers))
    assert answers == [(202, b"", ())] * 2
    assert await people.work() == ["start_reset", "start_reset", "send_token"]
    assert len(await people.mail.sent()) == 2


async def test_nobodys_mailbox_is_flooded(people: People) -> None:
    await people.sign_up()
    await people.work()
    for _ in range(5):
        await request_reset(people)
    assert await people.work() == ["start_reset", "send_token"]
    await request_reset(people)
    assert await people.work() == ["start_reset"]
    people.clock.move(60)
    await request_reset(people)
    assert await people.work() == ["start_reset", "send_token"]


async def test_jobs_hold_neither_address_nor_token(people: People) -> None:
    await people.sign_up()
    await request_reset(people)
    waiting = "".join(await people.all(ALL_JOB_ARGS))
    token = await people.mailed_token()
    assert EMAIL not in waiting
    assert token not in waiting


async def test_a_reset_frees_an_account_that_waits(people: People) -> None:
    await people.sign_up()
    await people.work()
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    await request_reset(people)
    token = await people.mailed_token()
    await people.ask("reset_password", reset=PasswordReset(token=token, password=NEW))
    await people.log_in(EMAIL, NEW)


async def test_links_lead_to_the_product(people: People) -> None:
    settings = UsersSettings(product="Shop", reset_url="https://shop.example/reset#{token}")
    people.runtime.resources[MailTemplates] = MailTemplates(settings)
    await people.sign_up()
    await request_reset(people)
    await people.work()
    mail = (await people.mail.sent())[-1]
    assert mail.subject == "Shop: reset your password"
    assert "https://shop.example/reset#" in mail.text
    with pytest.raises(ValueError, match="token"):
        UsersSettings(reset_url="https://shop.example/reset")


async def test_workers_mail_what_a_sign_up_staged(people: People) -> None:
    await people.runtime.start()
    try:
        await people.sign_up()
        message = await asyncio.wait_for(people.mail.arrived.get(), timeout=DEADLINE_S)
    finally:
        await people.runtime.stop(1.0)
    assert message.to == EMAIL
    assert message.id.startswith("mtok_")

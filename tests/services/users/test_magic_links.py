"""Logging in by mail: a link or a code, once, and nothing for who has no account."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from mainspring.kernel.errors import Invalid, Unauthenticated
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.api.errors import (
    BadMailToken,
    LogInLinksOff,
    LogInThrottled,
    WrongCredentials,
    WrongLogInCode,
)
from mainspring.services.users.api.structs import LogInAsked, LogInProof, LogInWish, Tokens
from tests.services.users.people import EMAIL, WAITING, People, token_in


@pytest.fixture(autouse=True)
def on(people: People) -> Iterator[None]:
    resources = people.runtime.resources
    before = resources[UsersSettings]
    resources[UsersSettings] = UsersSettings(log_in_links=True)
    yield
    resources[UsersSettings] = before


async def asks(people: People, email: str = EMAIL) -> str:
    outcome = await people.ask("magic_session", wish=LogInWish(email=email))
    asked: LogInAsked = outcome.value
    assert (outcome.status, asked.expires_in) == (202, 900)
    return asked.request


async def code_of(people: People) -> str:
    await people.work()
    found = re.search(r"code ([0-9]{6}) where", (await people.mail.sent())[-1].text)
    assert found is not None
    return found[1]


async def redeem(people: People, **proof: str) -> Tokens:
    tokens: Tokens = (await people.ask("redeem_log_in", proof=LogInProof(**proof))).value
    return tokens


def other(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


async def test_a_code_logs_in_where_it_was_asked_for_and_once(people: People) -> None:
    user = await people.sign_up()
    await people.verify()
    request = await asks(people)
    code = await code_of(people)
    tokens = await redeem(people, request=request, code=code)
    assert (await people.caller(tokens)).id == user.id
    with pytest.raises(BadMailToken):
        await redeem(people, request=request, code=code)
    assert "users.session.created" in await people.events()


async def test_a_link_logs_in_anywhere_once_and_ends_the_code(people: People) -> None:
    await people.sign_up()
    await people.verify()
    request = await asks(people)
    code = await code_of(people)
    link = token_in((await people.mail.sent())[-1])
    await redeem(people, token=link)
    with pytest.raises(BadMailToken):
        await redeem(people, token=link)
    with pytest.raises(WrongLogInCode):
        await redeem(people, request=request, code=code)


async def test_two_at_once_with_one_code_are_one_log_in(people: People) -> None:
    await people.sign_up()
    await people.verify()
    request = await asks(people)
    code = await code_of(people)
    both = (redeem(people, request=request, code=code) for _ in range(2))
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(answer, Tokens) for answer in answers) == 1


async def test_the_code_is_nothing_to_another_browser(people: People) -> None:
    await people.sign_up()
    await people.verify()
    theirs = await asks(people)
    code = await code_of(people)
    mine = await asks(people)  # too soon for another mail
    with pytest.raises(WrongLogInCode):
        await redeem(people, request=mine, code=code)
    await redeem(people, request=theirs, code=code)


async def test_both_end_after_a_quarter_of_an_hour(people: People) -> None:
    await people.sign_up()
    await people.verify()
    request = await asks(people)
    code = await code_of(people)
    link = token_in((await people.mail.sent())[-1])
    people.clock.move(900)
    for proof in ({"token": link}, {"request": request, "code": code}):
        with pytest.raises(BadMailToken):
            await redeem(people, **proof)


async def test_the_answer_does_not_tell_who_has_an_account(people: People) -> None:
    await people.sign_up()
    await people.work()
    sent = len(await people.mail.sent())
    known, unknown = await asks(people), await asks(people, "nobody@example.com")
    assert len(known) == len(unknown)
    assert len(await people.all(WAITING)) == 2  # the same is written
    await people.work()
    assert len(await people.mail.sent()) == sent + 1
    for request in (known, unknown):
        for _ in range(5):
            with pytest.raises(WrongLogInCode):
                await redeem(people, request=request, code="000000")
        with pytest.raises(LogInThrottled):
            await redeem(people, request=request, code="000000")


async def test_guesses_are_bounded_over_all_requests_and_passwords_go_on(people: People) -> None:
    await people.sign_up()
    await people.verify()
    right_request = await asks(people)
    code = await code_of(people)
    for _ in range(5):
        with pytest.raises(WrongLogInCode):
            await redeem(people, request=await asks(people), code=other(code))
    with pytest.raises(LogInThrottled):
        await redeem(people, request=right_request, code=code)
    await people.log_in()
    link = token_in((await people.mail.sent())[-1])
    await redeem(people, token=link)


async def test_a_proved_address_shuts_out_who_signed_up_with_it_before(people: People) -> None:
    await people.sign_up()  # by somebody else, who knows the password
    theirs = await people.log_in()
    await asks(people)
    await people.work()
    tokens = await redeem(people, token=token_in((await people.mail.sent())[-1]))
    assert tokens.user.email_verified
    with pytest.raises(Unauthenticated):
        await people.caller(theirs)
    with pytest.raises(WrongCredentials):
        await people.log_in()
    await people.caller(tokens)


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"code": "123456"},
        {"request": "mst_x"},
        {"token": "x", "request": "x", "code": "123456"},
    ],
)
async def test_half_a_proof_is_refused(people: People, proof: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        await redeem(people, **proof)


async def test_other_tokens_do_not_log_in(people: People) -> None:
    await people.sign_up()
    with pytest.raises(BadMailToken):
        await redeem(people, token=await people.mailed_token())


async def test_it_is_off_unless_settings_say_so(people: People) -> None:
    people.runtime.resources[UsersSettings] = UsersSettings()
    with pytest.raises(LogInLinksOff):
        await asks(people)
    with pytest.raises(LogInLinksOff):
        await redeem(people, token="x")

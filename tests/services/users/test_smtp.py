"""Mails of users on their way to a real SMTP server: refused, put off, repeated, bounded."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mainspring.adapters.mail import smtp
from mainspring.kernel.call import SYSTEM
from mainspring.ports.mail import Mail
from mainspring.services.users import service
from mainspring.services.users.api import MailBounced, UsersSettings, send_token
from mainspring.services.users.api.errors import MailThrottled
from mainspring.services.users.api.structs import NewUser, ResetRequest
from mainspring.testing import Platform
from tests.services.users.people import EMAIL, PASSWORD, People
from tests.smtp_server import SECRET, SENDER, SmtpServer

NEW = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SmtpServer]:
    async with SmtpServer(tmp_path) as server:
        yield server


@pytest.fixture
async def platform(
    platform_server: str | None, server: SmtpServer, seed: int
) -> AsyncIterator[Platform]:
    place = f"shop:{quote(SECRET, safe='')}@127.0.0.1:{server.port}"
    mail = smtp.open(f"smtp+starttls://{place}?from={quote(SENDER)}&ca={server.ca}")
    async with Platform(database=platform_server, seed=seed, ports={Mail: mail}) as platform:
        yield platform


async def sign_up(platform: Platform) -> None:
    answer = await platform.anonymous.post("/v1/users", NEW)
    assert answer.status == 201


async def test_the_mail_of_a_sign_up_proves_the_address(
    platform: Platform, server: SmtpServer
) -> None:
    await sign_up(platform)
    await platform.drain()
    (found,) = await server.sent()
    assert found.to == EMAIL
    token = next(line for line in found.text.splitlines() if len(line) == 43)
    proof = await platform.anonymous.post("/v1/users:verify_email", {"token": token})
    assert proof.status == 204
    assert server.encrypted == [True]


async def test_what_is_put_off_is_tried_again_later(platform: Platform, server: SmtpServer) -> None:
    server.replies = {"RCPT": ["451 4.7.1 greylisted", "421 4.3.2 going down"]}
    await sign_up(platform)
    await platform.drain(failing=[send_token])
    assert server.mail == []
    await platform.pass_time(minutes=1, failing=[send_token])
    assert len(server.mail) == 1


async def test_what_is_refused_is_a_dead_letter_that_says_why(
    platform: Platform, server: SmtpServer
) -> None:
    server.replies = {"RCPT": ["550 5.1.1 <ann@example.com>: no such user"]}
    await sign_up(platform)
    await platform.drain(failing=[send_token])
    await platform.pass_time(hours=2)
    assert server.mail == []
    dead = await platform.admin.get("/v1/queues/mails/dead")
    (letter,) = dead.json["items"]
    assert "550 5.1.1 <<address>>: no such user" in letter["error"]
    (event,) = await platform.events("users.mail.bounced")
    assert event.read(MailBounced).purpose == "verify_email"
    assert "ann@" not in str(event)


async def test_a_crash_between_sending_and_saying_so_repeats_the_same_mail(
    platform: Platform, server: SmtpServer
) -> None:
    await sign_up(platform)
    (job,) = [job for job in await platform.jobs() if job.name == send_token.name]
    call = platform.app.runtime.dispatcher.call(SYSTEM, request_id=job.id)
    await service.jobs[job.name](call, **job.args)  # sent; and nothing of it is committed
    await platform.drain()
    first, second = server.mail
    assert first["Message-ID"] == second["Message-ID"]


# Bounds


async def test_an_address_gets_so_many_mails_a_day(people: People) -> None:
    most = people.runtime.resources[UsersSettings].mails_per_address_day
    await people.sign_up()
    me = await people.caller(await people.log_in())
    for _ in range(23):
        people.clock.move(3_600)
        await people.ask("send_verification", caller=me)
        await people.ask("request_password_reset", request=ResetRequest(email=EMAIL))
        await people.sign_up()
        await people.work()
    assert len(await people.mail.sent()) == most
    people.clock.move(2 * 3_600)
    await people.ask("send_verification", caller=me)
    await people.work()
    assert len(await people.mail.sent()) == most + 1


async def test_one_caller_has_so_many_mails_sent_an_hour(people: People) -> None:
    settings = people.runtime.resources[UsersSettings]
    few = UsersSettings(mails_per_caller_hour=3)
    people.runtime.resources[UsersSettings] = few
    try:
        await people.sign_up()
        # Known or not, it counts alike.
        for email in (EMAIL, "nobody@example.com"):
            await people.ask("request_password_reset", request=ResetRequest(email=email))
        for email in (EMAIL, "nobody@example.com"):
            with pytest.raises(MailThrottled) as refused:
                await people.ask("request_password_reset", request=ResetRequest(email=email))
            assert refused.value.retry_after_s == 3_600
            with pytest.raises(MailThrottled):
                await people.sign_up(email)
        new = NewUser(email="staff@example.com", password=PASSWORD)
        await people.ask("create_user", caller=SYSTEM, new=new)
        people.clock.move(3_600)
        await people.sign_up("bob@example.com")
    finally:
        people.runtime.resources[UsersSettings] = settings

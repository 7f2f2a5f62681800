"""SMTP against a real server over real sockets: encryption, refusals, repeats, what goes out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mainspring.adapters.mail.smtp import SmtpMail, composed, server_of
from mainspring.adapters.mail.smtp import open as open_smtp
from mainspring.ports.database import StartError
from mainspring.ports.mail import MailError, MailMessage, MailRefused
from tests.smtp_server import SECRET, SENDER, USER, SmtpServer

HELLO = MailMessage("mtok_1", "ann@example.org", "Hello", "Hello,\nAnn\n")


def mail_to(
    server: SmtpServer, *, way: str = "", secret: str = SECRET, ca: str | None = None
) -> SmtpMail:
    way = way or server.way
    place = f"{USER}:{quote(secret, safe='')}@{server.host}:{server.port}"
    if way == "smtp+plain":
        place = f"{server.host}:{server.port}"
    trusted = str(server.ca) if ca is None else ca
    return open_smtp(f"{way}://{place}?from={quote(SENDER)}&ca={trusted}")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SmtpServer]:
    async with SmtpServer(tmp_path) as server:
        yield server


@pytest.mark.parametrize("way", ["smtp+starttls", "smtps", "smtp+plain"])
async def test_what_is_sent_arrives_encrypted_unless_the_url_says_plain(
    way: str, tmp_path: Path
) -> None:
    async with SmtpServer(tmp_path, way) as server:
        await mail_to(server).send(HELLO)
        (found,) = server.mail
        assert (found["From"], found["To"]) == (SENDER, "ann@example.org")
        assert found["Message-ID"] == "<mtok_1@example.com>"
        assert found["Auto-Submitted"] == "auto-generated"
        assert server.encrypted == [way != "smtp+plain"]
        assert server.logins == (way != "smtp+plain")


async def test_no_password_goes_to_a_server_nobody_vouches_for(server: SmtpServer) -> None:
    with pytest.raises(MailError, match="certificate"):
        await mail_to(server, ca="").send(HELLO)
    assert (server.logins, server.mail) == (0, [])


async def test_no_password_goes_to_a_server_that_cannot_encrypt(tmp_path: Path) -> None:
    async with SmtpServer(tmp_path, "smtp+plain") as server:
        with pytest.raises(MailError):  # or somebody in between took out that it can
            await mail_to(server, way="smtp+starttls").send(HELLO)
        assert (server.logins, server.mail) == (0, [])


async def test_a_wrong_password_is_worth_another_try_and_is_not_shown(server: SmtpServer) -> None:
    with pytest.raises(MailError, match="535") as caught:
        await mail_to(server, secret="guessed-wrong").send(HELLO)
    assert not isinstance(caught.value, MailRefused)
    assert "guessed-wrong" not in str(caught.value)


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
async def test_5xx_is_final_and_4xx_is_not_and_neither_names_the_address(
    server: SmtpServer, command: str
) -> None:
    mail = mail_to(server)
    server.replies = {command: ["550 5.1.1 <Ann@example.org> is unknown", "451 4.7.1 later"]}
    with pytest.raises(MailRefused) as refused:
        await mail.send(HELLO)
    assert str(refused.value) == "550 5.1.1 <<address>> is unknown"
    with pytest.raises(MailError, match=r"451 4\.7\.1 later") as put_off:
        await mail.send(HELLO)
    assert not isinstance(put_off.value, MailRefused)
    await mail.send(HELLO)
    assert len(server.mail) == 1


async def test_a_repeat_after_a_lost_answer_bears_the_same_id(server: SmtpServer) -> None:
    mail = mail_to(server)
    server.loses_answers = 1
    with pytest.raises(MailError):
        await mail.send(HELLO)
    await mail.send(HELLO)
    assert [found["Message-ID"] for found in server.mail] == ["<mtok_1@example.com>"] * 2


async def test_a_server_that_is_not_there_or_silent_is_a_mail_error(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.adapters.mail.smtp.SEND_S", 0.05)
    held: list[object] = []  # Python 3.13 closes what nobody holds
    silent = await asyncio.start_server(lambda *ends: held.append(ends), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    quiet = open_smtp(f"smtp+plain://127.0.0.1:{port}?from=a@example.com")
    with pytest.raises(MailError, match=f"127.0.0.1:{port}: did not answer in time"):
        await quiet.send(HELLO)
    held.clear()
    silent.close()
    with pytest.raises(MailError, match=f"127.0.0.1:{port}: "):
        await quiet.check()


async def test_many_at_once_share_a_few_connections(server: SmtpServer) -> None:
    mail = mail_to(server)
    messages = [MailMessage(f"mtok_{n}", "ann@example.org", "Hi", "Hi") for n in range(20)]
    await asyncio.gather(*map(mail.send, messages))
    assert len(server.mail) == 20
    assert 1 < server.connections_most <= 8


@pytest.mark.parametrize("evil", ["Hi\r\nBcc: eve@example.net", "Hi\nX: y", "Hi\0", "Hi\u2028x"])
async def test_nothing_becomes_another_header(server: SmtpServer, evil: str) -> None:
    for message in (
        MailMessage("mtok_1", "ann@example.org", evil, "text"),
        MailMessage("mtok_1", f"ann@example.org{evil[2:]}", "Hi", "text"),
    ):
        with pytest.raises(MailRefused, match="control character"):
            await mail_to(server).send(message)
    assert server.mail == []


async def test_letters_beyond_ascii_arrive_in_subject_name_and_address(server: SmtpServer) -> None:
    await mail_to(server).send(MailMessage("mtok_1", "jürgen@example.org", "Grüße €", "Hi"))
    (found,) = server.mail
    assert (found["Subject"], found["To"]) == ("Grüße €", "jürgen@example.org")


def test_a_repeat_is_the_same_to_the_byte() -> None:
    message = MailMessage("mtok_1", "ann@example.org", "Hi", "text", html="<p>text</p>")
    one, other = (composed(message, SENDER, 1_000).as_bytes() for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("smtps://mail.example.com", "who are mails from"),
        ("smtps://mail.example.com?from=nobody", "who are mails from"),
        ("smtps://mail.example.com?from=a@example.com%0d%0aBcc:b@example.com", "who are mails"),
        ("smtps://?from=a@example.com", "which server"),
        ("smtps://mail.example.com/x?from=a@example.com", "which server"),
        ("smtps://mail.example.com:99999?from=a@example.com", "port"),
        ("smtps://mail.example.com?from=a@example.com&tls=no", "not 'tls'"),
        ("smtps://shop@mail.example.com?from=a@example.com", "shop has no password"),
        ("smtp+plain://shop:secret@mail.example.com?from=a@example.com", "unencrypted"),
        ("smtps://mail.example.com?from=a@example.com&ca=/none.pem", "ca=/none.pem"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_at_the_start(url: str, told: str) -> None:
    with pytest.raises(StartError, match=told) as caught:
        open_smtp(url)
    assert "secret" not in str(caught.value)


def test_each_way_has_its_port() -> None:
    ports = [
        server_of(f"{way}://mail.example.com?from=a@example.com").port
        for way in ("smtp+starttls", "smtps", "smtp+plain")
    ]
    assert ports == [587, 465, 25]

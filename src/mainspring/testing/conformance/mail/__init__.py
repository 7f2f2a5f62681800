"""What every ``Mail`` must do. Run each of ``CHECKS`` with a way to see what was delivered.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_mail(check, tmp_path):
    mail = open(f"sandbox:{tmp_path}")
    await check(mail, mail.sent)
"""

from collections.abc import Awaitable, Callable

import msgspec

from mainspring.ports.mail import Mail, MailMessage

Delivered = Callable[[], Awaitable[list[MailMessage]]]  # what was taken, the oldest first


def _message(number: int, *, person: str = "", text: str = "Hello,\nAnn") -> MailMessage:
    return MailMessage(f"job_{number:03d}", "ann@example.com", f"No. {number}", text, person)


async def _texts(delivered: Delivered) -> list[tuple[str, str, str]]:
    # A mail is made of lines: that the last one has no end is more than it can tell.
    return [(m.to, m.subject, m.text.removesuffix("\n")) for m in await delivered()]


async def check_a_message_arrives_as_it_was_given(mail: Mail, delivered: Delivered) -> None:
    """Once ``send`` returns it was taken; lines and letters are what they were."""
    text = "Gr\u00fc\u00dfe \u20ac \U0001f600\n\n.\nFrom here"
    await mail.send(_message(1, text=text))
    assert await _texts(delivered) == [("ann@example.com", "No. 1", text)]


async def check_html_arrives_beside_the_text(mail: Mail, delivered: Delivered) -> None:
    """Whoever reads it sees either."""
    html = "<p>Gr\u00fc\u00dfe\n.\n<b>Ann</b></p>"
    await mail.send(msgspec.structs.replace(_message(1), html=html))
    (found,) = await delivered()
    assert (found.text.removesuffix("\n"), found.html.removesuffix("\n")) == ("Hello,\nAnn", html)


async def check_it_says_where_messages_go(mail: Mail, delivered: Delivered) -> None:
    """In words for whoever runs the platform; nothing is sent for it."""
    assert await mail.check()
    assert await delivered() == []


async def check_messages_keep_their_order(mail: Mail, delivered: Delivered) -> None:
    """Each of its own, as they were sent."""
    for number in range(12):
        await mail.send(_message(number))
    assert [found[1] for found in await _texts(delivered)] == [f"No. {n}" for n in range(12)]


async def check_the_same_message_may_be_sent_again(mail: Mail, delivered: Delivered) -> None:
    """A job that is repeated sends the same id: whoever sees it twice sees the same twice."""
    for _ in range(2):
        await mail.send(_message(1))
    assert set(await _texts(delivered)) == {("ann@example.com", "No. 1", "Hello,\nAnn")}


async def check_a_person_is_forgotten(mail: Mail, delivered: Delivered) -> None:
    """What is kept here of their mails goes, nobody else's, and repeating it is fine.

    What a receiver has is out of reach.
    """
    for number, person in enumerate(("user_1", "user_2", "user_1", "")):
        await mail.send(_message(number, person=person))
    for _ in range(2):
        await mail.forget("user_1")
        await mail.forget("user_9")
    left = {found.subject for found in await delivered() if found.person}
    assert not left & {"No. 0", "No. 2"}, left
    assert {"No. 1", "No. 3"} <= {found.subject for found in await delivered()}


CHECKS: tuple[Callable[[Mail, Delivered], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)

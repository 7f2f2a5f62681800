"""Mails in the product's own words: filled in, sent, and checked at the start."""

from pathlib import Path
from string import Formatter

import pytest
from msgspec.structs import replace

from mainspring.ports.database import StartError
from mainspring.services.users import mail_templates, mail_texts
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.mail_templates import FilledMail, MailTemplates
from mainspring.services.users.mail_texts import TEXTS
from mainspring.services.users.mailing import NOTICES, Purpose
from mainspring.testing import Platform


def templates(folder: Path, **files: str) -> MailTemplates:
    """Write files by their names, with ``__`` for a dot."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    reset_url = "https://shop.example/{token}"
    settings = UsersSettings(mail_templates=str(folder), product="A & B", reset_url=reset_url)
    return MailTemplates(settings)


def filled(templates: MailTemplates, purpose: Purpose, **changed: str) -> FilledMail:
    return templates.fill(replace(mail_texts.sample(purpose), **changed))


async def test_a_mail_is_sent_in_the_words_of_the_product(tmp_path: Path) -> None:
    (tmp_path / "verify_email.subject.txt").write_text("Welcome to {{ product }}\n")
    (tmp_path / "verify_email.txt").write_text("Hello {{ email }}: {{ token }}")
    (tmp_path / "_frame.html").write_text("<main>{% block body %}{% endblock %}</main>")
    (tmp_path / "verify_email.html").write_text(
        '{% extends "_frame.html" %}{% block body %}{{ product }}{% endblock %}'
    )
    settings = {"users.mail_templates": str(tmp_path), "users.product": "A & B"}
    async with Platform(settings=settings) as platform:
        given = {"email": "ann@example.com", "password": "correct horse battery"}
        (await platform.anonymous.post("/v1/users", given)).expect(201)
        await platform.drain()
        (mail,) = await platform.mails("ann@example.com")
        assert mail.subject == "Welcome to A & B"
        assert mail.text.startswith("Hello ann@example.com: ")
        assert len(mail.text) == len("Hello ann@example.com: ") + 43
        assert mail.html == "<main>A &amp; B</main>"


def test_what_has_no_file_says_what_the_platform_says(tmp_path: Path) -> None:
    own = filled(
        templates(tmp_path, reset_password__txt="Here: {{ link }}"),
        Purpose.RESET_PASSWORD,
        token="t",
    )
    assert own == FilledMail("A & B: reset your password", "Here: https://shop.example/t", "")
    assert filled(templates(tmp_path), Purpose.LOG_IN).subject == "A & B: log in with 123456"


def test_only_a_reader_of_it_gets_a_token(tmp_path: Path) -> None:
    text = "{{ token }}|{{ code }}|{{ link }}|{{ notice }}"
    kinds = {f"{kind}__txt": text for kind in Purpose}
    found = templates(tmp_path, **kinds)
    shown = {kind: filled(found, kind).text.split("|")[:2] for kind in Purpose}
    with_token = {kind for kind, (token, _) in shown.items() if token}
    assert with_token == {
        Purpose.VERIFY_EMAIL, Purpose.CHANGE_EMAIL, Purpose.RESET_PASSWORD, Purpose.LOG_IN,
        Purpose.ADDRESS_CHANGED, Purpose.INVITATION,
    }  # fmt: skip
    assert {kind for kind, (_, code) in shown.items() if code} == {Purpose.LOG_IN}


def test_what_a_client_says_of_itself_is_no_markup_and_no_header(tmp_path: Path) -> None:
    found = templates(
        tmp_path, new_device__html="<p>{{ about }}</p>", new_device__subject__txt="{{ about }}"
    )
    mail = filled(found, Purpose.NEW_DEVICE, about="<b>x</b>\r\nBcc: eve@example.com" + "x" * 300)
    assert mail.html.startswith("<p>&lt;b&gt;x&lt;/b&gt;")
    assert mail.subject.startswith("<b>x</b> Bcc:")
    assert len(mail.subject) == 200


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("welcome.txt", "x", "is of no kind of mail: call it KIND.subject.txt"),
        ("verify_email.md", "x", "is of no kind of mail"),
        ("verify_email.txt", "{{ tokn }}", "nobody gives it 'tokn'; there are about, code"),
        ("verify_email.txt", "{% if code %}{{ tokn }}{% endif %}", "nobody gives it 'tokn'"),
        ("verify_email.de_AT.txt", "x", "is of no kind of mail"),
        ("verify_email.de-at.txt", "x", "or KIND.de-AT.txt in a language"),
        ("verify_email.fr.subject.txt", "x", "verify_email.fr.txt is missing: the platform has no"),
        ("verify_email.de.txt", "{{ tokn }}", "nobody gives it 'tokn'"),
        (
            "verify_email.de.txt",
            "{% if locale == 'de' %}{{ 1 / 0 }}{% endif %}",
            "division by zero",
        ),
        ("_part.txt", "{{ password }}", "nobody gives it 'password'"),
        ("verify_email.txt", "a\n{% if %}", r"verify_email.txt:2: "),
        ("verify_email.html", '{% include "_none.html" %}', "_none.html"),
        ("verify_email.txt", "{{ token.__class__.__mro__ }}", "unsafe"),
        ("verify_email.txt", "{{ 1 / 0 }}", "division by zero"),
        ("verify_email.txt", "{{ token.nothing }}", "no attribute"),
        ("verify_email.txt", "{{ 'x' * 600000 }}", "makes more than 524,288 characters"),
        ("verify_email.txt", "{% for i in range(10**9) %}x{% endfor %}", "too big"),
        ("verify_email.txt", "x" * 300_000, "has more than 262,144 bytes"),
    ],
)
def test_a_template_that_does_not_hold_stops_the_start(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StartError, match=says):
        MailTemplates(UsersSettings(mail_templates=str(tmp_path)))


def test_a_folder_that_does_not_hold_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StartError, match=r"cannot read .*nowhere"):
        MailTemplates(UsersSettings(mail_templates=str(tmp_path / "nowhere")))
    (tmp_path / "verify_email.txt").write_bytes(b"\xff")
    with pytest.raises(StartError, match="not UTF-8"):
        MailTemplates(UsersSettings(mail_templates=str(tmp_path)))
    monkeypatch.setattr(mail_templates, "FILES_MAX", 0)
    with pytest.raises(StartError, match="more than 0 files"):
        MailTemplates(UsersSettings(mail_templates=str(tmp_path)))


def test_a_mail_is_all_in_the_language_of_its_reader(tmp_path: Path) -> None:
    found = templates(
        tmp_path,
        log_in__subject__txt="{{ language }}, any",
        log_in__de__txt="{{ locale }}, {{ holds }}: {{ code }}",
        **{"log_in__fr-CA__subject__txt": "Québec", "log_in__fr-CA__txt": "{{ code }}"},
        new_device__html="{{ notice }}",
    )

    def mailed(purpose: Purpose, locale: str) -> tuple[str, str]:
        mail = filled(found, purpose, locale=locale)
        return mail.subject, mail.html or mail.text.partition("\n")[0]

    english = "Type the code 123456 where you asked for it, or log in with this token:"
    assert mailed(Purpose.LOG_IN, "de-AT") == (
        "A & B: Anmelden mit 123456", "de-AT, 15 Min.: 123456",
    )  # fmt: skip
    assert mailed(Purpose.LOG_IN, "fr-CA") == ("Québec", "123456")
    for other in ("fr", "en-GB", ""):  # the product's own words before the platform's in a language
        assert mailed(Purpose.LOG_IN, other) == ("en, any", english)
    # A page without a language is the product's English: the notice on it is, too.
    assert mailed(Purpose.NEW_DEVICE, "de")[1].startswith("somebody logged in")
    german = "A & B: Jemand hat sich von einem bisher unbekannten Gerät angemeldet"
    bare = MailTemplates(UsersSettings(product="A & B", locale="de"))
    assert filled(bare, Purpose.NEW_DEVICE).subject == german
    assert filled(bare, Purpose.NEW_DEVICE, locale="en").subject.startswith("A & B: somebody")


def test_the_platform_says_the_same_in_every_language() -> None:
    english = TEXTS["en"]
    for texts in TEXTS.values():
        assert set(texts.notices) == NOTICES
        assert set(texts.mails) == set(english.mails)
        assert {*texts.mails, *NOTICES} == set(Purpose)
        for kind in (*texts.mails, None):
            here = texts.notice if kind is None else texts.mails[kind]
            there = english.notice if kind is None else english.mails[kind]
            assert [_names(text) for text in here] == [_names(text) for text in there], kind
        assert {*map(_names, (texts.days, texts.hours, texts.minutes))} == {"n"}


def _names(text: str) -> str:
    return " ".join(sorted({name for _, name, _, _ in Formatter().parse(text) if name}))


async def test_people_are_written_to_in_the_language_they_said(platform_server: str | None) -> None:
    async with Platform(database=platform_server) as platform:
        given = {"email": "ann@example.com", "password": "correct horse battery staple"}
        guessed = {"Accept-Language": "fr;q=0.5, de-at, en;q=0.7"}
        user = (await platform.anonymous.post("/v1/users", given, headers=guessed)).expect(201)
        assert user["locale"] == "de-AT"
        ann = await platform.as_user("ann@example.com")
        await platform.drain()
        assert (await platform.mails())[-1].subject == "Mainspring: E-Mail-Adresse bestätigen"
        wrong = (await ann.patch("/v1/users/me", {"locale": "german"})).expect(422)
        assert wrong["errors"][0]["pointer"] == "/locale"
        changed = (await ann.patch("/v1/users/me", {"locale": "EN-gb"})).expect(200)
        assert changed["locale"] == "en-GB"
        platform.clock.move(3_600)
        (await ann.post("/v1/users/me:send_verification")).expect(202)
        await platform.drain()
        assert (await platform.mails())[-1].subject == "Mainspring: confirm your e-mail address"
        assert (await ann.patch("/v1/users/me", {"locale": None})).expect(200)["locale"] is None
        made = {**given, "email": "bert@example.com"}  # by an administrator, whose browser it is
        made_here = await platform.admin.post("/v1/users", made, headers=guessed)
        assert made_here.expect(201)["locale"] is None

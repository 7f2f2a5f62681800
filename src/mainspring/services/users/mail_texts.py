"""What mails say in the platform's own words, in each language that it knows.

To add a language, write all of it here: a test compares what each language has and names.
"""

from collections.abc import Mapping

import msgspec

from mainspring.kernel.language_tag import wider
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.mailing import NOTICES, Purpose, life_s

FALLBACK = "en"


class MailTexts(msgspec.Struct, frozen=True):
    """The words of one language. ``mails`` and ``notice`` are a subject and a text each.

    ``{how}`` is ``by_link`` or ``by_token``, ``{target}`` the link or token itself.
    """

    notices: Mapping[Purpose, str]  # what was done to an account, by whoever it was
    notice: tuple[str, str]
    mails: Mapping[Purpose, tuple[str, str]]
    by_link: str
    by_token: str
    days: str
    hours: str
    minutes: str


class MailMatter(msgspec.Struct, frozen=True):
    """What a mail is about. ``locale`` is its reader's, empty where nobody knows it."""

    purpose: Purpose
    email: str
    locale: str = ""
    token: str = ""
    code: str = ""
    about: str = ""


class MailWords(msgspec.Struct, frozen=True):
    """What a mail can say, and what templates are given.

    ``notice`` is what was done to an account, ``about`` from where, or the organisation that
    somebody is invited into, ``link`` the page of the product that takes the ``token``; each is
    empty in mails that have none. ``holds`` is how long the token does, ``language`` that of
    ``notice`` and ``holds``, ``locale`` the reader's own.
    """

    kind: str
    product: str
    email: str
    notice: str
    about: str
    token: str
    link: str
    code: str
    holds: str
    language: str
    locale: str


_ONCE = (
    "\n\n{target}\n\nIt holds for {holds} and can be used once. If you did not ask for this, ignore"
    " this mail.\n"
)
_CONFIRM = (
    "{product}: confirm your e-mail address",
    "Confirm that this address is yours {how}:" + _ONCE,
)
EN = MailTexts(
    notices={
        Purpose.ADDRESS_CHANGED: "the address of your account was changed",
        Purpose.ADDRESS_REPLACED: "an administrator changed the address of your account",
        Purpose.PASSWORD_CHANGED: "your password was changed",
        Purpose.API_KEY_CREATED: "an API key was made for your account",
        Purpose.SESSIONS_ENDED: "you were logged out everywhere",
        Purpose.NEW_DEVICE: "somebody logged in from a device that was not seen before",
        Purpose.IMPERSONATED: "somebody who runs this acts in your account for a time",
        Purpose.FACTOR_ADDED: "a passkey or authenticator app was added to your account",
        Purpose.FACTOR_REMOVED: "a passkey or authenticator app was removed from your account",
        Purpose.PASSKEY_REFUSED: (
            "a passkey of your account was refused, as there may be a copy of it"
        ),
    },
    notice=(
        "{product}: {notice}",
        "{what}. If it was not you, ask for another password at once: that ends every session"
        " and API key.\n",
    ),
    mails={
        Purpose.VERIFY_EMAIL: _CONFIRM,
        Purpose.CHANGE_EMAIL: _CONFIRM,
        Purpose.RESET_PASSWORD: (
            "{product}: reset your password",
            "Choose a new password {how}:" + _ONCE,
        ),
        Purpose.LOG_IN: (
            "{product}: log in with {code}",
            "Type the code {code} where you asked for it, or log in {how}:" + _ONCE,
        ),
        Purpose.ADDRESS_CHANGED: (
            "{product}: {notice}",
            "Mails go to another address from now on. If it was not you, take your account back"
            " {how}:\n\n{target}\n\nIt holds for {holds} and can be used once. If it was you,"
            " ignore this mail.\n",
        ),
        Purpose.ADDRESS_TAKEN: (
            "{product}: you have an account already",
            "Somebody, perhaps you, gave this address for an account. It has one already: log in"
            " with it, or ask for another password. If it was not you, ignore this mail.\n",
        ),
        Purpose.INVITATION: (
            "{product}: you are invited",
            "Somebody invites you to the organisation “{about}” at {product}. Log in, or sign up,"
            " with this address, and accept {how}:\n\n{target}\n\nIt holds for {holds} and can be"
            " used once. If you expect no invitation, ignore this mail.\n",
        ),
        Purpose.IMPERSONATED: (
            "{product}: {notice}",
            "An administrator looks at your account as you see it, or helps you in it. Who does,"
            " why and until when stands in the events of your account. To end it, log out"
            " everywhere.\n",
        ),
    },
    by_link="with this link",
    by_token="with this token",  # noqa: S106
    days="{n} days",
    hours="{n} h",
    minutes="{n} min",
)

_NUR_EINMAL = (
    "\n\n{target}\n\nDas gilt {holds} lang und nur einmal. Wenn Sie nicht darum gebeten haben,"
    " ignorieren Sie diese E-Mail.\n"
)
_BESTAETIGEN = (
    "{product}: E-Mail-Adresse bestätigen",
    "Bestätigen Sie {how}, dass diese Adresse Ihnen gehört:" + _NUR_EINMAL,
)
DE = MailTexts(
    notices={
        Purpose.ADDRESS_CHANGED: "Die Adresse Ihres Kontos wurde geändert",
        Purpose.ADDRESS_REPLACED: "Ein Administrator hat die Adresse Ihres Kontos geändert",
        Purpose.PASSWORD_CHANGED: "Ihr Passwort wurde geändert",
        Purpose.API_KEY_CREATED: "Für Ihr Konto wurde ein API-Schlüssel angelegt",
        Purpose.SESSIONS_ENDED: "Sie wurden überall abgemeldet",
        Purpose.NEW_DEVICE: "Jemand hat sich von einem bisher unbekannten Gerät angemeldet",
        Purpose.IMPERSONATED: "Ein Administrator handelt für eine Weile in Ihrem Konto",
        Purpose.FACTOR_ADDED: (
            "Ihrem Konto wurde ein Passkey oder eine Authenticator-App hinzugefügt"
        ),
        Purpose.FACTOR_REMOVED: (
            "Aus Ihrem Konto wurde ein Passkey oder eine Authenticator-App entfernt"
        ),
        Purpose.PASSKEY_REFUSED: (
            "Ein Passkey Ihres Kontos wurde abgelehnt, weil es vielleicht eine Kopie davon gibt"
        ),
    },
    notice=(
        "{product}: {notice}",
        "{what}. Wenn Sie das nicht waren, fordern Sie sofort ein neues Passwort an: Das beendet"
        " alle Sitzungen und API-Schlüssel.\n",
    ),
    mails={
        Purpose.VERIFY_EMAIL: _BESTAETIGEN,
        Purpose.CHANGE_EMAIL: _BESTAETIGEN,
        Purpose.RESET_PASSWORD: (
            "{product}: Neues Passwort",
            "Wählen Sie {how} ein neues Passwort:" + _NUR_EINMAL,
        ),
        Purpose.LOG_IN: (
            "{product}: Anmelden mit {code}",
            "Geben Sie den Code {code} dort ein, wo Sie ihn angefordert haben, oder melden Sie sich"
            " {how} an:" + _NUR_EINMAL,
        ),
        Purpose.ADDRESS_CHANGED: (
            "{product}: {notice}",
            "E-Mails gehen von jetzt an an eine andere Adresse. Wenn Sie das nicht waren, holen Sie"
            " Ihr Konto {how} zurück:\n\n{target}\n\nDas gilt {holds} lang und nur einmal. Wenn Sie"
            " es waren, ignorieren Sie diese E-Mail.\n",
        ),
        Purpose.ADDRESS_TAKEN: (
            "{product}: Sie haben bereits ein Konto",
            "Jemand, vielleicht Sie selbst, wollte mit dieser Adresse ein Konto anlegen. Sie hat"
            " bereits eines: Melden Sie sich damit an, oder fordern Sie ein neues Passwort an. Wenn"
            " Sie das nicht waren, ignorieren Sie diese E-Mail.\n",
        ),
        Purpose.INVITATION: (
            "{product}: Sie sind eingeladen",
            "Jemand lädt Sie bei {product} in die Organisation „{about}“ ein. Melden Sie sich mit"
            " dieser Adresse an, oder legen Sie mit ihr ein Konto an, und nehmen Sie die Einladung"
            " {how} an:\n\n{target}\n\nDas gilt {holds} lang und nur einmal. Wenn Sie keine"
            " Einladung erwarten, ignorieren Sie diese E-Mail.\n",
        ),
        Purpose.IMPERSONATED: (
            "{product}: {notice}",
            "Ein Administrator sieht Ihr Konto so, wie Sie es sehen, oder hilft Ihnen darin. Wer,"
            " warum und bis wann, steht in den Ereignissen Ihres Kontos. Um das zu beenden, melden"
            " Sie sich überall ab.\n",
        ),
    },
    by_link="mit diesem Link",
    by_token="mit diesem Token",  # noqa: S106
    days="{n} Tage",
    hours="{n} Std.",
    minutes="{n} Min.",
)
TEXTS: Mapping[str, MailTexts] = {"en": EN, "de": DE}


def language_of(*locales: str) -> str:
    """Return the language of the platform's own words for the first of these that it knows."""
    return next((tag for locale in locales for tag in wider(locale) if tag in TEXTS), FALLBACK)


def words(settings: UsersSettings, matter: MailMatter, language: str) -> MailWords:
    """Return what a mail can say: a token and a code only where they are for its reader."""
    purpose, texts = matter.purpose, TEXTS[language]
    shows = purpose is Purpose.ADDRESS_CHANGED or (
        purpose is not Purpose.ADDRESS_TAKEN and purpose not in NOTICES
    )
    url = {
        Purpose.ADDRESS_CHANGED: settings.undo_url,
        Purpose.RESET_PASSWORD: settings.reset_url,
        Purpose.LOG_IN: settings.log_in_url,
        Purpose.INVITATION: settings.invitation_url,
    }.get(purpose, settings.verify_url)
    return MailWords(
        kind=purpose.value,
        product=settings.product,
        email=matter.email,
        notice=texts.notices.get(purpose, ""),
        about=matter.about,
        token=matter.token if shows else "",
        link=url.replace("{token}", matter.token) if shows and url else "",
        code=matter.code if purpose is Purpose.LOG_IN else "",
        holds=_span(texts, life_s(settings, purpose)),
        language=language,
        locale=matter.locale,
    )


def said(given: MailWords) -> tuple[str, str]:
    """Subject and text of a mail in the platform's own words."""
    texts, notice = TEXTS[given.language], given.notice
    subject, text = texts.mails.get(Purpose(given.kind), texts.notice)
    values = {
        **msgspec.structs.asdict(given),
        "what": notice[:1].upper() + notice[1:] + (f": {given.about}" if given.about else ""),
        "how": texts.by_link if given.link else texts.by_token,
        "target": given.link or given.token,
    }
    return subject.format(**values), text.format(**values)


def sample(purpose: Purpose, locale: str = "") -> MailMatter:
    """Return what a mail could be about, to look at."""
    about = {
        Purpose.NEW_DEVICE: "Firefox on Windows, 203.0.113.7",
        Purpose.INVITATION: "Acme",
    }.get(purpose, "")
    return MailMatter(purpose, "ann@example.com", locale, "t" * 43, "123456", about)


def _span(texts: MailTexts, seconds: int) -> str:
    if seconds >= 7 * 86_400:
        return texts.days.format(n=round(seconds / 86_400))
    if seconds >= 3_600:
        return texts.hours.format(n=round(seconds / 3600))
    return texts.minutes.format(n=seconds // 60)

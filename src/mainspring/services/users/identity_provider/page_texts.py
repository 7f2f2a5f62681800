"""What the platform's own pages say, in each language that they are in.

To add a language, write all of it here: a test compares what each language has and names.
"""

from collections.abc import Mapping

import msgspec

from mainspring.kernel.language_tag import wider
from mainspring.services.users.api.errors import WrongCredentials, WrongFactor, WrongPasskey

FALLBACK = "en"


class PageTexts(msgspec.Struct, frozen=True):
    """The words of one language. ``{client}`` is the application, ``{product}`` who runs this."""

    log_in: str
    log_in_to: str
    email: str
    password: str
    at_product: str
    second_factor: str
    code: str
    by_passkey: str
    allow_access: str
    asks: str
    asks_for: str
    allow: str
    deny: str
    log_out: str
    log_out_of: str
    logged_out: str
    close: str
    too_long: str
    throttled: str
    # What people are told a scope is; one of the platform is told by its name.
    scopes: Mapping[str, str]
    # What is wrong with what somebody typed, by the code of the failure.
    wrong: Mapping[str, str]


EN = PageTexts(
    log_in="Log in",
    log_in_to="Log in to {client}",
    email="E-mail address",
    password="Password",  # noqa: S106
    at_product="with your account at {product}",
    second_factor="Second factor",
    code="Code of your authenticator app, or a recovery code",
    by_passkey="Log in with a passkey",
    allow_access="Allow access",
    asks="{client} asks for access",
    asks_for="You are logged in to {product} as {email}. {client}, at {origin}, asks for:",
    allow="Allow",
    deny="Deny",
    log_out="Log out",
    log_out_of="Log out of {product}?",
    logged_out="You are logged out",
    close="You can close this page.",
    too_long="That took too long: log in again.",
    throttled="Too many attempts: wait {seconds} seconds.",
    scopes={
        "openid": "to know which account is yours",
        "profile": "your name",
        "email": "your e-mail address",
        "offline_access": "access that goes on after you have logged out",
    },
    wrong={
        WrongCredentials.code: f"{WrongCredentials.title}.",
        WrongFactor.code: f"{WrongFactor.title}: type the one that the app shows now.",
        WrongPasskey.code: f"{WrongPasskey.title}.",
    },
)
DE = PageTexts(
    log_in="Anmelden",
    log_in_to="Bei {client} anmelden",
    email="E-Mail-Adresse",
    password="Passwort",  # noqa: S106
    at_product="mit Ihrem Konto bei {product}",
    second_factor="Zweiter Faktor",
    code="Code Ihrer Authenticator-App oder ein Wiederherstellungscode",
    by_passkey="Mit einem Passkey anmelden",
    allow_access="Zugriff erlauben",
    asks="{client} bittet um Zugriff",
    asks_for="Sie sind bei {product} als {email} angemeldet. {client}, unter {origin}, bittet um:",
    allow="Erlauben",
    deny="Ablehnen",
    log_out="Abmelden",
    log_out_of="Bei {product} abmelden?",
    logged_out="Sie sind abgemeldet",
    close="Sie können diese Seite schließen.",
    too_long="Das hat zu lange gedauert: Melden Sie sich noch einmal an.",
    throttled="Zu viele Versuche: Warten Sie {seconds} Sekunden.",
    scopes={
        "openid": "das Wissen, welches Konto Ihres ist",
        "profile": "Ihren Namen",
        "email": "Ihre E-Mail-Adresse",
        "offline_access": "Zugriff, auch nachdem Sie sich abgemeldet haben",
    },
    wrong={
        WrongCredentials.code: "E-Mail-Adresse oder Passwort ist falsch.",
        WrongFactor.code: "Der Code ist falsch: Geben Sie den ein, den die App gerade zeigt.",
        WrongPasskey.code: "Der Passkey wurde abgelehnt.",
    },
)
TEXTS: Mapping[str, PageTexts] = {"en": EN, "de": DE}


def language_of(*locales: str) -> str:
    """Return the language of a page for the first of these that there is one in."""
    return next((tag for locale in locales for tag in wider(locale) if tag in TEXTS), FALLBACK)

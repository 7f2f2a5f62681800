"""The service itself: its settings, the scopes it knows and its bounds."""

import re
from importlib.resources import files
from typing import Annotated, Literal

import msgspec

from mainspring import Impersonated, Service
from mainspring.kernel.language_tag import language_tag
from mainspring.kernel.masking import Secret
from mainspring.services.users.api.profiles import PROFILE_FIELDS_MAX, ProfileField
from mainspring.services.users.api.providers import LoginProvider, is_origin, provider
from mainspring.services.users.api.relying_party import relying_party

OWN, READ, WRITE = "users:own", "users:read", "users:write"
IMPERSONATE = "users:impersonate"
API_KEYS_OWN = "api_keys:own"
API_KEYS_READ, API_KEYS_WRITE = "api_keys:read", "api_keys:write"
ROLES_READ, ROLES_WRITE = "roles:read", "roles:write"
OAUTH_CLIENTS_READ, OAUTH_CLIENTS_WRITE = "oauth_clients:read", "oauth_clients:write"
RECOVER = "machine:recover"
DAY_S = 86_400
SESSIONS_MAX = 100  # per user; one more login ends the oldest
API_KEYS_MAX = 200  # per user
PASSKEYS_MAX = 20  # per user
DEVICES_MAX = 100  # per user; one more has the oldest forgotten
RECENT_S = 900  # how long ago who does something dangerous may have proved who they are


class UsersSettings(msgspec.Struct, frozen=True):
    """``[users]``: who may sign up, how long logins last, what mails say.

    ``verify_url``, ``reset_url``, ``log_in_url``, ``undo_url`` and ``invitation_url`` are pages of
    the product; ``{token}`` in them is replaced. Where they are empty, mails show the token itself.
    With ``verify_before_log_in`` an address that was not proved yet logs in like one that has no
    account. ``login`` names the issuers that people may log in with, ``url`` where these reach the
    platform, and ``login_redirects`` the pages of the product that a browser may come back to.
    With ``url`` the platform is an issuer itself, for other applications; ``oauth_log_in_page`` is
    a page of the product that logs people in for these, in the place of the platform's own.
    ``breached_passwords_url`` and ``captcha_url`` are asked before a commit, and ``…_fail`` says
    what holds where they cannot be. ``mail_templates`` is the folder of the product's own mails,
    ``locale`` the language of those who have said none.
    ``passkey_origins`` are the pages that use passkeys, ``passkey_rp_id`` the domain above them.
    ``places`` is a file that says about where an address is. ``profile`` names what people tell of
    themselves beside their name.
    """

    sign_up: bool = True
    verify_before_log_in: bool = False
    access_token_s: Annotated[int, msgspec.Meta(ge=10, le=3_600)] = 900
    session_idle_s: Annotated[int, msgspec.Meta(ge=60)] = 30 * DAY_S
    session_max_s: Annotated[int, msgspec.Meta(ge=60)] = 365 * DAY_S
    verify_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3 * DAY_S
    reset_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3_600
    mail_every_s: Annotated[int, msgspec.Meta(ge=0)] = 60
    mails_per_address_day: Annotated[int, msgspec.Meta(ge=1)] = 30
    mails_per_caller_hour: Annotated[int, msgspec.Meta(ge=1)] = 300
    product: Annotated[str, msgspec.Meta(max_length=100)] = "Mainspring"
    verify_url: str = ""
    reset_url: str = ""
    log_in_links: bool = False
    log_in_token_s: Annotated[int, msgspec.Meta(ge=60, le=3_600)] = 900
    log_in_url: str = ""
    undo_token_s: Annotated[int, msgspec.Meta(ge=60)] = 7 * DAY_S
    undo_url: str = ""
    api_key_life_max_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    invitation_s: Annotated[int, msgspec.Meta(ge=60, le=90 * DAY_S)] = 7 * DAY_S
    invitation_url: str = ""
    mail_templates: str = ""
    locale: str = "en"
    breached_passwords_url: str = ""
    breached_passwords_fail: Literal["open", "closed"] = "open"
    captcha_url: str = ""
    captcha_secret: Annotated[str, Secret] = ""
    captcha_on: tuple[Literal["sign_up", "log_in", "log_in_by_mail", "reset"], ...] = ()
    captcha_after_failures: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    captcha_hostnames: tuple[str, ...] = ()
    captcha_score_min: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    captcha_fail: Literal["open", "closed"] = "closed"
    quiet_notices: tuple[
        Literal["api_key_created", "impersonated", "new_device", "sessions_ended"], ...
    ] = ()
    url: str = ""
    login_redirects: tuple[str, ...] = ()
    login: dict[str, LoginProvider] = msgspec.field(default_factory=dict)
    oauth_log_in_page: str = ""
    oauth_access_token_s: Annotated[int, msgspec.Meta(ge=60, le=DAY_S)] = 900
    oauth_refresh_idle_s: Annotated[int, msgspec.Meta(ge=60)] = 30 * DAY_S
    signing_key_days: Annotated[int, msgspec.Meta(ge=2, le=3_650)] = 90
    passkey_rp_id: str = ""
    passkey_origins: tuple[str, ...] = ()
    places: str = ""
    profile: dict[str, ProfileField] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        relying_party(self.passkey_rp_id, self.passkey_origins)
        if language_tag(self.locale) != self.locale:
            raise ValueError(f"locale is written {language_tag(self.locale)}")
        breached = self.breached_passwords_url
        if breached and not (is_origin(breached) and "{prefix}" in breached):
            raise ValueError("breached_passwords_url is https://…, and holds {prefix}")
        if self.captcha_url and not (is_origin(self.captcha_url) and self.captcha_secret):
            raise ValueError("captcha_url is https://…, and needs captcha_secret")
        for redirect in self.login_redirects:
            if not _is_redirect(redirect):
                raise ValueError("login_redirects are whole URLs of https://, without a #")
        if (self.login or self.url) and not is_origin(self.url):
            raise ValueError("url is where the platform is reached, https://…; login needs it")
        if "?" in self.url or "#" in self.url:
            raise ValueError("url has neither ? nor #: other applications know the platform by it")
        if self.oauth_log_in_page and not (
            is_origin(self.oauth_log_in_page) and "{request}" in self.oauth_log_in_page
        ):
            raise ValueError("oauth_log_in_page begins with https:// and holds {request}")
        for name, settings in self.login.items():
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"login.{name} is not a name: lower case letters, digits and '_'")
            provider(name, settings)
        for name in self.profile:
            if _NAME.fullmatch(name) is None:
                raise ValueError(
                    f"profile.{name} is not a name: lower case letters, digits and '_'"
                )
        if len(self.profile) > PROFILE_FIELDS_MAX:
            raise ValueError(f"profile has more than {PROFILE_FIELDS_MAX} fields")
        for url in (
            self.verify_url, self.reset_url, self.log_in_url, self.undo_url, self.invitation_url,
        ):  # fmt: skip
            if url and (not url.startswith(("https://", "http://")) or "{token}" not in url):
                raise ValueError(
                    "verify_url, reset_url, log_in_url, undo_url and invitation_url must begin "
                    "with http:// or https:// and hold {token}"
                )


_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def _is_redirect(url: str) -> bool:
    """Tell whether a browser may be sent there: a page of the web, or an app by its own scheme."""
    scheme, colon, rest = url.partition(":")
    if "#" in url or "*" in url or not colon or not rest:
        return False
    return is_origin(url) or ("." in scheme and _SCHEME.fullmatch(scheme) is not None)


_SCHEME = re.compile(r"[a-z][a-z0-9.+-]*")  # RFC 8252, 7.1: the app's domain, turned round

service = Service(
    "users",
    doc="Users, their sessions, API keys and roles.",
    migrations=files("mainspring.services.users") / "migrations",
    settings=UsersSettings,
    impersonated=Impersonated.REFUSED,  # an account is its user's: what else goes says so itself
    handlers=(
        "mainspring.services.users.authenticate",
        "mainspring.services.users.issuers",
        "mainspring.services.users.jobs",
        "mainspring.services.users.operations",
        "mainspring.services.users.visibility",
    ),
)

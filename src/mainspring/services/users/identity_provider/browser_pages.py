"""The platform's own pages for a browser: log in, allow, log out, and what went wrong.

Their own room because they are HTML. They work without JavaScript, but for a passkey, load nothing,
and are framed by nobody; every value is escaped.
"""

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mainspring import Call, Failure, Raw
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.identity_provider.authorization_requests import Cookie
from mainspring.services.users.identity_provider.page_texts import FALLBACK, TEXTS

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "mainspring.services.users.identity_provider"
_CSS = (files(_PACKAGE) / "templates" / "page.css").read_text("utf-8")
_CSS_HASH = base64.b64encode(sha256(_CSS.encode()).digest()).decode()
_SCRIPT = (files(_PACKAGE) / "templates" / "passkey.js").read_text("utf-8")
_SCRIPT_HASH = base64.b64encode(sha256(_SCRIPT.encode()).digest()).decode()

LOGIN, FACTOR, CONSENT, LOGOUT = "login.html", "factor.html", "consent.html", "logout.html"


def page(
    call: Call,
    template: str,
    language: str,
    *,
    status: int = 200,
    leads_to: str = "",
    cookies: tuple[Cookie, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
    **values: Any,
) -> Raw:
    """Write a page. ``leads_to`` is the origin that its form may be sent on to.

    Browsers hold a form's redirects to the same rule as the form itself.
    """
    product = call.use(UsersSettings).product
    return _page(
        template, language, status, leads_to, (*cookies, *headers), product=product, **values
    )


def logged_out(call: Call, language: str, cookies: tuple[Cookie, ...] = ()) -> Raw:
    """Write the page that only says so."""
    product, texts = call.use(UsersSettings).product, TEXTS[language]
    return _page(
        "message.html", language, 200, "", cookies,
        product=product, heading=texts.logged_out, detail=texts.close,
    )  # fmt: skip


def tell_in_a_page(failure: Failure) -> Raw:
    """Tell a failure to who looks at a browser: in English, as failures are."""
    status = 400 if failure.status == 422 else failure.status
    return _page(
        "message.html", FALLBACK, status, "", (), product="", heading=failure.title,
        detail=failure.detail,
    )  # fmt: skip


def redirect(location: str, cookies: tuple[Cookie, ...] = ()) -> Raw:
    """Send a browser on with GET, and keep nothing of it."""
    headers = (
        ("Location", location), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"),
    )  # fmt: skip
    return Raw(b"", 303, "text/plain", (*headers, *cookies))


def _page(
    template: str,
    language: str,
    status: int,
    leads_to: str,
    headers: tuple[tuple[str, str], ...],
    **values: Any,
) -> Raw:
    values |= {"css": _CSS, "script": _SCRIPT, "language": language, "t": TEXTS[language]}
    text = _environment().get_template(template).render(**values)
    policy = (
        f"default-src 'none'; style-src 'sha256-{_CSS_HASH}'; base-uri 'none'; "
        f"form-action 'self' {leads_to}; frame-ancestors 'none'"
    )
    if values.get("begins_passkey"):  # this very script, which asks nobody but us
        policy += f"; script-src 'sha256-{_SCRIPT_HASH}'; connect-src 'self'"
    always = (
        ("Content-Security-Policy", policy),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )
    return Raw(text.encode(), status, "text/html; charset=utf-8", (*always, *headers))


@cache
def _environment() -> "Environment":
    """Return what reads templates; most processes never show a page, and do without it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )

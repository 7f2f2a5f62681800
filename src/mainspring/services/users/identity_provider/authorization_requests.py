"""Authorization requests: judged when they come, and carried through our own pages.

Their own room because pages and protocol share them. Between two pages a request is in the hands of
the browser, sealed and bound to it by a cookie: nobody is made to send off somebody else's form,
and a stranger who comes with a request leaves nothing in the database.
"""

import base64
import hmac
import re
from hashlib import sha256
from typing import TypeVar

import msgspec

from mainspring import Call, Entropy, NotFound, OwnCredentials
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, model, store
from mainspring.services.users.api.errors import OAuthRefused, PageRefused
from mainspring.services.users.api.oauth_structs import AskedAuthorization
from mainspring.services.users.identity_provider.relying_parties import is_registered
from mainspring.services.users.store import KnownUser, OAuthClientRow, SessionRow

REQUEST_S = 900  # to log in and decide
STATE_CHARS_MAX = 2_048
NONCE_CHARS_MAX = 512
HINT_CHARS_MAX = 320
MAX_AGE_S_MAX = 315_360_000
NONCE_BYTES = 32

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_AGE = re.compile(r"[0-9]{1,9}", re.ASCII)
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_REQUEST, _SESSION = "users.authorization_request", "users.browser_session"
_HANDED = "users.handed_request"

Cookie = tuple[str, str]
S = TypeVar("S", bound=msgspec.Struct)


class AuthorizationRequest(msgspec.Struct, frozen=True):
    """What a client asks of a user, judged.

    ``fresh_from_ms`` is since when the user must have proved who they are; ``session_id`` is whose
    page this is, once somebody is logged in.
    """

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    nonce: str
    code_challenge: str
    prompts: tuple[str, ...]
    login_hint: str
    fresh_from_ms: int
    session_id: str = ""


class _Carried(msgspec.Struct, frozen=True):
    request: AuthorizationRequest
    browser: bytes
    until_ms: int


class _BrowserSession(msgspec.Struct, frozen=True):
    session_id: str


class Here(msgspec.Struct, frozen=True):
    """Who is logged in with a browser."""

    session: SessionRow
    user: KnownUser


def issuer(call: Call) -> str:
    """Return what the platform is called as an issuer. Raises NotFound where it is none."""
    url = call.use(api.UsersSettings).url.removesuffix("/")
    if not url:
        raise NotFound("[users] url does not say where the platform is reached")
    return url


async def destination(call: Call, client_id: str, redirect_uri: str) -> OAuthClientRow:
    """Return the client that a browser may be sent back to there. Raises PageRefused.

    Until this is known nobody is sent anywhere (RFC 6749, 4.1.2.1).
    """
    issuer(call)
    client = await call.find(store.OAUTH_CLIENT, id=client_id, tenant=call.tenant)
    if client is None:
        raise PageRefused("client_id names no application that is registered here")
    if not redirect_uri:
        raise PageRefused("the application does not say where to go back to: redirect_uri")
    if not is_registered(redirect_uri, client.redirect_uris.split()):
        raise PageRefused("redirect_uri is none that is registered for the application")
    return client


def read_request(
    call: Call, asked: AskedAuthorization, client: OAuthClientRow
) -> AuthorizationRequest:
    """Judge a request whose client and address are known. Raises OAuthRefused."""
    _require_code_flow(asked)
    scopes = tuple(dict.fromkeys(asked.scope.split(" "))) if asked.scope else ()
    if not scopes or not set(scopes) <= set(model.words(client.scopes)):
        raise OAuthRefused.of("invalid_scope", "scope names one or more that the client has")
    if asked.code_challenge_method != "S256" or not _CHALLENGE.fullmatch(asked.code_challenge):
        raise OAuthRefused.of(
            "invalid_request", "PKCE is needed: code_challenge, with code_challenge_method S256"
        )
    for name, limit in (
        ("state", STATE_CHARS_MAX), ("nonce", NONCE_CHARS_MAX), ("login_hint", HINT_CHARS_MAX),
    ):  # fmt: skip
        if len(getattr(asked, name)) > limit:
            raise OAuthRefused.of("invalid_request", f"{name} has at most {limit} characters")
    prompts = tuple(dict.fromkeys(asked.prompt.split()))
    if not _PROMPTS.issuperset(prompts) or ("none" in prompts and len(prompts) > 1):
        raise OAuthRefused.of(
            "invalid_request", "prompt is none alone, or of login, consent and select_account"
        )
    return AuthorizationRequest(
        client.id, asked.redirect_uri, scopes, asked.state, asked.nonce, asked.code_challenge,
        prompts, asked.login_hint, _fresh_from_ms(call, asked, prompts),
    )  # fmt: skip


def _require_code_flow(asked: AskedAuthorization) -> None:
    if asked.request:
        raise OAuthRefused.of("request_not_supported", "send the parameters themselves")
    if asked.request_uri:
        raise OAuthRefused.of("request_uri_not_supported", "send the parameters themselves")
    if not asked.response_type:
        raise OAuthRefused.of("invalid_request", "response_type is missing: it is code")
    if asked.response_type != "code":
        raise OAuthRefused.of("unsupported_response_type", "response_type is code")
    if asked.response_mode not in ("", "query"):
        raise OAuthRefused.of("invalid_request", "response_mode is query")


def _fresh_from_ms(call: Call, asked: AskedAuthorization, prompts: tuple[str, ...]) -> int:
    if {"login", "select_account"} & set(prompts):
        return call.now_ms
    if not asked.max_age:
        return 0
    if _AGE.fullmatch(asked.max_age) is None:
        raise OAuthRefused.of("invalid_request", "max_age is a number of seconds")
    # Who logged in within the very second of max_age=0 has just done so.
    return call.now_ms - min(int(asked.max_age), MAX_AGE_S_MAX) * 1000


# Through the browser


def carry(call: Call, request: AuthorizationRequest, browser: str) -> str:
    """Seal a request for the browser that holds the nonce ``browser``."""
    until_ms = call.now_ms + REQUEST_S * 1000
    carried = _Carried(request, sha256(browser.encode()).digest(), until_ms)
    return _sealed(call, carried, _REQUEST)


def carried(call: Call, text: str, own: OwnCredentials) -> AuthorizationRequest:
    """Return the request that this very browser carries. Raises PageRefused."""
    found = _unsealed(call, text, _REQUEST, _Carried)
    browser = sha256(browser_nonce(call, own).encode()).digest()
    if found is None or found.until_ms <= call.now_ms:
        raise PageRefused("this page is too old: go back to the application and log in from there")
    if not hmac.compare_digest(found.browser, browser):
        raise PageRefused(
            "this page was opened in another browser, or cookies are off: go back to the "
            "application and log in from there"
        )
    return found.request


def hand_over(call: Call, request: AuthorizationRequest) -> str:
    """Seal a request for the product's own page, which sends it on with a user's access token."""
    handed = _Carried(request, b"", call.now_ms + REQUEST_S * 1000)
    return _sealed(call, handed, _HANDED)


def handed_over(call: Call, text: str) -> AuthorizationRequest:
    """Return the request that came to the product's own page. Raises PageRefused."""
    found = _unsealed(call, text, _HANDED, _Carried)
    if found is None or found.until_ms <= call.now_ms:
        raise PageRefused("this request is too old: log in from the application again")
    return found.request


def browser_nonce(call: Call, own: OwnCredentials) -> str:
    """Return the nonce of a browser; empty where it has none."""
    nonce = _cookies(own).get(nonce_cookie(call), "")
    return nonce if _NONCE.fullmatch(nonce) else ""


def new_nonce(call: Call) -> str:
    """Return a nonce for a browser that has none."""
    random = call.use(Entropy).token(NONCE_BYTES)
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


async def who_is_here(call: Call, own: OwnCredentials) -> Here | None:
    """Return who is logged in with a browser, as long as the session is there."""
    cookie = _cookies(own).get(session_cookie(call), "")
    found = _unsealed(call, cookie, _SESSION, _BrowserSession) if cookie else None
    if found is None:
        return None
    session = await call.find(store.SESSION, id=found.session_id, tenant=call.tenant)
    if session is None or session.expires_ms <= call.now_ms:
        return None
    user = await call.find(store.USER, id=session.user_id, tenant=call.tenant)
    return None if user is None else Here(session, user)


def session_value(call: Call, session_id: str) -> str:
    """Return what a browser holds of a session: good for our own pages and nothing else."""
    return _sealed(call, _BrowserSession(session_id), _SESSION)


def nonce_cookie(call: Call) -> str:
    """Name the cookie that binds a page to its browser."""
    return _prefix(call) + "mainspring_browser"


def session_cookie(call: Call) -> str:
    """Name the cookie of whoever is logged in here."""
    return _prefix(call) + "mainspring_session"


def set_cookie(call: Call, name: str, value: str) -> Cookie:
    """Return the header that gives a browser a cookie; an empty value takes it away.

    Lax: it comes with a browser that another site sends here, and never with what that posts.
    """
    secure = "; Secure" if _is_secure(call) else ""
    gone = "" if value else "; Max-Age=0"
    return "Set-Cookie", f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{gone}"


def _prefix(call: Call) -> str:
    # A browser takes __Host- over TLS only; without, the platform is on the user's own machine.
    return "__Host-" if _is_secure(call) else ""


def _is_secure(call: Call) -> bool:
    return issuer(call).startswith("https://")


def _cookies(own: OwnCredentials) -> dict[str, str]:
    # By hand: a cookie of another site of this host, however it looks, takes none of ours away.
    pairs = (part.strip().partition("=") for part in (own.cookie or "").split(";"))
    return {name: value for name, _, value in pairs}


def _sealed(call: Call, what: msgspec.Struct, purpose: str) -> str:
    sealed = call.use(Keyring).seal(msgspec.json.encode(what), purpose=purpose)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _unsealed(call: Call, text: str, purpose: str, shape: type[S]) -> S | None:
    """Return what was sealed here; None for every other text."""
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        plain = call.use(Keyring).unseal(sealed, purpose=purpose)
        return msgspec.json.decode(plain, type=shape)
    except (ValueError, msgspec.DecodeError):  # the latter: of another version of the program
        return None

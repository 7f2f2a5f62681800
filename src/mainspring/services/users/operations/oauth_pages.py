"""Operations of a browser: authorization, log-in, consent and log-out on the platform's own pages.

A log-in goes through the same handlers as that of an app, and so through the one door.
"""

import hmac
from typing import Any, cast

import msgspec

from mainspring import Call, Failure, OwnCredentials, RateLimited, Raw, Rerun, Response, handles
from mainspring.kernel.errors import StepUpRequired
from mainspring.kernel.language_tag import accepted
from mainspring.ports.keyring import Keyring
from mainspring.services.users import access, api, model, passkeys, second_factor, store
from mainspring.services.users.api.errors import (
    ChallengeInvalid,
    ConsentRequired,
    FactorRequired,
    OAuthRefused,
    PageRefused,
    SessionNeeded,
    WrongCredentials,
    WrongFactor,
    WrongPasskey,
)
from mainspring.services.users.api.oauth_structs import (
    AskedAuthorization,
    AskedLogout,
    ConsentForm,
    Decision,
    LoginForm,
    WayBack,
)
from mainspring.services.users.api.structs import Login, PasskeyLogin, SecondStep
from mainspring.services.users.identity_provider import authorization_requests as requests
from mainspring.services.users.identity_provider import browser_pages as pages
from mainspring.services.users.identity_provider import signing_keys
from mainspring.services.users.identity_provider.authorization_requests import (
    AuthorizationRequest,
    Cookie,
    Here,
    issuer,
)
from mainspring.services.users.identity_provider.browser_pages import tell_in_a_page
from mainspring.services.users.identity_provider.grants import (
    CODE_S,
    GrantToken,
    TokenKind,
    write_token,
)
from mainspring.services.users.identity_provider.page_texts import TEXTS, language_of
from mainspring.services.users.identity_provider.relying_parties import (
    is_registered,
    origin_of,
    with_fields,
)
from mainspring.services.users.operations.passkeys import create_passkey_session
from mainspring.services.users.operations.second_factor import complete_session
from mainspring.services.users.operations.sessions import create_session, revoke
from mainspring.services.users.store import (
    OAUTH_CONSENTS,
    OAUTH_GRANTS,
    KnownUser,
    OAuthClientRow,
    OAuthConsentRow,
    OAuthGrantRow,
)

_TYPED = frozenset({second_factor.TOTP, second_factor.RECOVERY_CODE})
_DIGITS = 6  # of a code of an authenticator app; a recovery code is longer


@handles(api.get_authorization, tells=tell_in_a_page)
async def get_authorization(call: Call, query: AskedAuthorization, own: OwnCredentials) -> Raw:
    return await _authorize(call, query, own)


@handles(api.create_authorization, tells=tell_in_a_page)
async def create_authorization(call: Call, query: AskedAuthorization, own: OwnCredentials) -> Raw:
    return await _authorize(call, query, own)


async def _authorize(call: Call, asked: AskedAuthorization, own: OwnCredentials) -> Raw:
    if asked.resume:
        request = requests.carried(call, asked.resume, own)
        client = await requests.destination(call, request.client_id, request.redirect_uri)
        # It was asked for in the page that led here.
        request = msgspec.structs.replace(
            request, prompts=tuple(p for p in request.prompts if p == "consent")
        )
    else:
        client = await requests.destination(call, asked.client_id, asked.redirect_uri)
        try:
            request = requests.read_request(call, asked, client)
        except OAuthRefused as refused:
            state = asked.state[: requests.STATE_CHARS_MAX]
            fields = {"error": str(refused.extra["error"]), "error_description": refused.detail}
            return _back(call, asked.redirect_uri, state, fields)
    here = await requests.who_is_here(call, own)
    if here is None or here.session.auth_ms < request.fresh_from_ms:
        if "none" in request.prompts:
            return _back(call, request.redirect_uri, request.state, {"error": "login_required"})
        if page := call.use(api.UsersSettings).oauth_log_in_page:
            return _handed_over(call, page, request)
        return _login_page(call, request, client, own, email=request.login_hint)
    if await _is_agreed(call, request, client, here):
        return pages.redirect(_with_code(call, request, here))
    if "none" in request.prompts:
        return _back(call, request.redirect_uri, request.state, {"error": "consent_required"})
    return _consent_page(call, request, client, here, own)


@handles(api.login_user, tells=tell_in_a_page)
async def login_user(call: Call, query: LoginForm, own: OwnCredentials) -> Raw:
    request = requests.carried(call, query.request, own)
    client = await requests.destination(call, request.client_id, request.redirect_uri)
    texts = TEXTS[_language(call, own)]
    step = _second_step if query.challenge else _passkey_step if query.passkey else _first_step
    try:
        session_id = await step(call, query)
    except FactorRequired as required:
        factors = cast("list[str]", required.extra["factors"])
        if not _TYPED.intersection(factors) and not _begins_passkey(call):
            raise PageRefused(
                "your second factor is a passkey, which this page cannot ask for: log in with the "
                "product itself, and make recovery codes there"
            ) from None
        challenge, typed = str(required.extra["challenge"]), bool(_TYPED.intersection(factors))
        return _factor_page(call, request, client, own, challenge, typed=typed)
    except WrongFactor as wrong:
        said = texts.wrong[WrongPasskey.code if query.passkey else wrong.code]
        return _factor_page(call, request, client, own, query.challenge, said, wrong.status)
    except ChallengeInvalid as over:
        return _login_page(call, request, client, own, texts.too_long, over.status, query.email)
    except (WrongCredentials, WrongPasskey) as wrong:
        return _login_page(
            call, request, client, own, texts.wrong[wrong.code], wrong.status, query.email
        )  # fmt: skip
    except RateLimited as throttled:
        return _throttled(call, request, client, own, query, throttled)
    nonce = requests.browser_nonce(call, own)
    resume = requests.carry(call, request, nonce)
    cookie = requests.set_cookie(
        call, requests.session_cookie(call), requests.session_value(call, session_id)
    )
    return pages.redirect(
        with_fields(f"{issuer(call)}/oauth/authorize", {"resume": resume}), (cookie,)
    )


async def _first_step(call: Call, form: LoginForm) -> str:
    """Begin a session by a password, and return its id. Raises what logging in raises."""
    try:
        login = msgspec.convert({"email": form.email, "password": form.password}, Login)
    except msgspec.ValidationError:  # longer than any that there is
        raise WrongCredentials() from None
    return (await create_session(call, login)).body.session_id


async def _passkey_step(call: Call, form: LoginForm) -> str:
    """Begin a session by a passkey alone, and return its id. Raises what logging in raises."""
    try:
        given = msgspec.convert({"credential": _signed(form)}, PasskeyLogin)
    except msgspec.ValidationError as wrong:
        raise WrongPasskey(str(wrong)) from None
    return (await create_passkey_session(call, given)).body.session_id


def _signed(form: LoginForm) -> Any:
    """Return what a passkey signed. Raises WrongPasskey for what no browser sends."""
    try:
        return msgspec.json.decode(form.passkey)
    except msgspec.DecodeError:
        raise WrongPasskey("what the browser sent is not JSON") from None


async def _second_step(call: Call, form: LoginForm) -> str:
    """Begin a session by a second factor, and return its id. Raises what logging in raises."""
    if form.passkey:
        try:
            given = {"challenge": form.challenge, "passkey": _signed(form)}
            by_passkey = msgspec.convert(given, SecondStep)
        except msgspec.ValidationError as wrong:
            raise WrongPasskey(str(wrong)) from None
        return (await complete_session(call, by_passkey)).body.session_id
    typed = "".join(form.code.split())
    is_code = len(typed) == _DIGITS and typed.isdecimal()
    kind = "code" if is_code else "recovery_code"
    try:
        step = msgspec.convert({"challenge": form.challenge, kind: form.code}, SecondStep)
    except msgspec.ValidationError:
        raise WrongFactor() from None
    return (await complete_session(call, step)).body.session_id


def _throttled(
    call: Call, request: AuthorizationRequest, client: OAuthClientRow, own: OwnCredentials,
    form: LoginForm, throttled: Failure,
) -> Raw:  # fmt: skip
    seconds = int(throttled.retry_after_s or 1) + 1
    said = TEXTS[_language(call, own)].throttled.format(seconds=seconds)
    if form.challenge:
        return _factor_page(call, request, client, own, form.challenge, said, throttled.status)
    return _login_page(call, request, client, own, said, throttled.status, form.email)


@handles(api.consent_client, tells=tell_in_a_page)
async def consent_client(call: Call, query: ConsentForm, own: OwnCredentials) -> Raw:
    request = requests.carried(call, query.request, own)
    await requests.destination(call, request.client_id, request.redirect_uri)
    here = await requests.who_is_here(call, own)
    if here is None or not hmac.compare_digest(here.session.id, request.session_id):
        raise PageRefused("you are logged in no more, or as somebody else: log in again")
    if query.decision != "allow":
        return _back(call, request.redirect_uri, request.state, {"error": "access_denied"})
    await _consent(call, request, here)
    return pages.redirect(_with_code(call, request, here))


@handles(api.create_user_authorization)
async def create_user_authorization(call: Call, given: Decision) -> Response[WayBack]:
    user = await access.myself(call)
    request = requests.handed_over(call, given.request)
    client = await requests.destination(call, request.client_id, request.redirect_uri)
    session = await call.find(store.SESSION, id=call.caller.session_id or "", tenant=call.tenant)
    if session is None:
        raise SessionNeeded("log in as a user, and send the access token of that session")
    here = Here(session, user)
    if given.decision == "deny":
        url = _way_back(call, request.redirect_uri, request.state, {"error": "access_denied"})
        return Response(WayBack(url))
    if session.auth_ms < request.fresh_from_ms:
        age_s = (call.now_ms - request.fresh_from_ms) // 1000
        raise StepUpRequired("the application wants a newer log-in", extra={"max_age_s": age_s})
    if given.decision == "allow":
        await _consent(call, request, here)
    elif not await _is_agreed(call, request, client, here):
        raise ConsentRequired(
            "ask the user, and send it again with a decision",
            extra={
                "client_name": client.name, "origin": origin_of(request.redirect_uri),
                "scopes": list(request.scopes),
            },
        )  # fmt: skip
    return Response(WayBack(_with_code(call, request, here)))


async def _is_agreed(
    call: Call, request: AuthorizationRequest, client: OAuthClientRow, here: Here
) -> bool:
    """Tell whether the user need not be asked."""
    if "consent" in request.prompts:
        return False
    if client.skips_consent:
        return True
    known = await _consent_of(call, request, here)
    return known is not None and set(request.scopes) <= set(model.words(known.scopes))


async def _consent(call: Call, request: AuthorizationRequest, here: Here) -> None:
    """Stage that the user lets the client have this, beside what it had."""
    known = await _consent_of(call, request, here)
    scopes = model.stored([*request.scopes, *model.words(known.scopes if known else "")])
    if known is None:
        consent_id = call.new_id("consent")
        row = OAuthConsentRow(
            consent_id, call.tenant, 1, here.user.id, request.client_id, scopes, call.now_ms,
            call.now_ms,
        )  # fmt: skip
        call.write(OAUTH_CONSENTS.insert(row, on_conflict=Rerun))
    else:
        consent_id = known.id
        call.write(OAUTH_CONSENTS.update(known, scopes=scopes, updated_ms=call.now_ms))
    told = api.OAuthConsentGranted(
        consent_id, here.user.id, request.client_id, model.words(scopes)
    )  # fmt: skip
    call.emit(told)


async def _consent_of(
    call: Call, request: AuthorizationRequest, here: Here
) -> OAuthConsentRow | None:
    return await call.find(
        store.OAUTH_CONSENT,
        tenant=call.tenant, user_id=here.user.id, client_id=request.client_id,
    )  # fmt: skip


def _with_code(call: Call, request: AuthorizationRequest, here: Here) -> str:
    """Return the way back with a code, while client, user and session are there."""
    of_tenant = {"tenant": call.tenant}
    call.write(
        store.HOLD_OAUTH_CLIENT(id=request.client_id, **of_tenant).expect(1, Rerun),
        store.HOLD_ENABLED(id=here.user.id).expect(1, Rerun),
        store.HOLD_SESSION(id=here.session.id, **of_tenant).expect(1, Rerun),
    )
    row = OAuthGrantRow(
        id=call.new_id("grant"),
        tenant=call.tenant,
        version=1,
        client_id=request.client_id,
        user_id=here.user.id,
        session_id=here.session.id,
        scopes=model.stored(request.scopes),
        redirect_uri=request.redirect_uri,
        code_challenge=request.code_challenge,
        nonce=request.nonce,
        auth_ms=here.session.auth_ms,
        amr=here.session.amr,
        generation=0,
        created_ms=call.now_ms,
        rotated_ms=call.now_ms,
        expires_ms=call.now_ms + CODE_S * 1000,
    )
    call.write(OAUTH_GRANTS.insert(row))
    code = write_token(call.use(Keyring), GrantToken(TokenKind.CODE, row.id, 0))
    return _way_back(call, request.redirect_uri, request.state, {"code": code})


def _back(call: Call, redirect_uri: str, state: str, fields: dict[str, str]) -> Raw:
    """Send the browser back to an application."""
    return pages.redirect(_way_back(call, redirect_uri, state, fields))


def _way_back(call: Call, redirect_uri: str, state: str, fields: dict[str, str]) -> str:
    """Return the way back to an application, with who sends there (RFC 9207)."""
    given = {**fields, **({"state": state} if state else {}), "iss": issuer(call)}
    return with_fields(redirect_uri, given)


def _handed_over(call: Call, page: str, request: AuthorizationRequest) -> Raw:
    """Send the browser to the product's own page, where the user's app takes over."""
    return pages.redirect(page.replace("{request}", requests.hand_over(call, request)))


# Pages


def _login_page(
    call: Call, request: AuthorizationRequest, client: OAuthClientRow, own: OwnCredentials,
    wrong: str = "", status: int = 200, email: str = "",
) -> Raw:  # fmt: skip
    nonce, cookies = _bound(call, own)
    return pages.page(
        call, pages.LOGIN, _language(call, own), status=status, cookies=cookies,
        leads_to=origin_of(request.redirect_uri),
        client_name=client.name, action=f"{issuer(call)}/oauth/login",
        request=requests.carry(call, request, nonce), email=email, wrong=wrong,
        begins_passkey=_begins_passkey(call), challenge="",
    )  # fmt: skip


def _factor_page(
    call: Call, request: AuthorizationRequest, client: OAuthClientRow, own: OwnCredentials,
    challenge: str, wrong: str = "", status: int = 200, *, typed: bool = True,
) -> Raw:  # fmt: skip
    nonce, cookies = _bound(call, own)
    return pages.page(
        call, pages.FACTOR, _language(call, own), status=status, cookies=cookies,
        leads_to=origin_of(request.redirect_uri), client_name=client.name,
        action=f"{issuer(call)}/oauth/login", request=requests.carry(call, request, nonce),
        challenge=challenge, wrong=wrong, begins_passkey=_begins_passkey(call), typed=typed,
    )  # fmt: skip


def _language(call: Call, own: OwnCredentials, user: KnownUser | None = None) -> str:
    """Return in which language somebody reads a page: who is known said so, others' browsers do."""
    said = "" if user is None else user.locale
    guessed = accepted(own.accept_language or "")
    return language_of(said, *guessed, call.use(api.UsersSettings).locale)


def _begins_passkey(call: Call) -> str:
    """Return where our own pages begin with a passkey; nothing where these cannot use one."""
    url = issuer(call)
    offered = passkeys.offered_at(call.use(api.UsersSettings), origin_of(url))
    return f"{url}/v1/passkeys:begin" if offered else ""


def _consent_page(
    call: Call, request: AuthorizationRequest, client: OAuthClientRow, here: Here,
    own: OwnCredentials,
) -> Raw:  # fmt: skip
    nonce, cookies = _bound(call, own)
    of_session = msgspec.structs.replace(request, session_id=here.session.id)
    return pages.page(
        call, pages.CONSENT, _language(call, own, here.user), cookies=cookies,
        leads_to=origin_of(request.redirect_uri),
        client_name=client.name, action=f"{issuer(call)}/oauth/consent",
        request=requests.carry(call, of_session, nonce), email=here.user.email,
        origin=origin_of(request.redirect_uri),
        scopes=request.scopes,
    )  # fmt: skip


def _bound(call: Call, own: OwnCredentials) -> tuple[str, tuple[Cookie, ...]]:
    """Return the nonce of a browser, and the cookie that gives it one where it has none."""
    if known := requests.browser_nonce(call, own):
        return known, ()
    nonce = requests.new_nonce(call)
    return nonce, (requests.set_cookie(call, requests.nonce_cookie(call), nonce),)


# Logging out


@handles(api.get_logout, tells=tell_in_a_page)
async def get_logout(call: Call, query: AskedLogout, own: OwnCredentials) -> Raw:
    return await _log_out(call, query, own)


@handles(api.logout_user, tells=tell_in_a_page)
async def logout_user(call: Call, query: AskedLogout, own: OwnCredentials) -> Raw:
    if not query.request:
        return await _log_out(call, query, own)
    asked = requests.carried(call, query.request, own)
    here = await requests.who_is_here(call, own)
    if here is not None and hmac.compare_digest(here.session.id, asked.session_id):
        await revoke(call, here.session, "logout")
    return _logged_out(call, own, _with_state(asked.redirect_uri, asked.state))


async def _log_out(call: Call, asked: AskedLogout, own: OwnCredentials) -> Raw:
    issuer(call)
    hint = await signing_keys.read_signed(call, asked.id_token_hint) or {}
    if asked.id_token_hint and not hint:
        raise PageRefused("id_token_hint is not an ID token that was signed here")
    named = str(hint.get("aud", asked.client_id))
    if asked.client_id and asked.client_id != named:
        raise PageRefused("client_id is not the application of the ID token")
    location = ""
    if asked.post_logout_redirect_uri:
        client = await call.find(store.OAUTH_CLIENT, id=named, tenant=call.tenant)
        registered = "" if client is None else client.post_logout_redirect_uris
        if not is_registered(asked.post_logout_redirect_uri, registered.split()):
            raise PageRefused("post_logout_redirect_uri is none that is registered")
        location = asked.post_logout_redirect_uri
    here = await requests.who_is_here(call, own)
    back = _with_state(location, asked.state)
    if here is None:
        return _logged_out(call, own, back)
    if hint.get("sid") == here.session.id:
        await revoke(call, here.session, "logout")
        return _logged_out(call, own, back)
    # Anybody can send a browser here: only the user says that this was meant.
    nonce, cookies = _bound(call, own)
    waiting = AuthorizationRequest(
        "", location, (), asked.state if location else "", "", "", (), "", 0, here.session.id
    )
    return pages.page(
        call, pages.LOGOUT, _language(call, own, here.user), cookies=cookies,
        leads_to=origin_of(location) if location else "",
        action=f"{issuer(call)}/oauth/logout", request=requests.carry(call, waiting, nonce),
    )  # fmt: skip


def _with_state(location: str, state: str) -> str:
    """Add the state of an application to where it wants the browser back."""
    return with_fields(location, {"state": state}) if location and state else location


def _logged_out(call: Call, own: OwnCredentials, location: str) -> Raw:
    gone = (requests.set_cookie(call, requests.session_cookie(call), ""),)
    if location:
        return pages.redirect(location, gone)
    return pages.logged_out(call, _language(call, own), gone)

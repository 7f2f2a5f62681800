"""Operations of logging in with an issuer: begun here, ended by whoever began it.

The browser goes to the issuer with a state that is a ticket, and comes back with the issuer's code.
That is not spent then: the app is handed a ticket of ours, and spends it with a secret that never
left it. So no token is ever in a URL, and who puts a foreign code before somebody's browser logs
nobody in.
"""

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from mainspring import (
    Call,
    Entropy,
    Invalid,
    NotFound,
    Page,
    PageQuery,
    Raw,
    Rerun,
    Response,
    handles,
    is_id,
)
from mainspring.services.users import access, api, model, password_check, store, tickets
from mainspring.services.users.api.errors import (
    AddressMissing,
    IdentityTaken,
    LastWayIn,
    LinkRequired,
    LoginRefused,
    SignUpClosed,
)
from mainspring.services.users.api.providers import Provider, provider
from mainspring.services.users.api.structs import (
    BegunLogin,
    IssuerAnswer,
    LinkedIdentity,
    LoginCode,
    NewLogin,
    Tokens,
)
from mainspring.services.users.issuers import AskedLogin, Attested, Issuers, authorization_url
from mainspring.services.users.operations.accounts import stage_user
from mainspring.services.users.operations.sessions import admit
from mainspring.services.users.presenter import present_identity
from mainspring.services.users.store import (
    IDENTITIES,
    USERS,
    KnownUser,
    LinkedIdentityRow,
    TicketRow,
)

STATE_S = 900  # as long as somebody may take to log in over there
CODE_S = 60  # from the browser's return to the app that ends it: issuers' codes hold no longer
SECRET_BYTES = 32
IDENTITIES_MAX = 50  # of one user


class LoginState(msgspec.Struct, frozen=True):
    """What a log-in began with, while its browser is at the issuer."""

    KIND: ClassVar[str] = "login_state"
    provider: str
    issuer: str
    iss_required: bool
    redirect_uri: str
    state: str
    code_challenge: str
    nonce: str
    verifier: str
    links: bool


class ReturnedLogin(msgspec.Struct, frozen=True):
    """A log-in whose browser is back with the issuer's code."""

    KIND: ClassVar[str] = "login_code"
    began: LoginState
    code: str


@handles(api.create_login)
async def create_login(call: Call, new: NewLogin) -> Response[BegunLogin]:
    return await _begin(call, new, None)


@handles(api.create_link)
async def create_link(call: Call, new: NewLogin) -> Response[BegunLogin]:
    user = await access.myself(call)
    return await _begin(call, new, user.id)


async def _begin(call: Call, new: NewLogin, links_to: str | None) -> Response[BegunLogin]:
    settings = call.use(api.UsersSettings)
    if new.provider not in settings.login:
        raise Invalid.at("/provider", "is none that the settings name under [users.login]")
    if new.redirect_uri not in settings.login_redirects:
        raise Invalid.at("/redirect_uri", "is none of [users] login_redirects")
    chosen = _provider(call, new.provider)
    metadata = await call.use(Issuers).metadata(chosen, call.now_ms)
    began = LoginState(
        provider=chosen.name,
        issuer=metadata.issuer,
        iss_required=metadata.authorization_response_iss_parameter_supported,
        redirect_uri=new.redirect_uri,
        state=new.state,
        code_challenge=new.code_challenge,
        nonce=_secret(call),
        verifier=_secret(call),
        links=links_to is not None,
    )
    state = tickets.issue(call, LoginState.KIND, began, STATE_S, links_to)
    url = authorization_url(
        chosen, metadata, state=state, nonce=began.nonce, challenge=_s256(began.verifier),
        redirect_uri=_callback(call, chosen),
    )  # fmt: skip
    return Response(BegunLogin(url, STATE_S))


@handles(api.get_callback)
async def get_callback(call: Call, provider: str, query: IssuerAnswer) -> Raw:
    return await _receive(call, provider, query)


@handles(api.create_callback)
async def create_callback(call: Call, provider: str, query: IssuerAnswer) -> Raw:
    return await _receive(call, provider, query)


async def _receive(call: Call, provider: str, answer: IssuerAnswer) -> Raw:
    refusal = LoginRefused("this log-in was not begun here, or is over: begin it again")
    ticket = await tickets.find(call, LoginState.KIND, answer.state)
    if ticket is None:
        raise refusal
    began = tickets.read(call, ticket, LoginState)
    if began.provider != provider:
        raise refusal
    # RFC 9207, 2.4: whoever answers in the name of another issuer is not let on.
    if (answer.iss is None and began.iss_required) or answer.iss not in (None, began.issuer):
        raise LoginRefused("another issuer answers than was asked: begin the log-in again")
    tickets.spend(call, ticket, refusal)
    if answer.error or not answer.code:
        denied = answer.error == "access_denied"
        fields = {"error": "access_denied" if denied else "login_failed"}
    else:
        returned = ReturnedLogin(began, answer.code)
        code = tickets.issue(call, ReturnedLogin.KIND, returned, CODE_S, ticket.user_id)
        fields = {"code": code}
    if began.state:
        fields["state"] = began.state
    joint = "&" if "?" in began.redirect_uri else "?"
    headers = (
        ("Location", began.redirect_uri + joint + urlencode(fields)),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
    )
    return Raw(b"", 303, "text/plain", headers)


@handles(api.complete_login)
async def complete_login(call: Call, given: LoginCode) -> Response[Tokens]:
    ticket, returned = await _returned(call, given, links=False)
    who = await _attested(call, ticket, returned)
    user = await _user_of(call, returned.began.provider, who)
    return await admit(call, user, ["fed"])


@handles(api.create_identity)
async def create_identity(call: Call, given: LoginCode) -> Response[LinkedIdentity]:
    user = await access.myself(call)
    ticket, returned = await _returned(call, given, links=True)
    if ticket.user_id != user.id:
        raise LoginRefused("somebody else began to link this: begin it again")
    who = await _attested(call, ticket, returned)
    known = await _identity_of(call, who)
    if known is not None and known.user_id != user.id:
        raise IdentityTaken("log in with this issuer and unlink it there first")
    row = known or await _link(call, user, returned.began.provider, who)
    return Response(present_identity(row))


@handles(api.list_identities)
async def list_identities(call: Call, query: PageQuery) -> Page[LinkedIdentity]:
    user = await access.myself(call)
    rows = await call.page(
        store.IDENTITIES_OF,
        tenant=call.tenant, user_id=user.id, after=query.after_id("iden"), limit=query.limit,
    )  # fmt: skip
    return Page.of(rows, present_identity, lambda row: row.id)


@handles(api.delete_identity)
async def delete_identity(call: Call, id: str) -> None:
    user = await access.myself(call)
    if not is_id(id, "iden"):
        raise NotFound()
    of_user = {"tenant": call.tenant, "user_id": user.id}
    row = await call.one(store.IDENTITY, **of_user, id=id)
    if not await has_other_way_in(call, user, but=row.id):
        raise LastWayIn("set a password, link another issuer or add a passkey first")
    call.write(IDENTITIES.delete_unguarded(row))
    # The version: of two that take one each away, the second looks again.
    call.write(USERS.update(user))
    call.emit(api.IdentityUnlinked(user.id, row.id, row.provider))


async def has_other_way_in(call: Call, user: KnownUser, but: str) -> bool:
    """Tell whether a user could log in without this one identity or passkey."""
    if user.password_hash:
        return True
    of_user = {"tenant": call.tenant, "user_id": user.id}
    identities = await call.all(store.IDENTITIES_OF, **of_user, after="", limit=2)
    keys = await call.all(store.PASSKEYS_OF, **of_user, after="", limit=2)
    ids = [row.id for row in identities] + [row.id for row in keys]
    return any(other != but for other in ids)


async def _returned(
    call: Call, given: LoginCode, *, links: bool
) -> tuple[TicketRow, ReturnedLogin]:
    """Return what a code of ours stands for, for whoever began it. Raises LoginRefused."""
    refusal = LoginRefused("this code is unknown, used or expired: begin the log-in again")
    ticket = await tickets.find(call, ReturnedLogin.KIND, given.code)
    if ticket is None:
        raise refusal
    returned = tickets.read(call, ticket, ReturnedLogin)
    proved = hmac.compare_digest(_s256(given.code_verifier), returned.began.code_challenge)
    if not proved or returned.began.links is not links:
        raise refusal
    tickets.spend(call, ticket, refusal)
    return ticket, returned


async def _attested(call: Call, ticket: TicketRow, returned: ReturnedLogin) -> Attested:
    began = returned.began
    chosen = _provider(call, began.provider)
    asked = AskedLogin(returned.code, began.verifier, began.nonce, _callback(call, chosen))
    return await call.use(Issuers).attest(chosen, asked, ticket.id, call.now_ms)


async def _user_of(call: Call, provider: str, who: Attested) -> KnownUser:
    """Return the user who somebody is here, who signs up where nobody is.

    An account of the same address is theirs only where both sides have proved the address: one
    that was made before by somebody else, and waits for them, is not entered.
    """
    known = await _identity_of(call, who)
    if known is not None:
        linked = await call.one(store.USER, id=known.user_id, tenant=call.tenant)
        hold_user(call, linked)
        return linked
    settings = call.use(api.UsersSettings)
    if who.email is None:
        raise AddressMissing("allow the issuer to tell your e-mail address, or sign up with one")
    email = model.email(who.email, "/code")
    user = await password_check.find_user(call, email)
    if user is not None:
        if not (who.email_verified and user.email_verified):
            raise LinkRequired("log in to the account of this address, and link the issuer there")
        hold_user(call, user)
    else:
        if not settings.sign_up:
            raise SignUpClosed("ask an administrator for an account")
        if settings.verify_before_log_in and not who.email_verified:
            raise AddressMissing("the issuer has not verified your address: sign up with it first")
        user = await stage_user(
            call, email, display_name=who.display_name, verified=who.email_verified,
            locale="" if call.sender is None else call.sender.language,
        )  # fmt: skip
    await _link(call, user, provider, who)
    return user


def hold_user(call: Call, user: KnownUser) -> None:
    """Commit only while the user is there as it was read."""
    call.write(store.HOLD_VERSION(id=user.id, version=user.version).expect(1, Rerun))


async def _identity_of(call: Call, who: Attested) -> LinkedIdentityRow | None:
    return await call.find(
        store.IDENTITY_OF_SUBJECT, tenant=call.tenant, issuer=who.issuer, subject=who.subject
    )


async def _link(call: Call, user: KnownUser, provider: str, who: Attested) -> LinkedIdentityRow:
    """Stage that a user is somebody at an issuer."""
    of_user = {"tenant": call.tenant, "user_id": user.id}
    held = await call.all(store.IDENTITIES_OF, **of_user, after="", limit=IDENTITIES_MAX)
    if len(held) >= IDENTITIES_MAX:
        raise IdentityTaken(f"an account has at most {IDENTITIES_MAX} issuers: unlink one first")
    row = LinkedIdentityRow(
        call.new_id("iden"), call.tenant, user.id, provider, who.issuer, who.subject, call.now_ms
    )
    call.write(IDENTITIES.insert(row, on_conflict=Rerun))
    call.emit(api.IdentityLinked(user.id, row.id, provider))
    return row


def _provider(call: Call, name: str) -> Provider:
    settings = call.use(api.UsersSettings).login.get(name)
    if settings is None:
        raise LoginRefused("the settings name this issuer no more")
    return provider(name, settings)


def _callback(call: Call, chosen: Provider) -> str:
    base = call.use(api.UsersSettings).url.removesuffix("/")
    return f"{base}/v1/logins/{chosen.name}/callback"


def _secret(call: Call) -> str:
    return _base64url(call.use(Entropy).token(SECRET_BYTES))


def _s256(verifier: str) -> str:
    return _base64url(sha256(verifier.encode()).digest())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()

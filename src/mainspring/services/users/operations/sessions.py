"""Operations on sessions: logging in, staying in, leaving; and the keys tokens verify with."""

import hmac
from typing import ClassVar

import msgspec

from mainspring import (
    Call,
    Invalid,
    NotFound,
    Page,
    PageQuery,
    Rerun,
    Response,
    Sender,
    elapsed_ms,
    handles,
    is_id,
    rfc3339,
)
from mainspring.ports.keyring import Keyring
from mainspring.services.users import (
    access,
    api,
    devices,
    impersonation,
    model,
    password_check,
    screening,
    second_factor,
    store,
    tickets,
)
from mainspring.services.users.api.errors import (
    AccountDisabled,
    BadRefreshToken,
    FactorRequired,
    RefreshTokenReused,
    WrongCredentials,
    WrongFactor,
    WrongPassword,
)
from mainspring.services.users.api.structs import (
    FreshToken,
    Jwks,
    Login,
    RefreshRequest,
    Session,
    StepUp,
    Tokens,
)
from mainspring.services.users.identity_provider import grants
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.model import RefreshDecision, RefreshToken
from mainspring.services.users.places import Gazetteer
from mainspring.services.users.presenter import present_session, present_user
from mainspring.services.users.store import DEVICES, SESSIONS, KnownUser, SessionRow

CHALLENGE_S = 300  # from the first factor to the second
DEVICE_SEEN_MS = api.DAY_S * 1000  # logging in again sooner writes nothing about the device


class FirstStep(msgspec.Struct, frozen=True):
    """What is remembered of a log-in that waits for its second factor: by what it began."""

    KIND: ClassVar[str] = "first_step"
    amr: list[str]


@handles(api.create_session)
async def create_session(call: Call, login: Login) -> Response[Tokens]:
    email_key = model.email_key(login.email)
    account = password_check.account_of(call, email_key)
    await screening.require_human_after_failures(call, account, login.captcha)
    user = await password_check.find_user(call, login.email)
    settings = call.use(api.UsersSettings)
    if user is not None and settings.verify_before_log_in and not user.email_verified:
        user = None
    if (
        not await password_check.password_is_right(call, email_key, user, login.password)
        or user is None
    ):
        raise WrongCredentials()
    return await admit(call, user, ["pwd"])


@handles(api.step_up_session)
async def step_up_session(call: Call, id: str, given: StepUp) -> FreshToken:
    user = await access.myself(call)
    if id != call.caller.session_id:
        raise NotFound()
    session = await call.one(store.SESSION, id=id, tenant=call.tenant)
    if await second_factor.factors_of(call, user.id):
        if given.password is not None:
            raise Invalid.at("/password", "is not enough: give a second factor")
        proved = set(await second_factor.prove(call, user, given))
        if not proved:
            raise WrongFactor()
    else:
        if given.password is None:
            raise Invalid.at("/password", "is needed: there is no second factor")
        if not await password_check.password_is_right(call, user.email_key, user, given.password):
            raise WrongPassword()
        proved = {"pwd"}
    fresh = {"auth_ms": call.now_ms, "amr": model.stored({*model.words(session.amr), *proved})}
    call.write(SESSIONS.update(session, **fresh))
    call.emit(api.SessionSteppedUp(session.id, user.id))
    session = msgspec.structs.replace(session, **fresh)
    return FreshToken(_access_token(call, user, session), _life_s(call))


@handles(api.refresh_session)
async def refresh_session(call: Call, given: RefreshRequest) -> Tokens:
    token = model.refresh_token(given.refresh_token)
    if token is None or not hmac.compare_digest(token.proof, _proof(call, token)):
        raise BadRefreshToken()
    session = await call.find(store.SESSION, id=token.session_id, tenant=call.tenant)
    if (
        session is None
        or session.impersonator_id is not None  # nobody was given a token of it
        or session.expires_ms <= call.now_ms
        # Signed here but newer than what is stored: the database was restored from a backup.
        or token.generation > session.generation
    ):
        raise BadRefreshToken()
    verdict = model.judge(token.generation, session.generation, session.rotated_ms, call.now_ms)
    if verdict is RefreshDecision.REVOKE:
        await revoke(call, session, "refresh_token_reused")
        raise RefreshTokenReused("the session is ended: log in again")
    user = await call.find(store.USER, id=session.user_id, tenant=call.tenant)
    if user is None:
        raise BadRefreshToken()
    if verdict is RefreshDecision.ROTATE:
        renewed = {
            "generation": session.generation + 1,
            "rotated_ms": call.now_ms,
            "expires_ms": _expiry(call.use(api.UsersSettings), session.created_ms, call.now_ms),
            **_seen(call),
        }
        call.write(SESSIONS.update(session, **renewed))
        session = msgspec.structs.replace(session, **renewed)
    return _tokens(call, user, session)


@handles(api.list_sessions)
async def list_sessions(call: Call, query: PageQuery) -> Page[Session]:
    user = await access.myself(call)
    rows = await call.page(
        store.SESSION_PAGE,
        tenant=call.tenant,
        user_id=user.id,
        after=query.after_id("sess"),
        now_ms=call.now_ms,
        limit=query.limit,
    )
    current, places = call.caller.session_id, call.use(Gazetteer)

    def present(session: SessionRow) -> Session:
        return present_session(session, current, places.of(session.address, user.locale))

    return Page.of(rows, present, lambda session: session.id)


@handles(api.delete_sessions)
async def delete_sessions(call: Call) -> None:
    user = await access.myself(call)
    await end_sessions(call, user.id, "logout")
    await notify(call, user, Purpose.SESSIONS_ENDED)


@handles(api.delete_session)
async def delete_session(call: Call, id: str) -> None:
    if not is_id(id, "sess"):
        raise NotFound()
    session = await call.one(store.SESSION, id=id, tenant=call.tenant)
    if call.caller.kind != "user" or session.user_id != call.caller.id:
        if not call.caller.allows(api.WRITE):
            raise NotFound()
        user = await call.find(store.USER, id=session.user_id, tenant=call.tenant)
        access.require_over(call, user.scopes if user is not None else "")
    await revoke(call, session, "logout")


@handles(api.get_jwks)
async def get_jwks(call: Call) -> Jwks:
    return msgspec.convert(call.use(Keyring).jwks(), Jwks)


async def admit(
    call: Call, user: KnownUser, amr: list[str], *, ends_factors: bool = False
) -> Response[Tokens]:
    """Begin a session for whoever passed the first factor, unless there is a second to ask for.

    ``amr`` says what the first was (RFC 8176); one that is two factors in one says ``mfa``. Where
    this very call ``ends_factors``, there is none to ask for. Raises AccountDisabled, and
    FactorRequired, which keeps what is staged.
    """
    _require_enabled(user)
    factors = await second_factor.factors_of(call, user.id)
    if not factors or second_factor.MFA in amr or ends_factors:
        return await begin(call, user, amr)
    challenge = tickets.issue(call, FirstStep.KIND, FirstStep(amr), CHALLENGE_S, user.id)
    raise FactorRequired(
        "complete the log-in with the challenge and a second factor",
        extra={"challenge": challenge, "expires_in": CHALLENGE_S, "factors": factors},
    )


async def begin(call: Call, user: KnownUser, amr: list[str]) -> Response[Tokens]:
    """Begin a session for somebody who has proved to be this user by everything that is needed.

    The row of the user goes first: whoever disables it meanwhile ends the session or keeps it from
    beginning. Raises AccountDisabled.
    """
    _require_enabled(user)
    call.write(store.HOLD_ENABLED(id=user.id).expect(1, Rerun))
    session = SessionRow(
        id=call.new_id("sess"),
        tenant=call.tenant,
        version=1,
        user_id=user.id,
        generation=1,
        created_ms=call.now_ms,
        rotated_ms=call.now_ms,
        expires_ms=_expiry(call.use(api.UsersSettings), call.now_ms, call.now_ms),
        auth_ms=call.now_ms,
        amr=model.stored(amr),
        impersonator_id=None,
        **_seen(call),
    )
    call.write(SESSIONS.insert(session))
    await _note_device(call, user)
    call.emit(api.SessionCreated(session.id, user.id, rfc3339(session.expires_ms)))
    crowd = await call.all(
        store.SESSIONS_OF, tenant=call.tenant, user_id=user.id, beyond=api.SESSIONS_MAX - 1
    )
    for oldest in crowd:
        await revoke(call, oldest, "too_many")
    return Response(_tokens(call, user, session))


def _require_enabled(user: KnownUser) -> None:
    if user.disabled_ms is not None:
        raise AccountDisabled("ask whoever runs this why")


def _seen(call: Call) -> dict[str, str]:
    """Return what its user will recognise a session by."""
    sender = call.sender
    if sender is None:
        return {"address": "", "user_agent": ""}
    return {"address": sender.address, "user_agent": sender.user_agent}


async def _note_device(call: Call, user: KnownUser) -> None:
    """Note from which device somebody logs in; the first that is not known yet is told by mail.

    Nobody is told of the very first: it is that of the sign-up.
    """
    sight = "" if call.sender is None else devices.sight(call.sender)
    if call.sender is None or not sight:
        return
    of_user = {"tenant": call.tenant, "user_id": user.id}
    said = f"{user.id}/{sight}".encode()
    hashed = call.use(Keyring).fingerprint(said, purpose="users.device")
    known = await call.all(store.DEVICES_OF, **of_user)
    seen = next((row for row in known if row.hash == hashed), None)
    if seen is not None and elapsed_ms(seen.seen_ms, call.now_ms) < DEVICE_SEEN_MS:
        return
    call.write(store.SEE_DEVICE(**of_user, hash=hashed, now_ms=call.now_ms))
    if seen is not None:
        return
    for forgotten in known[api.DEVICES_MAX - 1 :]:
        call.write(DEVICES.delete_unguarded(forgotten))
    if known:
        await notify(call, user, Purpose.NEW_DEVICE, _device(call, user, call.sender))


def _device(call: Call, user: KnownUser, sender: Sender) -> str:
    """Write a device, and about where it was, for its user."""
    place = call.use(Gazetteer).of(sender.address, user.locale)
    where = (place.city, place.country) if place is not None else ()
    return devices.told(sender, *where)


def end_tickets(call: Call, user_id: str) -> None:
    """Stage the end of whatever a user has begun and not ended."""
    call.write(store.END_TICKETS(tenant=call.tenant, user_id=user_id))


async def revoke(call: Call, session: SessionRow, reason: str) -> None:
    """Stage the end of a session, and of what its user does as others since it was begun there."""
    call.write(SESSIONS.delete(session))
    call.emit(api.SessionRevoked(session.id, session.user_id, reason))
    impersonation.note_end(call, session, reason)
    await impersonation.end_begun_by(call, session.user_id, reason, session.id)


async def end_sessions(call: Call, user_id: str, reason: str, kept: str = "") -> None:
    """Stage the end of all of a user's sessions but one, those that begin meanwhile too."""
    for session in await call.all(store.SESSIONS_OF, tenant=call.tenant, user_id=user_id, beyond=0):
        if session.id != kept:
            call.emit(api.SessionRevoked(session.id, user_id, reason))
            impersonation.note_end(call, session, reason)
    await impersonation.end_begun_by(call, user_id, reason)
    end_tickets(call, user_id)
    await grants.end_grants(call, user_id, reason)
    call.write(store.END_SESSIONS(tenant=call.tenant, user_id=user_id, kept=kept))


def _expiry(settings: api.UsersSettings, created_ms: int, now_ms: int) -> int:
    """When a session ends that is not used before, and never later than its longest life."""
    idle_ms = now_ms + settings.session_idle_s * 1000
    return min(idle_ms, created_ms + settings.session_max_s * 1000)


def _tokens(call: Call, user: KnownUser, session: SessionRow) -> Tokens:
    bare = RefreshToken(session.id, session.generation, b"")
    newest = msgspec.structs.replace(bare, proof=_proof(call, bare))
    access_token = _access_token(call, user, session)
    return Tokens(access_token, newest.text(), _life_s(call), present_user(user), session.id)


def _access_token(call: Call, user: KnownUser, session: SessionRow) -> str:
    """Sign who is there; ``auth_time`` and ``amr`` say since when, and by what (OIDC Core, 2)."""
    now_s = call.now_ms // 1000
    return call.use(Keyring).sign_token(
        {
            "sub": user.id,
            "sid": session.id,
            "tenant": user.tenant,
            "iat": now_s,
            "exp": now_s + _life_s(call),
            "auth_time": session.auth_ms // 1000,
            "amr": model.words(session.amr),
        }
    )


def _life_s(call: Call) -> int:
    return call.use(api.UsersSettings).access_token_s


def _proof(call: Call, token: RefreshToken) -> bytes:
    """What only we can make of a session and a generation: nothing of the tokens is stored."""
    said = f"{token.session_id}/{token.generation}".encode()
    return call.use(Keyring).fingerprint(said, purpose="users.refresh_token")

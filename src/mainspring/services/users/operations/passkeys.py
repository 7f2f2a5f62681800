"""Operations on passkeys: registered, renamed, taken away, and logged in with."""

import msgspec

from mainspring import Call, NotFound, Page, PageQuery, Rerun, Response, handles, is_id
from mainspring.services.users import access, api, passkeys, second_factor, store, tickets
from mainspring.services.users.api.errors import (
    ChallengeInvalid,
    FactorMissing,
    LastWayIn,
    PasskeyTaken,
    TooManyPasskeys,
    WrongPasskey,
)
from mainspring.services.users.api.structs import (
    MadePasskey,
    NewPasskey,
    Passkey,
    PasskeyChanges,
    PasskeyLogin,
    PasskeyOptions,
    PasskeyWish,
    Tokens,
)
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.operations.logins import has_other_way_in, hold_user
from mainspring.services.users.operations.sessions import FirstStep, admit
from mainspring.services.users.passkeys import Ceremony
from mainspring.services.users.presenter import present_passkey
from mainspring.services.users.store import PASSKEYS, USERS, KnownUser, PasskeyRow


@handles(api.begin_passkey)
async def begin_passkey(call: Call) -> PasskeyOptions:
    user = await access.myself(call)
    await second_factor.require_shown(call, user.id)
    await _require_room(call, user)
    return await passkeys.begin_enrolment(call, user)


@handles(api.create_passkey)
async def create_passkey(call: Call, new: NewPasskey) -> Response[MadePasskey]:
    user = await access.myself(call)
    await second_factor.require_shown(call, user.id)
    row = await passkeys.enrolled(call, user, new.credential, new.name)
    of_credential = {"tenant": call.tenant, "credential": row.credential}
    if await call.find(store.PASSKEY_BY_CREDENTIAL, **of_credential) is not None:
        raise PasskeyTaken("make another passkey, or use this one")
    await _require_room(call, user)
    call.write(PASSKEYS.insert(row, on_conflict=Rerun))
    # The version: of two that come at once the second counts again.
    call.write(USERS.update(user))
    codes = None
    if not await second_factor.recovery_codes_of(call, user.id):
        codes = second_factor.make_recovery_codes(call, user.id)
    call.emit(api.PasskeyCreated(user.id, row.id))
    await notify(call, user, Purpose.FACTOR_ADDED)
    shown = msgspec.structs.asdict(present_passkey(row))
    return Response(MadePasskey(**shown, recovery_codes=codes))


@handles(api.list_passkeys)
async def list_passkeys(call: Call, query: PageQuery) -> Page[Passkey]:
    user = await access.myself(call)
    rows = await call.page(
        store.PASSKEYS_OF,
        tenant=call.tenant, user_id=user.id, after=query.after_id("pkey"), limit=query.limit,
    )  # fmt: skip
    return Page.of(rows, present_passkey, lambda row: row.id)


@handles(api.update_passkey)
async def update_passkey(call: Call, id: str, changes: PasskeyChanges) -> Passkey:
    user = await access.myself(call)
    row = await _passkey(call, user, id)
    name = changes.name.strip()
    call.write(PASSKEYS.update(row, name=name))
    return present_passkey(msgspec.structs.replace(row, name=name))


@handles(api.delete_passkey)
async def delete_passkey(call: Call, id: str) -> None:
    user = await access.myself(call)
    row = await _passkey(call, user, id)
    await second_factor.require_shown(call, user.id)
    if not await has_other_way_in(call, user, but=row.id):
        raise LastWayIn("set a password, link an issuer or add another passkey first")
    call.write(PASSKEYS.delete(row))
    # The version: of two that take one each away, the second looks again.
    call.write(USERS.update(user))
    if len(await passkeys.of_user(call, user.id)) == 1:
        await _end_recovery_codes(call, user.id)
    call.emit(api.PasskeyDeleted(user.id, row.id, "user"))
    await notify(call, user, Purpose.FACTOR_REMOVED)


@handles(api.reset_passkeys)
async def reset_passkeys(call: Call, user_id: str) -> None:
    if not is_id(user_id, "user"):
        raise NotFound()
    user = await call.one(store.USER, id=user_id, tenant=call.tenant)
    access.require_over(call, user.scopes)
    if not await passkeys.of_user(call, user.id):
        raise FactorMissing("this user has no passkey")
    call.write(store.END_PASSKEYS(tenant=call.tenant, user_id=user.id))
    call.write(USERS.update(user))
    await _end_recovery_codes(call, user.id)
    call.emit(api.PasskeyDeleted(user.id, None, "admin"))
    await notify(call, user, Purpose.FACTOR_REMOVED)


@handles(api.begin_passkey_login)
async def begin_passkey_login(call: Call, wish: PasskeyWish) -> PasskeyOptions:
    user_id = call.caller.id if call.caller.kind == "user" else None
    if wish.challenge is not None:
        ticket = await tickets.find(call, FirstStep.KIND, wish.challenge)
        if ticket is None:
            raise ChallengeInvalid("the challenge is unknown, used or expired: log in again")
        user_id = ticket.user_id
    if user_id is None:
        return await passkeys.begin(call, Ceremony.LOG_IN, None, ())
    await passkeys.party(call)
    allowed = await passkeys.of_user(call, user_id)
    if not allowed:
        raise FactorMissing("there is no passkey of this user")
    return await passkeys.begin(call, Ceremony.FACTOR, user_id, allowed)


@handles(api.create_passkey_session)
async def create_passkey_session(call: Call, given: PasskeyLogin) -> Response[Tokens]:
    refusal = WrongPasskey("the passkey is unknown, or signed nothing that holds: begin again")
    row = await passkeys.prove(call, Ceremony.LOG_IN, given.credential, None)
    if row is None:
        raise refusal
    user = await call.find(store.USER, id=row.user_id, tenant=call.tenant)
    if user is None:
        raise refusal
    hold_user(call, user)
    return await admit(call, user, list(passkeys.AMR))


async def _passkey(call: Call, user: KnownUser, id: str) -> PasskeyRow:
    if not is_id(id, "pkey"):
        raise NotFound()
    return await call.one(store.PASSKEY, tenant=call.tenant, user_id=user.id, id=id)


async def _require_room(call: Call, user: KnownUser) -> None:
    if len(await passkeys.of_user(call, user.id)) >= api.PASSKEYS_MAX:
        raise TooManyPasskeys(f"a user has at most {api.PASSKEYS_MAX}: delete one first")


async def _end_recovery_codes(call: Call, user_id: str) -> None:
    """Stage the end of the recovery codes where no authenticator app is left."""
    totp = await second_factor.totp_of(call, user_id)
    if totp is None or totp.confirmed_ms is None:
        call.write(store.END_RECOVERY_CODES(tenant=call.tenant, user_id=user_id))

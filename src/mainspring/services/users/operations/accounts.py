"""Operations on users: sign-up, oneself, and what administrators do."""

from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from mainspring import (
    Call,
    Invalid,
    NotFound,
    Page,
    PersonalFields,
    Rerun,
    Response,
    check_all,
    handles,
    is_id,
)
from mainspring.services.users import (
    access,
    api,
    membership,
    model,
    passkeys,
    password_check,
    profiles,
    screening,
    second_factor,
    store,
)
from mainspring.services.users.api.errors import (
    BadMailToken,
    EmailTaken,
    MailThrottled,
    ScopeNotHeld,
    SessionNeeded,
    SignUpClosed,
    WrongPassword,
)
from mainspring.services.users.api.structs import (
    Disabling,
    EmailChange,
    EmailProof,
    EmailUndo,
    NewUser,
    OwnChanges,
    Removal,
    User,
    UserChanges,
    UserQuery,
)
from mainspring.services.users.mailing import (
    Purpose,
    count_for_caller,
    mail,
    mail_wait_ms,
    mailed,
    notify,
    to_address,
)
from mainspring.services.users.operations.api_keys import end_api_keys
from mainspring.services.users.operations.sessions import end_sessions
from mainspring.services.users.presenter import present_user, user_tag
from mainspring.services.users.store import (
    GONE,
    GRANTS,
    ROLES,
    USERS,
    GoneRow,
    GrantRow,
    KnownUser,
    UserRow,
)

# What was added so long before an address was changed goes with the change when that is undone.
THEFT_MS = 7 * api.DAY_S * 1000


@handles(api.create_user)
async def create_user(call: Call, new: NewUser) -> Response[User]:
    administers = call.caller.allows(api.WRITE)
    if not call.use(api.UsersSettings).sign_up and not administers:
        raise SignUpClosed("ask an administrator for an account")
    if set(new.roles) != {model.USER_ROLE} and not administers:
        raise ScopeNotHeld(f"roles are given by those with the scope {api.WRITE}")
    check_all(
        "the account is not valid",
        partial(model.email, new.email),
        partial(model.password, new.password, new.email),
        partial(model.locale, new.locale),
    )
    if not administers:
        await screening.require_human(call, "sign_up", new.captcha)
    await count_for_caller(call)
    hashed = await password_check.new_password(call, new.password, new.email)
    email, name, roles = model.email(new.email), new.display_name.strip(), set(new.roles)
    guessed = "" if administers or call.sender is None else call.sender.language
    locale = guessed if new.locale is None else model.locale(new.locale)
    user = _new_user(call, email, name, roles, hashed, locale=locale)
    holder = await password_check.find_user(call, new.email)
    if holder is not None and administers:
        raise EmailTaken("another user has this address: change that user, or give another address")
    if holder is not None:
        await mail(call, holder, Purpose.ADDRESS_TAKEN)
        return _answer(user)
    await _stage(call, user, roles)
    return _answer(user)


@handles(api.get_me)
async def get_me(call: Call) -> Response[User]:
    if call.caller.kind == "key":
        owner = await access.owner_id(call)
        if owner is None:
            raise SessionNeeded("this key belongs to no user: log in, or use a key of a user")
        return _answer(await call.one(store.USER, id=owner, tenant=call.tenant))
    return _answer(await access.myself(call))


@handles(api.update_me)
async def update_me(call: Call, changes: OwnChanges) -> Response[User]:
    user = await access.myself(call)
    call.require_match(user_tag(user))
    wanted = UserChanges(
        display_name=changes.display_name, profile=changes.profile, locale=changes.locale
    )
    return _answer(await _change(call, user, wanted))


@handles(api.delete_me)
async def delete_me(call: Call, query: Removal) -> None:
    user = await access.myself(call)
    call.require_match(user_tag(user))
    await _remove(call, user, query.erase)


@handles(api.change_email)
async def change_email(call: Call, change: EmailChange) -> None:
    user = await access.myself(call)
    if not await password_check.password_is_right(call, user.email_key, user, change.password):
        raise WrongPassword()
    email = model.email(change.email)
    asked = mailed(call, user.id, Purpose.CHANGE_EMAIL)
    wait_ms = await mail_wait_ms(call, asked, freely=True)
    if wait_ms:
        raise MailThrottled(
            "you asked for too many changes of address: try again later",
            retry_after_s=wait_ms / 1000,
        )
    holder = await password_check.find_user(call, change.email)
    if holder is None or holder.id == user.id:
        await mail(call, user, Purpose.CHANGE_EMAIL, email)
    else:
        await mail(call, holder, Purpose.ADDRESS_TAKEN)


@handles(api.send_verification)
async def send_verification(call: Call) -> None:
    user = await access.myself(call)
    if not user.email_verified:
        await mail(call, user, Purpose.VERIFY_EMAIL)


@handles(api.verify_email)
async def verify_email(call: Call, given: EmailProof) -> None:
    refusal = BadMailToken.at("/token", "is unknown, used or expired: ask for another mail")
    token = await call.find(
        store.MAIL_TOKEN_BY_HASH, tenant=call.tenant, hash=model.secret_hash(given.token)
    )
    if token is None or token.expires_ms <= call.now_ms:
        raise refusal
    user = await call.find(store.USER, id=token.user_id, tenant=call.tenant)
    if user is None:
        raise refusal
    if token.purpose == Purpose.CHANGE_EMAIL:
        holder = await password_check.find_user(call, token.email)
        if holder is not None and holder.id != user.id:
            raise refusal
    elif token.purpose != Purpose.VERIFY_EMAIL or user.email != token.email:
        raise refusal
    call.write(store.SPEND_MAIL_TOKEN(id=token.id).expect(1, refusal))
    await _store(call, user, {"email_verified": True, **_addressed(token.email)})
    if model.email_key(token.email) != user.email_key:
        await notify(call, user, Purpose.ADDRESS_CHANGED)


@handles(api.undo_email_change)
async def undo_email_change(call: Call, undo: EmailUndo) -> None:
    refusal = BadMailToken.at("/token", "is unknown, used or expired: ask an administrator")
    hashed = model.secret_hash(undo.token)
    token = await call.find(store.MAIL_TOKEN_BY_HASH, tenant=call.tenant, hash=hashed)
    if token is None or token.expires_ms <= call.now_ms or token.purpose != Purpose.ADDRESS_CHANGED:
        raise refusal
    user = await call.find(store.USER, id=token.user_id, tenant=call.tenant)
    holder = await password_check.find_user(call, token.email)
    if user is None or (holder is not None and holder.id != user.id):
        raise refusal
    password = await password_check.new_password(call, undo.password, token.email)
    call.write(store.SPEND_MAIL_TOKEN(id=token.id).expect(1, refusal))
    of_user = {"tenant": call.tenant, "user_id": user.id}
    call.write(store.END_MAIL_TOKENS_FROM(**of_user, id=token.id))
    fields = {"email_verified": True, "password_hash": password, **_addressed(token.email)}
    await _store(call, user, fields)
    await end_sessions(call, user.id, "email")
    await end_api_keys(call, user.id)
    since_ms = token.created_ms - THEFT_MS
    if any(row.created_ms >= since_ms for row in await passkeys.of_user(call, user.id)):
        call.emit(api.PasskeyDeleted(user.id, None, "undo"))
    call.write(
        store.END_PASSKEYS_SINCE(**of_user, since_ms=since_ms),
        store.END_IDENTITIES_SINCE(**of_user, since_ms=since_ms),
    )
    call.emit(api.PasswordChanged(user.id, "undo"))


@handles(api.list_users)
async def list_users(call: Call, query: UserQuery) -> Page[User]:
    if query.email is not None:
        user = await password_check.find_user(call, query.email)
        await access.note_read(call, None if user is None else user.id)
        return Page([] if user is None else [present_user(user)])
    start = query.after_id("user")
    await access.note_read(call, None)
    rows = await call.page(store.USER_PAGE, tenant=call.tenant, after=start, limit=query.limit)
    return Page.of(rows, present_user, lambda user: user.id)


@handles(api.get_user)
async def get_user(call: Call, id: str) -> Response[User]:
    user = await _user(call, id)
    await access.note_read(call, user.id)
    return _answer(user)


@handles(api.update_user)
async def update_user(call: Call, id: str, changes: UserChanges) -> Response[User | None]:
    user = await _user(call, id)
    call.require_match(user_tag(user))
    access.require_over(call, user.scopes)
    changed = await _change(call, user, changes)
    readable = user.id == call.caller.id or call.caller.allows(api.READ)
    return Response.shown_if(readable, present_user(changed), etag=user_tag(changed))


@handles(api.disable_user)
async def disable_user(call: Call, id: str, given: Disabling) -> Response[User | None]:
    reason = given.reason.strip()
    if not reason:
        raise Invalid.at("/reason", "says nothing: tell whoever enables the user why")
    return await _set_disabled(call, id, reason)


@handles(api.enable_user)
async def enable_user(call: Call, id: str) -> Response[User | None]:
    return await _set_disabled(call, id, "")


async def _set_disabled(call: Call, id: str, reason: str) -> Response[User | None]:
    """Stage that a user is disabled for a reason, or without one enabled.

    The row goes first: a log-in that waits for it finds the user as it is then.
    """
    user = await _user(call, id)
    call.require_match(user_tag(user))
    access.require_over(call, user.scopes)
    readable = user.id == call.caller.id or call.caller.allows(api.READ)
    if user.disabled_reason != reason:
        was_ms = call.now_ms if user.disabled_ms is None else user.disabled_ms
        fields: dict[str, Any] = {
            "disabled_ms": was_ms if reason else None,
            "disabled_reason": reason,
            "updated_ms": call.now_ms,
        }
        call.write(USERS.update(user, **fields))
        user = msgspec.structs.replace(user, version=user.version + 1, **fields)
        if reason:
            await end_sessions(call, user.id, "disabled")
        call.emit(api.UserDisabled(user.id, reason) if reason else api.UserEnabled(user.id))
    return Response.shown_if(readable, present_user(user), etag=user_tag(user))


@handles(api.delete_user)
async def delete_user(call: Call, id: str, query: Removal) -> None:
    if not is_id(id, "user"):
        raise NotFound()
    user = await call.find(store.USER, id=id, tenant=call.tenant)
    if user is not None:
        call.require_match(user_tag(user))
        access.require_over(call, user.scopes)
        await _remove(call, user, query.erase)
        return
    if not query.erase or not await call.use(PersonalFields).knows(call, id):
        raise NotFound()
    gone = await call.find(store.GONE_USER, tenant=call.tenant, id=id)
    access.require_over(call, model.EVERYTHING if gone is None else gone.scopes)
    if gone is not None:
        call.write(GONE.delete_unguarded(gone))
    _erase(call, id)


async def stage_user(
    call: Call,
    email: str,
    *,
    display_name: str,
    verified: bool,
    password_hash: str = "",
    roles: frozenset[str] = frozenset({model.USER_ROLE}),
    mails: bool = True,
    locale: str = "",
) -> KnownUser:
    """Stage somebody who signs up by other means than a password, and the mail if it needs one.

    Without ``mails`` nobody is asked to prove the address.
    """
    if not verified and mails:
        await count_for_caller(call)
    user = _new_user(
        call, email, display_name.strip(), set(roles), password_hash,
        verified=verified, locale=locale,
    )  # fmt: skip
    await _stage(call, user, set(roles), mails=mails)
    return user


def _new_user(
    call: Call,
    email: str,
    name: str,
    roles: set[str],
    hashed: str,
    *,
    locale: str,
    verified: bool = False,
) -> KnownUser:
    return KnownUser(
        id=call.new_id("user"),
        tenant=call.tenant,
        version=1,
        email=email,
        email_key=model.email_key(email),
        email_verified=verified,
        display_name=name,
        password_hash=hashed,
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
        disabled_ms=None,
        disabled_reason="",
        profile=profiles.NONE,
        locale=locale,
        roles=" ".join(roles),
        scopes="",
    )


async def _stage(call: Call, user: KnownUser, roles: set[str], *, mails: bool = True) -> None:
    stored = {name: getattr(user, name) for name in UserRow.__struct_fields__}
    call.write(USERS.insert(UserRow(**stored), on_conflict=Rerun))
    await _grant(call, user.id, roles, free={model.USER_ROLE})
    call.emit(api.UserCreated(**msgspec.structs.asdict(present_user(user))))
    if mails and not user.email_verified:
        await mail(call, user, Purpose.VERIFY_EMAIL)


def _answer(user: KnownUser) -> Response[User]:
    return Response(present_user(user), etag=user_tag(user))


async def _user(call: Call, id: str) -> KnownUser:
    if not is_id(id, "user"):
        raise NotFound()
    return await call.one(store.USER, id=id, tenant=call.tenant)


async def _change(call: Call, user: KnownUser, changes: UserChanges) -> KnownUser:
    """Stage changes to a user, and the mail that a new address needs."""
    fields: dict[str, object] = {}
    if changes.display_name is not UNSET:
        fields["display_name"] = changes.display_name.strip()
    if changes.locale is not UNSET:
        fields["locale"] = model.locale(changes.locale)
    if changes.profile is not UNSET:
        fields["profile"] = profiles.changed(call, user.profile, changes.profile)
    if changes.email is not UNSET and (email := model.email(changes.email)) != user.email:
        holder = await password_check.find_user(call, email)
        if holder is not None and holder.id != user.id:
            raise EmailTaken("another user has this address: give another one")
        fields |= {"email_verified": False, **_addressed(email)}
    roles = user.roles
    if changes.roles is not UNSET:
        held, wanted = set(model.words(roles)), set(changes.roles)
        await _grant(call, user.id, wanted - held)
        for role in sorted(held - wanted):
            call.write(GRANTS.delete_unguarded(GrantRow(call.tenant, user.id, role)))
        roles = model.stored(wanted)
    changed = await _store(call, user, fields, roles)
    if changed.email_key != user.email_key:
        await notify(call, user, Purpose.ADDRESS_REPLACED)
    return changed


def _addressed(email: str) -> dict[str, object]:
    return {"email": email, "email_key": model.email_key(email)}


async def _store(
    call: Call, user: KnownUser, fields: dict[str, object], roles: str | None = None
) -> KnownUser:
    """Stage fields of a user. Whoever came in by another address is out: sessions and keys end."""
    changed = msgspec.structs.replace(
        user,
        version=user.version + 1,
        updated_ms=call.now_ms,
        roles=user.roles if roles is None else roles,
        **fields,
    )
    call.write(USERS.update(user, updated_ms=call.now_ms, **fields))
    call.emit(api.UserUpdated(**msgspec.structs.asdict(present_user(changed))))
    if changed.email != user.email:
        await end_sessions(call, user.id, "email")
        await end_api_keys(call, user.id)
        of_user = {"tenant": call.tenant, "user_id": user.id}
        call.write(store.END_MAIL_TOKENS_FOR_OTHER_ADDRESS(**of_user))
    if changed.email != user.email and not changed.email_verified:
        await mail(call, changed, Purpose.VERIFY_EMAIL)
    return changed


async def _grant(
    call: Call, user_id: str, names: set[str], free: frozenset[str] | set[str] = frozenset()
) -> None:
    """Stage roles for a user. The caller holds what they give, but for those given to anyone.

    A role that somebody may delete is touched, so that its deletion and this grant never both win.
    """
    for at, name in enumerate(sorted(names)):
        role = await call.find(store.ROLE, tenant=call.tenant, name=name)
        if role is None:
            raise Invalid.at(f"/roles/{at}", f"there is no role {name!r}")
        if name not in free:
            access.require_held(call, [role.scopes])
        call.write(GRANTS.insert(GrantRow(call.tenant, user_id, name), on_conflict=None))
        if name not in model.BUILT_IN_ROLES:
            call.write(ROLES.update(role))


async def _remove(call: Call, user: KnownUser, erases: bool) -> None:
    """Stage the end of a user. The row goes first: a login that waits for it finds nobody."""
    of_user = {"tenant": call.tenant, "user_id": user.id}
    call.write(USERS.delete(user))
    await end_sessions(call, user.id, "deleted")
    await end_api_keys(call, user.id)
    second_factor.forget_factors(call, user.id)
    await membership.end_memberships(call, user.id)
    call.write(
        store.END_INVITATIONS_TO(tenant=call.tenant, email_key=user.email_key),
        store.TAKE_ALL_ROLES(**of_user),
        store.END_MAIL_TOKENS(**of_user),
        store.END_IDENTITIES(**of_user),
        store.END_OAUTH_CONSENTS(**of_user),
        store.END_DEVICES(**of_user),
        store.FORGET_IMPERSONATIONS(**of_user),
        store.FORGET_FAILURES(
            tenant=call.tenant, account=password_check.account_of(call, user.email_key)
        ),
        store.FORGET_READS_OF(tenant=call.tenant, person=user.id),
        store.FORGET_READS_BY(tenant=call.tenant, reader=user.id),
    )
    for purpose in Purpose:
        for what in (model.email_key(user.email), user.id):
            account = mailed(call, what, purpose)
            call.write(store.FORGET_MAILS(tenant=call.tenant, account=account))
    whole = to_address(call, model.email_key(user.email))
    call.write(store.FORGET_MAILS(tenant=call.tenant, account=whole))
    call.emit(api.UserDeleted(user.id))
    if erases:
        _erase(call, user.id)
    else:
        held = model.stored(model.words(user.scopes))
        call.write(GONE.insert(GoneRow(call.tenant, user.id, held, call.now_ms), on_conflict=None))


def _erase(call: Call, user_id: str) -> None:
    call.write(*call.use(PersonalFields).erase(call, user_id))
    call.emit(api.UserErased(user_id))
    call.enqueue(api.forget_mail, person=user_id)
    call.enqueue(api.scrub.configure(unique_key="users.scrub"))

"""Operations on users: sign-up, oneself, and what administrators do."""

import zlib

import msgspec
from msgspec import UNSET

from mainspring.kernel.call import Call
from mainspring.kernel.errors import Fault, Invalid, NotFound
from mainspring.kernel.ids import is_id
from mainspring.kernel.operation import Answer
from mainspring.kernel.page import Page
from mainspring.kernel.policy import RateClass
from mainspring.runtime.erasure import erase
from mainspring.runtime.tables import SUBJECT_KEY
from mainspring.services.users import model, proof, store
from mainspring.services.users.api import (
    ApiKeyRevoked,
    BadMailToken,
    EmailChange,
    EmailProof,
    EmailTaken,
    NewUser,
    OwnChanges,
    PasswordThrottled,
    Removal,
    ScopeNotHeld,
    SessionNeeded,
    SignUpClosed,
    User,
    UserChanges,
    UserCreated,
    UserDeleted,
    UserErased,
    UserQuery,
    UsersSettings,
    UserUpdated,
    WrongPassword,
    service,
)
from mainspring.services.users.jobs import Purpose, forget_mail, mail_token, scrub
from mainspring.services.users.operations.sessions import end_sessions
from mainspring.services.users.store import GRANTS, ROLES, USERS, GrantRow, KnownUser, UserRow

KEYS_NAMED_MAX = 1_000  # keys of one user that are named in events when it is deleted


@service.operation(
    "POST /v1/users",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    raises=(EmailTaken, SignUpClosed, ScopeNotHeld),
)
async def create_user(call: Call, new: NewUser) -> Answer[User]:
    """Sign up. A mail to prove the address is on its way. Emits users.user.created.

    Of several sign-ups with one address one wins, the others are EmailTaken.
    """
    if not call.use(UsersSettings).sign_up and not call.caller.allows("users:write"):
        raise SignUpClosed("ask an administrator for an account")
    if set(new.roles) != {model.USER_ROLE} and not call.caller.allows("users:write"):
        raise ScopeNotHeld("roles are given by those with the scope users:write")
    email = model.email(new.email)
    email_key = model.email_key(email)
    if await call.find(store.USER_BY_EMAIL, tenant=call.tenant, email_key=email_key) is not None:
        raise EmailTaken("log in, or reset the password")
    row = UserRow(
        id=call.new_id("user"),
        tenant=call.tenant,
        version=1,
        email=email,
        email_key=email_key,
        email_verified=False,
        display_name=new.display_name.strip(),
        password_hash=await proof.new_password(call, new.password, email),
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
    )
    roles = set(new.roles)
    user = KnownUser(**msgspec.structs.asdict(row), roles=" ".join(roles), scopes="")
    call.write(USERS.insert(row, taken=EmailTaken))
    await _grant(call, user.id, roles, free={model.USER_ROLE})
    call.emit(UserCreated(**msgspec.structs.asdict(proof.shown(user))))
    mail_token(call, user, Purpose.VERIFY_EMAIL)
    return _answer(user)


@service.operation("GET /v1/users/me", scope="users:own", raises=(SessionNeeded,))
async def read_me(call: Call) -> Answer[User]:
    """Read yourself; with an API key, its owner."""
    if call.caller.kind == "key":
        owner = await proof.owner_id(call)
        if owner is None:
            raise SessionNeeded("this key belongs to no user")
        return _answer(await call.one(store.USER, id=owner, tenant=call.tenant))
    return _answer(await proof.myself(call))


@service.operation("PATCH /v1/users/me", scope="users:own", raises=(SessionNeeded,))
async def update_me(call: Call, changes: OwnChanges) -> Answer[User]:
    """Change your name. Emits users.user.updated."""
    user = await proof.myself(call)
    call.require_match(etag(user))
    return await _change(call, user, UserChanges(display_name=changes.display_name))


@service.operation("DELETE /v1/users/me", scope="users:own", raises=(SessionNeeded,))
async def delete_me(call: Call, query: Removal) -> None:
    """Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased."""
    user = await proof.myself(call)
    call.require_match(etag(user))
    await _remove(call, user, query.erase)


@service.operation(
    "POST /v1/users/me:change_email",
    scope="users:own",
    rate=RateClass.LOGIN,  # each mails an address of the caller's choice
    raises=(EmailTaken, WrongPassword, SessionNeeded, PasswordThrottled),
)
async def change_email(call: Call, change: EmailChange) -> Answer[User]:
    """Change your address, which must be proved anew. Emits users.user.updated."""
    user = await proof.myself(call)
    if not await proof.prove(call, user.email_key, user, change.password):
        raise WrongPassword()
    return await _change(call, user, UserChanges(email=change.email))


@service.operation("POST /v1/users/me:send_verification", scope="users:own", status=202)
async def send_verification(call: Call) -> None:
    """Mail the token that proves the address once more, at most once a minute."""
    user = await proof.myself(call)
    newest = await call.find(
        store.NEWEST_MAIL_TOKEN,
        tenant=call.tenant,
        user_id=user.id,
        purpose=Purpose.VERIFY_EMAIL.value,
    )
    every_ms = call.use(UsersSettings).mail_every_s * 1000
    if user.email_verified or (newest is not None and call.now_ms - newest.created_ms < every_ms):
        return
    mail_token(call, user, Purpose.VERIFY_EMAIL)


@service.operation(
    "POST /v1/users:verify_email", scope=None, status=204, rate=RateClass.LOGIN,
    raises=(BadMailToken,),
)  # fmt: skip
async def verify_email(call: Call, given: EmailProof) -> None:
    """Prove an address with the token that was mailed to it. Emits users.user.updated."""
    refusal = BadMailToken(faults=(Fault("/token", "unknown, used or expired"),))
    token = await call.find(
        store.MAIL_TOKEN_BY_HASH,
        tenant=call.tenant,
        hash=model.token_hash(given.token),
        purpose=Purpose.VERIFY_EMAIL.value,
    )
    if token is None or token.expires_ms <= call.now_ms:
        raise refusal
    user = await call.find(store.USER, id=token.user_id, tenant=call.tenant)
    if user is None or user.email != token.email:
        raise refusal
    call.write(USERS.update(user, email_verified=True, updated_ms=call.now_ms))
    call.write(store.SPEND_MAIL_TOKEN(id=token.id).expect(1, refusal))
    proved = msgspec.structs.replace(user, email_verified=True, updated_ms=call.now_ms)
    call.emit(UserUpdated(**msgspec.structs.asdict(proof.shown(proved))))


@service.operation("GET /v1/users", scope="users:read")
async def list_users(call: Call, query: UserQuery) -> Page[User]:
    """List users in the order they signed up, or find one by address."""
    if query.email is not None:
        email_key = model.email_key(query.email)
        user = await call.find(store.USER_BY_EMAIL, tenant=call.tenant, email_key=email_key)
        return Page([] if user is None else [proof.shown(user)])
    start = proof.after(query.cursor, "user")
    rows = await call.page(store.USER_PAGE, tenant=call.tenant, after=start, limit=query.limit)
    return Page.of(rows, proof.shown, lambda user: user.id)


@service.operation("GET /v1/users/{id}", scope="users:read")
async def read_user(call: Call, id: str) -> Answer[User]:
    """Read a user."""
    return _answer(await _user(call, id))


@service.operation(
    "PATCH /v1/users/{id}",
    scope="users:write",
    raises=(EmailTaken, ScopeNotHeld),
)
async def update_user(call: Call, id: str, changes: UserChanges) -> Answer[User]:
    """Change a user who may do no more than you. Emits users.user.updated.

    Another address must be proved anew. Roles are given and taken only by those who hold every
    scope the role gives.
    """
    user = await _user(call, id)
    call.require_match(etag(user))
    proof.require_held(call, [user.scopes])
    return await _change(call, user, changes)


@service.operation("DELETE /v1/users/{id}", scope="users:write", raises=(ScopeNotHeld,))
async def delete_user(call: Call, id: str, query: Removal) -> None:
    """Delete a user who may do no more than you, with all sessions and keys.

    With ``erase`` the person's key is destroyed as well, also when the user was deleted before.
    Emits users.user.deleted, users.user.erased.
    """
    if not is_id(id, "user"):
        raise NotFound()
    user = await call.find(store.USER, id=id, tenant=call.tenant)
    if user is not None:
        call.require_match(etag(user))
        proof.require_held(call, [user.scopes])
        await _remove(call, user, query.erase)
        return
    key = await call.find(SUBJECT_KEY, tenant=call.tenant, person=id)
    if not query.erase or key is None or not key.sealed:
        raise NotFound()
    _erase(call, id)


def etag(user: KnownUser) -> str:
    """The strong entity tag; roles count, because deleting a role takes it from its holders."""
    roles = zlib.crc32(" ".join(model.words(user.roles)).encode())
    return f'"{user.version}-{roles:x}"'


def _answer(user: KnownUser) -> Answer[User]:
    return Answer(proof.shown(user), etag=etag(user))


async def _user(call: Call, id: str) -> KnownUser:
    if not is_id(id, "user"):
        raise NotFound()
    return await call.one(store.USER, id=id, tenant=call.tenant)


async def _change(call: Call, user: KnownUser, changes: UserChanges) -> Answer[User]:
    """Stage changes to a user, and the mail that a new address needs."""
    fields: dict[str, object] = {}
    if changes.display_name is not UNSET:
        fields["display_name"] = changes.display_name.strip()
    if changes.email is not UNSET and (email := model.email(changes.email)) != user.email:
        email_key = model.email_key(email)
        other = await call.find(store.USER_BY_EMAIL, tenant=call.tenant, email_key=email_key)
        if other is not None and other.id != user.id:
            raise EmailTaken()
        fields |= {"email": email, "email_key": email_key, "email_verified": False}
    roles = user.roles
    if changes.roles is not UNSET:
        held, wanted = set(model.words(roles)), set(changes.roles)
        await _grant(call, user.id, wanted - held)
        for role in sorted(held - wanted):
            call.write(GRANTS.delete_unguarded(GrantRow(call.tenant, user.id, role)))
        roles = model.stored(wanted)
    changed = msgspec.structs.replace(
        user, version=user.version + 1, updated_ms=call.now_ms, roles=roles, **fields
    )
    call.write(USERS.update(user, updated_ms=call.now_ms, **fields))
    call.emit(UserUpdated(**msgspec.structs.asdict(proof.shown(changed))))
    if "email" in fields:
        mail_token(call, changed, Purpose.VERIFY_EMAIL)
    return _answer(changed)


async def _grant(
    call: Call, user_id: str, names: set[str], free: frozenset[str] | set[str] = frozenset()
) -> None:
    """Stage roles for a user. The caller holds what they give, but for those given to anyone.

    A role that somebody may delete is touched, so that its deletion and this grant never both win.
    """
    for at, name in enumerate(sorted(names)):
        role = await call.find(store.ROLE, tenant=call.tenant, name=name)
        if role is None:
            raise Invalid(faults=(Fault(f"/roles/{at}", f"there is no role {name}"),))
        if name not in free:
            proof.require_held(call, [role.scopes])
        call.write(GRANTS.insert(GrantRow(call.tenant, user_id, name), taken=None))
        if name not in model.BUILT_IN_ROLES:
            call.write(ROLES.update(role))


async def _remove(call: Call, user: KnownUser, erases: bool) -> None:
    """Stage the end of a user. The row goes first: a login that waits for it finds nobody."""
    of_user = {"tenant": call.tenant, "user_id": user.id}
    keys = await call.all(
        store.API_KEY_PAGE_OF, tenant=call.tenant, owner_id=user.id, after="", limit=KEYS_NAMED_MAX
    )
    call.write(USERS.delete(user))
    await end_sessions(call, user.id, "deleted")
    call.write(
        store.END_API_KEYS(tenant=call.tenant, owner_id=user.id),
        store.TAKE_ALL_ROLES(**of_user),
        store.END_MAIL_TOKENS(**of_user),
        store.FORGET_FAILURES(tenant=call.tenant, account=proof.account_of(call, user.email_key)),
    )
    for key in keys:
        call.emit(ApiKeyRevoked(key.id, user.id))
    call.emit(UserDeleted(user.id))
    if erases:
        _erase(call, user.id)


def _erase(call: Call, user_id: str) -> None:
    call.write(erase(call.tenant, user_id))
    call.emit(UserErased(user_id))
    call.enqueue(forget_mail, person=user_id)
    call.enqueue(scrub, unique_key="users.scrub")

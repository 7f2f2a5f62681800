"""What operations share: proving a password, throttled; who is asking; what they may act on.

Its own room because logging in, changing a password and changing an address prove alike.
"""

import zlib
from collections.abc import Iterable

import structlog

from mainspring.kernel.call import Call
from mainspring.kernel.clock import elapsed_ms, rfc3339
from mainspring.kernel.errors import FieldError, Invalid, Rerun
from mainspring.kernel.ids import is_id
from mainspring.kernel.operation import Response
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model, store
from mainspring.services.users.api import (
    PasswordRefused,
    PasswordThrottled,
    ScopeNotHeld,
    SessionNeeded,
    User,
    UserRead,
    UsersListed,
    service,
)
from mainspring.services.users.passwords import Passwords
from mainspring.services.users.store import KnownUser

log = structlog.get_logger()

STRANGERS_TOLD_MAX = 100  # events an hour of this process about addresses that nobody has


def account_of(call: Call, email_key: str) -> bytes:
    """Name an address where failures are counted, without keeping it."""
    return call.use(Keyring).fingerprint(email_key.encode(), purpose="users.account")


async def find_user(call: Call, email: str) -> KnownUser | None:
    """Find a user by an address in any spelling."""
    key = model.email_key(email)
    return await call.find(store.USER_BY_EMAIL, tenant=call.tenant, email_key=key)


async def prove(call: Call, email_key: str, user: KnownUser | None, password: str) -> bool:
    """Tell whether the password is the user's, and stage what that changes.

    A wrong one is counted: raise a failure that keeps what is staged. A right one forgets the
    count, and commits only while the password is still this one and nobody has guessed wrong since:
    a burst of guesses gains nothing. Known and unknown addresses read, hash and write alike. Raises
    PasswordThrottled, Unavailable.
    """
    account = account_of(call, email_key)
    passwords = call.use(Passwords)
    await _refuse_throttled(call, account)
    typed = model.typed_password(password)
    hashed = None if user is None else user.password_hash
    right = await passwords.verify(hashed, typed, share=call.account)
    failures = await _refuse_throttled(call, account)  # again: the hash took its time
    if user is None or not right:
        call.write(
            store.COUNT_FAILURE(
                tenant=call.tenant,
                account=account,
                now_ms=call.now_ms,
                forgotten_ms=call.now_ms - model.FAILURES_FORGOTTEN_MS,
            )
        )
        _tell_of_failure(call, account, user, failures + 1)
        return False
    fresh = user.password_hash
    if passwords.is_stale(fresh):
        fresh = await passwords.hash(typed, share=call.account)
    keep = store.KEEP_PASSWORD(
        id=user.id,
        hashed=user.password_hash,
        fresh=fresh,
        tenant=call.tenant,
        account=account,
        failures=failures,
    )
    call.write(keep.expect(1, Rerun))
    if failures:
        call.write(store.FORGET_FAILURES(tenant=call.tenant, account=account))
    return True


@service.state
class Strangers:
    """Bounds the events about addresses that nobody has: their number has no other bound."""

    __slots__ = ("_began_ms", "_told")

    def __init__(self) -> None:
        self._began_ms = 0
        self._told = 0

    def tells(self, now_ms: int) -> bool:
        """Tell whether one more is told of in this hour, and count it."""
        if elapsed_ms(self._began_ms, now_ms) >= model.FAILURES_FORGOTTEN_MS:
            self._began_ms, self._told = now_ms, 0
        self._told += 1
        return self._told <= STRANGERS_TOLD_MAX


def _tell_of_failure(call: Call, account: bytes, user: KnownUser | None, failures: int) -> None:
    """Log a wrong password, and stage the event that some of them leave."""
    user_id = None if user is None else user.id
    log.warning(
        "wrong_password", account=account.hex(), user_id=user_id, failures=failures,
        caller=call.caller.actor, request_id=call.request_id,
    )  # fmt: skip
    if not model.tells_of_failure(failures):
        return
    if user is not None or call.use(Strangers).tells(call.now_ms):
        call.emit(PasswordRefused(account.hex(), user_id, failures))


async def _refuse_throttled(call: Call, account: bytes) -> int:
    """Return how many failures are counted. Raises PasswordThrottled while the account waits."""
    row = await call.find(store.FAILURE, tenant=call.tenant, account=account)
    if row is None:
        return 0
    wait_ms = model.wait_ms(row.failures, row.failed_ms, call.now_ms)
    if wait_ms:
        log.warning("password_throttled", account=account.hex(), request_id=call.request_id)
        raise PasswordThrottled(
            "too many wrong passwords for this address", retry_after_s=wait_ms / 1000
        )
    return row.failures


async def new_password(call: Call, text: str, address: str, pointer: str = "/password") -> str:
    """Return the hash of a new password. Raises Invalid at ``pointer``, Unavailable."""
    passwords = call.use(Passwords)
    normal = model.password(text, address, pointer)
    if await passwords.is_common(normal, share=call.account):
        raise Invalid(faults=(FieldError(pointer, "one of the most used passwords"),))
    return await passwords.hash(normal, share=call.account)


async def note_read(call: Call, person: str | None) -> None:
    """Stage the event that somebody looked at another person, or a list of people (None).

    One an hour for each that looks and each that is looked at.
    """
    reader = call.caller.actor
    if person == reader:
        return
    row = await call.find(store.READ, tenant=call.tenant, reader=reader, person=person or "")
    if row is not None and elapsed_ms(row.read_ms, call.now_ms) < model.READ_TOLD_MS:
        return
    call.write(
        store.NOTE_READ(tenant=call.tenant, reader=reader, person=person or "", now_ms=call.now_ms)
    )
    call.emit(UsersListed(reader) if person is None else UserRead(person, reader))


async def myself(call: Call) -> KnownUser:
    """Return the user who asks. Raises SessionNeeded for callers that are not persons."""
    if call.caller.kind != "user":
        raise SessionNeeded("this is about yourself: log in as a user")
    return await call.one(store.USER, id=call.caller.id, tenant=call.tenant)


async def owner_id(call: Call) -> str | None:
    """Return the user on whose behalf the caller acts; None for keys that stand for themselves."""
    if call.caller.kind == "user":
        return call.caller.id
    if call.caller.kind == "key":
        row = await call.find(store.API_KEY, id=call.caller.id, tenant=call.tenant)
        return None if row is None else row.owner_id
    return None


def require_held(call: Call, scopes: Iterable[str]) -> None:
    """Let only those pass who hold every one of the scopes they asked for. Raises ScopeNotHeld."""
    if beyond := [
        scope for scope in model.words(" ".join(scopes)) if not call.caller.allows(scope)
    ]:
        raise ScopeNotHeld("not held: " + ", ".join(beyond[:10]))


def require_over(call: Call, held: str) -> None:
    """Let only those act on somebody who hold every scope that somebody holds.

    Whoever may change users could otherwise take over one who may do more. What is held about
    oneself (``users:own``) is less than ``users:write``. The refusal does not tell what is held.
    Raises ScopeNotHeld.
    """
    for scope in model.words(held):
        service, _, what = scope.partition(":")
        if call.caller.allows(scope) or (what == "own" and call.caller.allows(service + ":write")):
            continue
        raise ScopeNotHeld("they hold scopes that you do not")


def answer_to(call: Call, user: KnownUser, status: int | None = None) -> Response[User | None]:
    """Answer a write with the user it left, for those who may read it; else with nothing."""
    if user.id != call.caller.id and not call.caller.allows("users:read"):
        return Response(None, status=204)
    return Response(shown(user), status=status, etag=etag(user))


def etag(user: KnownUser) -> str:
    """The strong entity tag; roles count, because deleting a role takes it from its holders."""
    roles = zlib.crc32(" ".join(model.words(user.roles)).encode())
    return f'"{user.version}-{roles:x}"'


def shown(user: KnownUser) -> User:
    """Write a user as it is answered."""
    return User(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified,
        display_name=user.display_name,
        roles=model.words(user.roles),
        created_at=rfc3339(user.created_ms),
        updated_at=rfc3339(user.updated_ms),
    )


def after(cursor: str | None, prefix: str) -> str:
    """Return the id a page starts after; empty is the start. Raises Invalid for what is no id."""
    if not cursor:
        return ""
    if not is_id(cursor, prefix):
        raise Invalid(faults=(FieldError("/cursor", "not a next_cursor of this list"),))
    return cursor

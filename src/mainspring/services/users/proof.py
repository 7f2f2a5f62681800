"""What operations share: proving a password, throttled; who is asking; what they may act on.

Its own room because logging in, changing a password and changing an address prove alike.
"""

from collections.abc import Iterable

from mainspring.kernel.call import Call
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Fault, Invalid, Rerun
from mainspring.kernel.ids import is_id
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model, store
from mainspring.services.users.api import (
    PasswordThrottled,
    ScopeNotHeld,
    SessionNeeded,
    User,
)
from mainspring.services.users.passwords import Passwords
from mainspring.services.users.store import KnownUser


def account_of(call: Call, email_key: str) -> bytes:
    """Name an address where failures are counted, without keeping it."""
    return call.use(Keyring).fingerprint(email_key.encode(), purpose="users.account")


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
    right = await passwords.verify(None if user is None else user.password_hash, typed)
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
        return False
    fresh = user.password_hash
    if passwords.is_stale(fresh):
        fresh = await passwords.hash(typed)
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


async def _refuse_throttled(call: Call, account: bytes) -> int:
    """Return how many failures are counted. Raises PasswordThrottled while the account waits."""
    row = await call.find(store.FAILURE, tenant=call.tenant, account=account)
    if row is None:
        return 0
    wait_ms = model.wait_ms(row.failures, row.failed_ms, call.now_ms)
    if wait_ms:
        raise PasswordThrottled(
            "too many wrong passwords for this address", retry_after_s=wait_ms / 1000
        )
    return row.failures


async def new_password(call: Call, text: str, address: str, pointer: str = "/password") -> str:
    """Return the hash of a new password. Raises Invalid at ``pointer``, Unavailable."""
    passwords = call.use(Passwords)
    normal = model.password(text, address, pointer)
    if await passwords.is_common(normal):
        raise Invalid(faults=(Fault(pointer, "one of the most used passwords"),))
    return await passwords.hash(normal)


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
    """Let only those pass who hold every one of these scopes. Raises ScopeNotHeld.

    Whoever may change users could otherwise take over one who may do more.
    """
    asked = model.words(" ".join(scopes))
    if beyond := [scope for scope in asked if not call.caller.allows(scope)]:
        raise ScopeNotHeld("not held: " + ", ".join(beyond[:10]))


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
        raise Invalid(faults=(Fault("/cursor", "not a next_cursor of this list"),))
    return cursor

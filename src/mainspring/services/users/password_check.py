"""Checking a password: throttled, and alike for addresses that are known and that are not.

Logging in, changing a password and changing an address check alike.
"""

import structlog

from mainspring import Call, Invalid, RateLimited, Rerun, elapsed_ms
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model, screening, store
from mainspring.services.users.api import PasswordRefused, service
from mainspring.services.users.api.errors import PasswordThrottled
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


async def password_is_right(
    call: Call, email_key: str, user: KnownUser | None, password: str
) -> bool:
    """Tell whether the password is the user's, and stage what that changes.

    A wrong one is counted: raise a failure that keeps what is staged. A right one forgets the
    count, and commits only while the password is still this one and nobody has guessed wrong since:
    a burst of guesses gains nothing. Known and unknown addresses read, hash and write alike. Raises
    PasswordThrottled, Unavailable.
    """
    account = account_of(call, email_key)
    passwords = call.use(Passwords)
    await refuse_throttled(call, account, PasswordThrottled)
    typed = model.typed_password(password)
    hashed = None if user is None else user.password_hash
    decoy = await _decoy(call, account)
    right = await passwords.verify(hashed, typed, share=call.account, decoy=decoy)
    # Again: the hash took its time.
    failures = await refuse_throttled(call, account, PasswordThrottled)
    if user is None or not right:
        count_failure(call, account)
        _tell_of_failure(call, account, user, failures + 1)
        return False
    fresh = user.password_hash
    if passwords.is_stale(fresh):
        fresh = await passwords.hash(typed, share=call.account)
    forget_failures(call, account, failures, user, fresh)
    return True


async def _decoy(call: Call, account: bytes) -> str | None:
    """Return the hash that stands in for an address that nobody has; None is one of our own.

    Users who came from elsewhere cost what their hash does. An address without a user costs what
    one of these or of ours would, the same each time: how long an answer took tells little.
    """
    most = model.HASH_SHAPES_MAX
    shapes = await call.all(store.HASH_SHAPES_OF, tenant=call.tenant, limit=most)
    at = int.from_bytes(account[:8]) % (len(shapes) + 1)
    return shapes[at - 1].decoy if at else None


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


service.provide(Strangers)


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


async def refuse_throttled(call: Call, account: bytes, refusal: type[RateLimited]) -> int:
    """Return how many failures are counted. Raises ``refusal`` while the account waits."""
    row = await call.find(store.FAILURE, tenant=call.tenant, account=account)
    if row is None:
        return 0
    wait_ms = model.wait_ms(row.failures, row.failed_ms, call.now_ms)
    if wait_ms:
        log.warning(refusal.code, account=account.hex(), request_id=call.request_id)
        raise refusal(f"{refusal.title}: wait and try again", retry_after_s=wait_ms / 1000)
    return row.failures


def count_failure(call: Call, account: bytes) -> None:
    """Stage one more failure in a row."""
    call.write(
        store.COUNT_FAILURE(
            tenant=call.tenant,
            account=account,
            now_ms=call.now_ms,
            forgotten_ms=call.now_ms - model.FAILURES_FORGOTTEN_MS,
        )
    )


def forget_failures(
    call: Call, account: bytes, failures: int, user: KnownUser, fresh: str | None = None
) -> None:
    """Stage the end of the count, and ``fresh`` as the hash of the user's password.

    Commits only while the password is still the one that was read, and nobody has failed since:
    whoever resets a password, and a burst of guesses, go before.
    """
    keep = store.KEEP_PASSWORD(
        id=user.id,
        hashed=user.password_hash,
        fresh=user.password_hash if fresh is None else fresh,
        tenant=call.tenant,
        account=account,
        failures=failures,
    )
    call.write(keep.expect(1, Rerun))
    if failures:
        call.write(store.FORGET_FAILURES(tenant=call.tenant, account=account))


async def new_password(call: Call, text: str, address: str, pointer: str = "/password") -> str:
    """Return the hash of a new password. Raises Invalid at ``pointer``, Unavailable."""
    passwords = call.use(Passwords)
    normal = model.password(text, address, pointer)
    if await passwords.is_common(normal, share=call.account):
        raise Invalid.at(pointer, "is one of the most used passwords: choose another")
    await screening.refuse_breached(call, normal, pointer)
    return await passwords.hash(normal, share=call.account)

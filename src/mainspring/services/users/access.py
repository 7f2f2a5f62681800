"""Who asks, and whom they may act on."""

from collections.abc import Iterable

from mainspring import Call, Caller, Unauthenticated, elapsed_ms
from mainspring.services.users import model, store
from mainspring.services.users.api import UserRead, UsersListed
from mainspring.services.users.api.errors import ScopeNotHeld, SessionNeeded
from mainspring.services.users.store import KnownUser


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
    """Return the user who asks.

    Raises SessionNeeded for callers that are not persons, Unauthenticated where the account was
    deleted or disabled meanwhile.
    """
    if call.caller.kind != "user":
        raise SessionNeeded("this is for users about themselves: log in as a user")
    user = await call.find(store.USER, id=call.caller.id, tenant=call.tenant)
    if user is None or user.disabled_ms is not None:
        raise Unauthenticated("the account is gone or disabled")
    return user


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
        raise ScopeNotHeld("you cannot give scopes that you do not hold: " + ", ".join(beyond[:10]))


def require_over(call: Call, held: str) -> None:
    """Let only those act on somebody who hold every scope that somebody holds.

    Whoever may change users could otherwise take over one who may do more. What is held about
    oneself (``users:own``) is less than ``users:write``. The refusal does not tell what is held.
    Raises ScopeNotHeld.
    """
    if not is_over(call.caller, held):
        raise ScopeNotHeld(
            "only those who hold every scope of this user, key or role may act on it"
        )


def is_over(caller: Caller, held: str) -> bool:
    """Tell whether a caller holds every scope that somebody holds, these between spaces."""
    for scope in model.words(held):
        service, _, what = scope.partition(":")
        if not (caller.allows(scope) or (what == "own" and caller.allows(service + ":write"))):
            return False
    return True

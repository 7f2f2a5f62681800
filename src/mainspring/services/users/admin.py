"""The administrator's key: made once per database, and made again for whoever holds the machine.

Its own room because it is called before anybody can call: by the app on start, and by a command
over a platform that is stopped.
"""

from typing import Any

import structlog

from mainspring import Conflict, Entropy
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.committer import Committer
from mainspring.services.users import model, store
from mainspring.services.users.authenticate import MACHINE
from mainspring.services.users.operations.api_keys import (
    NOBODY,
    StoredSecret,
    stage_api_key,
    stage_recovery,
)
from mainspring.services.users.store import FIRST_KEYS, FirstKeyRow

log = structlog.get_logger()

NAME = "First administrator"
REQUEST_ID = "start"
SETTLED_MAX = 200  # accounts in one commit
RECOVERY_S = 60  # how long a machine's wish for a key holds

__all__ = [
    "StoredSecret",
    "ensure_admin_key",
    "machine_claims",
    "new_key",
    "recover_key",
    "settle_addresses",
]


async def ensure_admin_key(committer: Committer, text: str) -> bool:
    """Make ``text``, which is kept in a file already, a key with every scope.

    Once per database: a key that was revoked later is not made again, and a crash between file and
    commit is made good by the next start. Returns whether it was made now.
    """
    call = committer.call(SYSTEM, request_id=REQUEST_ID)
    if await call.find(store.FIRST_KEY, tenant=call.tenant) is not None:
        return False
    row = stage_api_key(call, StoredSecret.of(text), NAME, ["*"], NOBODY, expires_ms=None)
    call.write(FIRST_KEYS.insert(FirstKeyRow(call.tenant, row.id), on_conflict=Conflict))
    try:
        await committer.commit(call)
    except Conflict:  # another process of the same start was first
        return False
    return True


async def settle_addresses(committer: Committer) -> None:
    """Store anew the addresses that were stored before domains were kept as DNS has them.

    So an account is found by every spelling of its domain. Where another has the address by now,
    the older account stays as it is, and a log line names both.
    """
    after = ""
    while True:
        call = committer.call(SYSTEM, request_id=REQUEST_ID)
        page = await call.all(store.SPELT_BEYOND_ASCII, after=after, limit=SETTLED_MAX)
        for user in page:
            key = model.email_key(user.email)
            if key == user.email_key:
                continue
            of_key = {"tenant": user.tenant, "email_key": key}
            holder = await call.find(store.USER_BY_EMAIL, **of_key)
            if holder is not None:
                log.warning("address_of_two_accounts", user_id=user.id, other_id=holder.id)
                continue
            email = model.email(user.email)
            call.write(store.RESPELL(id=user.id, email=email, email_key=key, was=user.email_key))
        if call.writes:
            await committer.commit(call)
        if len(page) < SETTLED_MAX:
            return
        after = page[-1].id


async def recover_key(committer: Committer, secret: StoredSecret) -> None:
    """Make a key with every scope over a platform that is stopped."""
    call = committer.call(SYSTEM, request_id="recovery")
    stage_recovery(call, secret)
    await committer.commit(call)


def machine_claims(secret: StoredSecret, now_s: int) -> dict[str, Any]:
    """Return what a token says with which a machine asks its own platform for this very key."""
    return {"sub": MACHINE, "key": secret.hash.hex(), "iat": now_s, "exp": now_s + RECOVERY_S}


def new_key(entropy: Entropy) -> str:
    """Return the text of a new key, which nobody knows yet."""
    return model.key_text(entropy.token(model.KEY_SECRET_BYTES))

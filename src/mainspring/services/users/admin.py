"""The first administrator's key: made once per database, however often the first start is cut off.

Its own room because it is called before anybody can call: by the app, on start.
"""

from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import Entropy
from mainspring.kernel.errors import Conflict
from mainspring.runtime.dispatch import Dispatcher
from mainspring.services.users import model, store
from mainspring.services.users.operations.api_keys import NOBODY, stage_api_key
from mainspring.services.users.store import FIRST_KEYS, FirstKeyRow

NAME = "First administrator"
REQUEST_ID = "start"


async def ensure_admin_key(dispatcher: Dispatcher, text: str) -> bool:
    """Make ``text``, which is kept in a file already, a key with every scope.

    Once per database: a key that was revoked later is not made again, and a crash between file and
    commit is made good by the next start. Returns whether it was made now.
    """
    call = dispatcher.call(SYSTEM, request_id=REQUEST_ID)
    if await call.find(store.FIRST_KEY, tenant=call.tenant) is not None:
        return False
    row = stage_api_key(call, text, NAME, ["*"], NOBODY, expires_ms=None)
    call.write(FIRST_KEYS.insert(FirstKeyRow(call.tenant, row.id), taken=Conflict))
    try:
        await dispatcher.commit(call)
    except Conflict:  # another process of the same start was first
        return False
    return True


def new_key(entropy: Entropy) -> str:
    """Return the text of a new key, which nobody knows yet."""
    return model.key_text(entropy.token(model.KEY_SECRET_BYTES))

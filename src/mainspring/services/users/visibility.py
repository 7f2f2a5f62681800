"""Who sees an event about a user without ``users:read``: that user.

Its own room because the log asks it, not a caller of an operation.
"""

import msgspec

from mainspring import Call, Envelope
from mainspring.services.users.api import service


class _Whose(msgspec.Struct, frozen=True):
    id: str | None = None
    user_id: str | None = None
    owner_id: str | None = None


@service.shows
async def shows(call: Call, event: Envelope) -> bool:
    """Show people what happened to them, and to their sessions and keys."""
    if call.caller.kind != "user" or call.caller.id is None:
        return False
    whose = event.read(_Whose)
    return call.caller.id in (whose.id, whose.user_id, whose.owner_id)

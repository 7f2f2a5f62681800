"""Who sees an event about a user without ``users:read``: that user.

What happens in an organisation its members see, and of invitations its owners and admins. Its own
room because the log asks it, not a caller of an operation.
"""

import msgspec

from mainspring import Call, Envelope
from mainspring.services.users import membership, model
from mainspring.services.users.api import service

INVITATION_EVENTS = "users.invitation."


class _Whose(msgspec.Struct, frozen=True):
    id: str | None = None
    user_id: str | None = None
    owner_id: str | None = None
    organization_id: str | None = None


@service.shows
async def shows(call: Call, event: Envelope) -> bool:
    """Show people what happened to them, to their sessions and keys, and in what they belong to."""
    if call.caller.kind != "user" or call.caller.id is None:
        return False
    whose = event.read(_Whose)
    if call.caller.id in (whose.id, whose.user_id, whose.owner_id):
        return True
    if whose.organization_id is None:
        return False
    mine = await membership.member(call, whose.organization_id, call.caller.id)
    if mine is None:
        return False
    return not event.type.startswith(INVITATION_EVENTS) or model.power(mine.role) > 0

"""What the end of a user asks of records, in a job of its own commits: a user ends at once."""

from mainspring import Call, Envelope, handles
from mainspring.services.records import api
from mainspring.services.records.api import StillReferenced, service
from mainspring.services.records.ending import Ending
from mainspring.services.records.fields import USERS
from mainspring.services.records.store import REFERRING, UNLINK_TARGET

PAGE_ROWS = 100  # links that are looked after in one commit


@service.on("users.user.deleted")
async def part(call: Call, event: Envelope) -> None:
    """Go over the records that point at the user: none can begin to once it is gone."""
    call.enqueue(api.part_with_user, user=event.subject)


@handles(api.part_with_user)
async def part_with_user(call: Call, user: str, at_once: int = PAGE_ROWS) -> None:
    """Let a page of records go, or let go; then go on. Each run leaves fewer links."""
    links = await call.all(REFERRING, collection=USERS, id=user, limit=at_once)
    if not links:
        return
    ending = Ending(call)
    try:
        await ending.lose(links)
        ending.stage()
    except StillReferenced:
        if at_once > 1:  # one by one, to find what cannot go
            call.enqueue(api.part_with_user, user=user, at_once=1)
            return
    for link in links:  # of a relation or a collection that is gone, too
        place = {"collection": link.collection, "record": link.record, "field": link.field}
        call.write(UNLINK_TARGET(**place, target=user))
    call.enqueue(api.part_with_user, user=user)

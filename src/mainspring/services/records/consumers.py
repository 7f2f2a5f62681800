"""What events ask of records: the end of a user or organisation, and words to be found.

Whoever ends does at once; what is left of them is let go of in jobs.
"""

from mainspring import Call, Envelope, handles
from mainspring.services.records import api
from mainspring.services.records.api import StillReferenced, service
from mainspring.services.records.document_copies import COPIES
from mainspring.services.records.ending import Ending
from mainspring.services.records.fields import ORGANIZATIONS, USERS
from mainspring.services.records.indexing import SEARCH
from mainspring.services.records.store import REFERRING, UNLINK_TARGET

PAGE_ROWS = 100  # links that are looked after in one commit
INDEXED_EVENTS = 256  # in one go


@service.on("users.user.deleted")
async def part(call: Call, event: Envelope) -> None:
    """Go over the records that point at the user: none can begin to once it is gone."""
    call.enqueue(api.part_with_user, user=event.subject)


@service.on("users.organization.deleted")
async def part_with(call: Call, event: Envelope) -> None:
    """Go over the records that point at the organisation, in the same way."""
    call.enqueue(api.part_with_organization, organization=event.subject)


@service.on("records.record.*", batch=INDEXED_EVENTS)
async def index_records(call: Call, events: list[Envelope]) -> None:
    """Bring the words of records that changed to the indexes that there are."""
    await SEARCH.take(call, events)


@service.on("records.record.*", batch=INDEXED_EVENTS)
async def copy_documents(call: Call, events: list[Envelope]) -> None:
    """Bring records that changed to the store of documents, where their collection is in it."""
    await COPIES.take(call, events)


@handles(api.part_with_user)
async def part_with_user(call: Call, user: str, at_once: int = PAGE_ROWS) -> None:
    """Let a page of records go, or let go; then go on. Each run leaves fewer links."""
    left = await _lose(call, USERS, user, at_once)
    if left:
        call.enqueue(api.part_with_user, user=user, at_once=left)


@handles(api.part_with_organization)
async def part_with_organization(call: Call, organization: str, at_once: int = PAGE_ROWS) -> None:
    """Let a page of records go, or let go; then go on. Each run leaves fewer links."""
    left = await _lose(call, ORGANIZATIONS, organization, at_once)
    if left:
        call.enqueue(api.part_with_organization, organization=organization, at_once=left)


async def _lose(call: Call, at: str, target: str, at_once: int) -> int:
    """Stage what a page of links asks for; return how many to take next, 0 at the end."""
    links = await call.all(REFERRING, collection=at, id=target, limit=at_once)
    if not links:
        return 0
    ending = Ending(call)
    try:
        await ending.lose(links)
        ending.stage()
    except StillReferenced:
        if at_once > 1:  # one by one, to find what cannot go
            return 1
    for link in links:  # of a relation or a collection that is gone, too
        place = {"collection": link.collection, "record": link.record, "field": link.field}
        call.write(UNLINK_TARGET(**place, target=target))
    return PAGE_ROWS

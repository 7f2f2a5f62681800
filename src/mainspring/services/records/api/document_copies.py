"""The public face of what keeps copies in a store of documents: jobs that nobody else enqueues."""

from mainspring import Call, Unavailable
from mainspring.services.records.api import service


class DocumentsNotReady(Unavailable):
    """Only the store of documents can answer this, and it is away, behind, or being filled."""

    code, title = "documents_not_ready", "The store of documents is not ready"


@service.contract.job(queue="platform", max_attempts=20, coalesces=True)
async def refresh_documents(call: Call, collection: str) -> None:
    """Have the copy that a collection asks for: keep it, or begin another and let it be filled."""


@service.contract.job(queue="platform", max_attempts=20, coalesces=True)
async def build_documents(call: Call, index: str) -> None:
    """Copy a page of a collection's records, then enqueue the next; the last one swaps.

    What is written meanwhile is copied as it comes.
    """


@service.contract.job(queue="platform", max_attempts=20)
async def drop_documents(call: Call, index: str) -> None:
    """Remove a copy that no collection has any more."""


@service.contract.job(queue="platform", coalesces=True)
async def check_documents(call: Call) -> None:
    """Every five minutes: begin what is missing or lost, go on with what was left off."""


service.every("*/5 * * * *", check_documents)

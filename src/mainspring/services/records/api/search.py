"""The public face of what keeps the indexes of texts: jobs that nobody else enqueues."""

from mainspring import Call, Unavailable
from mainspring.services.records.api import service


class SearchNotReady(Unavailable):
    """The index of a collection is being built, is behind, or cannot be asked; nothing is wrong."""

    code, title = "search_not_ready", "The search is not ready"


@service.contract.job(queue="platform", max_attempts=20, coalesces=True)
async def refresh_search(call: Call, collection: str) -> None:
    """Have the index that a collection asks for: keep it, or begin another and let that be built.

    The one before is searched until the new one is complete.
    """


@service.contract.job(queue="platform", max_attempts=20, coalesces=True)
async def build_search(call: Call, index: str) -> None:
    """Index a page of a collection's records, then enqueue the next; the last one swaps.

    What is written meanwhile is indexed as it comes.
    """


@service.contract.job(queue="platform", max_attempts=20)
async def drop_search(call: Call, index: str) -> None:
    """Remove an index that no collection has any more."""


@service.contract.job(queue="platform", coalesces=True)
async def check_search(call: Call) -> None:
    """Every five minutes: make anew what the engine has lost, go on with what was left off."""


service.every("*/5 * * * *", check_search)

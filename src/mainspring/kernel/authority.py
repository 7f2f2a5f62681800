"""Authority that outlasts a call: what somebody may do now, asked again whenever it is used."""

from typing import Protocol

from mainspring.kernel.call import Caller


class Authority(Protocol):
    """Knows what users and API keys may do at this moment. Handlers reach it with ``call.use``.

    Whatever acts later for somebody (an open stream, a webhook, a schedule) keeps who that was, not
    what they might do then, and asks here each time: rights that were taken are gone there too.
    """

    async def current(self, actor_id: str, tenant: str, now_ms: int) -> Caller | None:
        """Return the user or API key of this id (``Caller.actor``) with the scopes it holds now.

        None once it is revoked, deleted or expired; a key also once anyone in the line of those who
        made it is.
        """
        ...

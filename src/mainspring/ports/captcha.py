"""The port for tasks that people solve and programs do not: whoever set one is asked for it."""

from typing import Protocol


class Captcha(Protocol):
    """An app fills it with ``service.provide(Captcha, …)``; it is asked before a commit."""

    async def is_solved(self, token: str, action: str, address: str | None, once: str) -> bool:
        """Tell whether a token is good for what it came with: ``sign_up``, ``reset`` and so on.

        ``once`` names the call: one that runs again asks with the same, and is to be told the same
        of a token that is good once. ``address`` is the client's. Raises Unavailable where it
        cannot be told.
        """
        ...

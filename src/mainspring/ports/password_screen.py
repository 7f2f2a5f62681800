"""The port for passwords that leaked elsewhere: whoever knows of them is asked about a new one."""

from typing import Protocol


class PasswordScreen(Protocol):
    """An app fills it with ``service.provide(PasswordScreen, …)``; it is asked before a commit.

    A handler that runs again asks again, and all it says counts within a bounded time.
    """

    async def is_breached(self, password: str) -> bool:
        """Tell whether a password leaked somewhere. Raises Unavailable where it cannot be told."""
        ...

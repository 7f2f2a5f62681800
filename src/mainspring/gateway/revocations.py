"""What is revoked, for those who remember credentials elsewhere: gateways in other processes."""

import asyncio
from collections.abc import AsyncIterator

from mainspring.ports.peers import Revocation

WAITING_MAX = 1_000  # that one follower has not taken; then it is told that all is revoked


class RevocationFeed:
    """Tells every follower what this process hears of. A ``Revocations``."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[Revocation]] = set()

    def forget(self, tag: str) -> None:
        """Tell that credentials with this tag are revoked."""
        self._tell(Revocation((tag,)))

    def forget_all(self) -> None:
        """Tell that whatever was remembered may be revoked."""
        self._tell(Revocation(all=True))

    def heard(self, until_s: float) -> None:
        """Tell that everything was told that was committed before a moment."""
        self._tell(Revocation(heard_s=until_s))

    def _tell(self, revocation: Revocation) -> None:
        for follower in self._followers:
            if follower.qsize() >= WAITING_MAX:
                while not follower.empty():
                    follower.get_nowait()
                follower.put_nowait(Revocation(all=True))
            follower.put_nowait(revocation)

    async def follow(self) -> AsyncIterator[Revocation]:
        """Yield what is revoked from now on."""
        follower: asyncio.Queue[Revocation] = asyncio.Queue(WAITING_MAX + 2)
        self._followers.add(follower)
        try:
            while True:
                yield await follower.get()
        finally:
            self._followers.discard(follower)

"""Whoever is answered for as long as it lasts: by a stream, or by a long download."""

from collections.abc import Hashable
from typing import Protocol

from mainspring.kernel.caller import Caller
from mainspring.kernel.operation import StreamItem


class Recipient(Protocol):
    """The caller of what lasts, as the interface knows it that identified it."""

    @property
    def credential(self) -> Hashable:
        """What it came with: who comes with an equal one is the same caller at every moment."""
        ...

    def holds(self) -> bool:
        """Tell at once whether it is sure to be who it was when ``renew`` was last asked."""
        ...

    async def renew(self) -> Caller | None:
        """Return who it is by now; None when its credential is no good any more."""
        ...

    def push(self, item: StreamItem) -> bool:
        """Send an item of its stream at once; only while its next one is waited for.

        False, and nothing is sent, where it takes no more for now, or has to pull each item.
        """
        ...


class Pulling:
    """A recipient whose caller stays who it was, and who pulls each item."""

    __slots__ = ()

    @property
    def credential(self) -> Hashable:
        """Nobody comes with an equal one."""
        return id(self)

    def holds(self) -> bool:
        """It does."""
        return True

    async def renew(self) -> Caller | None:
        """Raise TypeError: nobody need ask."""
        raise TypeError("a recipient that stays who it is has no caller to renew")

    def push(self, item: StreamItem) -> bool:
        """Take nothing."""
        return False

"""Fairness between accounts: who waits for a reader or a connection, and who is next.

An account is a caller, the address of one that is anonymous, or a job or consumer. Accounts take
turns however many calls each has waiting; one account waits with a bounded number of calls.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from mainspring.kernel.call import ADDRESS_ACCOUNT
from mainspring.kernel.errors import Unavailable

WAITING_MAX = 4_096  # calls of all accounts together
WAITING_EACH_MAX = 2_048  # of one account
SCANS_WAITING_EACH_MAX = 64  # of one account, where each may take seconds

Turn = asyncio.Future[None]


class Line:
    """Those who wait, round robin by account and first come, first served within one."""

    def __init__(self, waiting_max: int = WAITING_MAX, each_max: int = WAITING_EACH_MAX) -> None:
        self._waiting_max = waiting_max
        self._each_max = each_max
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def join(self, account: str) -> Turn:
        """Wait in line; the future is done when it is one's turn. Raises Unavailable."""
        mine = self._waiting.get(account)
        if self._count >= self._waiting_max or (mine is not None and len(mine) >= self._each_max):
            raise Unavailable("too many of your calls wait for the database", retry_after_s=1)
        if mine is None:
            mine = self._waiting[account] = deque()
        turn: Turn = asyncio.get_running_loop().create_future()
        mine.append(turn)
        self._count += 1
        return turn

    def next(self, may: Callable[[str], bool] = lambda _: True) -> tuple[str, Turn] | None:
        """Take out whoever is next among the accounts that may; None when nobody is."""
        for account in list(self._waiting):
            if not may(account):
                continue
            mine = self._waiting[account]
            while mine:
                turn = mine.popleft()
                self._count -= 1
                if not turn.done():  # else it gave up
                    if mine:
                        self._waiting.move_to_end(account)
                    else:
                        del self._waiting[account]
                    return account, turn
            del self._waiting[account]
        return None


class Shares:
    """Slots that accounts share: one, and all anonymous ones together, hold half at most."""

    def __init__(self, slots: int, line: Line | None = None) -> None:
        self._free = slots
        self._each_max = max(1, slots // 2)
        self._line = line or Line(each_max=SCANS_WAITING_EACH_MAX)
        self._held: Counter[str] = Counter()

    async def acquire(self, account: str, timeout_s: float) -> None:
        """Take a slot, in one's turn. Raises Unavailable when there is none to be had in time."""
        if self._free and self._may(account):
            self._take(account)
            return
        turn = self._line.join(account)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(account)
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise Unavailable("the database is busy", retry_after_s=1) from None
            raise

    def release(self, account: str) -> None:
        """Give a slot back, and it to whoever is next."""
        self._free += 1
        for name in _counted(account):
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
        while self._free and (found := self._line.next(self._may)) is not None:
            self._take(found[0])
            found[1].set_result(None)

    def _may(self, account: str) -> bool:
        return all(self._held[name] < self._each_max for name in _counted(account))

    def _take(self, account: str) -> None:
        self._free -= 1
        self._held.update(_counted(account))


def _counted(account: str) -> tuple[str, ...]:
    """What a slot counts for: its account, and all that are anonymous together."""
    return (account, ADDRESS_ACCOUNT) if account.startswith(ADDRESS_ACCOUNT) else (account,)

"""Argon2id off the event loop, in a pool with a bounded queue and a share of it for each asker.

Not in the usual shape of a service because it is neither a pure rule (it needs threads and 19 MiB
per hash) nor something outside the process: it is the one computation too slow for the loop.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from mainspring import Entropy, RateLimited, Unavailable
from mainspring.services.users import foreign_passwords
from mainspring.services.users.api import service

T = TypeVar("T")

# OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
SALT_BYTES = 16

THREADS = 2
WAITING_MAX = 256  # hashes waiting; the share that has most of them gives way
SHARE_MAX = 64  # hashes of one share that wait: a whole office may log in from one address
PASSWORD_BYTES_MAX = 1_024  # of UTF-8; no password that was ever taken is longer
COMMON_CHARS_MIN = 8  # shorter ones are refused for their length


class _Turn:
    """Work that waits for a thread, and whoever waits for its answer."""

    __slots__ = ("answer", "work")

    def __init__(self, work: Callable[[], Any], answer: "asyncio.Future[Any]") -> None:
        self.work = work
        self.answer = answer


class Passwords:
    """Hashes and verifies passwords. Call ``close`` at the end.

    ``share`` names on whose account it is done (``Call.account``). Shares
    take turns, however much each asks for.
    """

    def __init__(
        self,
        entropy: Entropy,
        *,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
        threads: int = THREADS,
        waiting_max: int = WAITING_MAX,
        share_max: int = SHARE_MAX,
    ) -> None:
        self._entropy = entropy
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=LANES, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mainspring-passwords")
        self._threads = threads
        self._running = 0
        self._waiting_max = waiting_max
        self._share_max = share_max
        self._shares: OrderedDict[str, deque[_Turn]] = OrderedDict()  # the next to run first
        self._nobodys = cache(lambda: self._hasher.hash(b"", salt=bytes(SALT_BYTES)))

    async def hash(self, password: str, *, share: str) -> str:
        """Return a new password's PHC string. Raises RateLimited, Unavailable when many wait."""
        if _is_too_long(password):
            raise ValueError(f"a password has at most {PASSWORD_BYTES_MAX} bytes")
        salt = self._entropy.token(SALT_BYTES)
        return await self._run(share, lambda: self._hasher.hash(password, salt=salt))

    async def verify(
        self, hashed: str | None, password: str, *, share: str, decoy: str | None = None
    ) -> bool:
        """Tell whether a password is right. Raises RateLimited, Unavailable when many wait.

        Without a hash, or for one that is too long, the answer is no, after as much work as for
        the hash ``decoy``, or one of our own.
        """
        if _is_too_long(password):
            hashed, password = None, ""
        return await self._run(share, lambda: self._verified(hashed, password, decoy))

    async def is_common(self, password: str, *, share: str) -> bool:
        """Tell whether a password is among the 30,000 most used ones."""
        return await self._run(share, lambda: password.casefold() in _common())

    def is_stale(self, hashed: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return foreign_passwords.is_foreign(hashed) or self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        """Finish what runs, drop what waits and let the threads go."""
        for turns in self._shares.values():
            for turn in turns:
                turn.answer.cancel()
        self._shares.clear()
        self._pool.shutdown(wait=True)

    def _verified(self, hashed: str | None, password: str, decoy: str | None) -> bool:
        compared = hashed or decoy or self._nobodys()
        if foreign_passwords.is_foreign(compared):
            return foreign_passwords.matches(compared, password) and bool(hashed)
        try:
            right = self._hasher.verify(compared, password)
        except (VerificationError, InvalidHashError):
            return False
        return right and bool(hashed)  # empty: somebody who has no password

    async def _run(self, share: str, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        turn = _Turn(work, loop.create_future())
        self._queue(share, turn)
        self._start(loop)
        answer: T = await turn.answer
        return answer

    def _queue(self, share: str, turn: _Turn) -> None:
        turns = self._shares.get(share, ())
        if len(turns) >= self._share_max:
            raise RateLimited("too many of your passwords are being checked", retry_after_s=1)
        if sum(map(len, self._shares.values())) >= self._waiting_max:
            longest = max(self._shares.values(), key=len)
            refusal = Unavailable("too many passwords are being checked", retry_after_s=1)
            if len(longest) <= len(turns) + 1:
                raise refusal
            last = longest.pop()
            if not last.answer.done():
                last.answer.set_exception(refusal)
        self._shares.setdefault(share, deque()).append(turn)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give free threads to the shares in turn."""
        while self._running < self._threads and self._shares:
            share, turns = next(iter(self._shares.items()))
            turn = turns.popleft()
            if turns:
                self._shares.move_to_end(share)
            else:
                del self._shares[share]
            if turn.answer.done():
                continue  # whoever asked has gone
            self._running += 1
            running = loop.run_in_executor(self._pool, turn.work)
            running.add_done_callback(partial(self._finish, loop, turn))

    def _finish(
        self, loop: asyncio.AbstractEventLoop, turn: _Turn, running: "asyncio.Future[Any]"
    ) -> None:
        # A caller that goes away does not stop the thread, so its place was taken until now.
        self._running -= 1
        error = None if running.cancelled() else running.exception()
        if not turn.answer.done():
            if running.cancelled():
                turn.answer.cancel()
            elif error is not None:
                turn.answer.set_exception(error)
            else:
                turn.answer.set_result(running.result())
        self._start(loop)


service.provide(Passwords, needs=(Entropy,))


def _is_too_long(password: str) -> bool:
    return len(password) > PASSWORD_BYTES_MAX or len(password.encode()) > PASSWORD_BYTES_MAX


@cache
def _common() -> frozenset[str]:
    # Here and not at the top: the lists are 1 MB that only sign-ups need.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

    return frozenset(p for p in FREQUENCY_LISTS["passwords"] if len(p) >= COMMON_CHARS_MIN)

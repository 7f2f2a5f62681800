"""Argon2id off the event loop, in a pool whose queue is bounded.

Not in the usual shape of a service because it is neither a pure rule (it needs threads and 19 MiB
per hash) nor something outside the process: it is the one computation too slow for the loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from mainspring.kernel.clock import Entropy
from mainspring.kernel.errors import Unavailable

T = TypeVar("T")

# OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
SALT_BYTES = 16

THREADS = 2
WAITING_MAX = 64  # hashes running or waiting; one more is refused
COMMON_CHARS_MIN = 8  # shorter ones are refused for their length


class Passwords:
    """Hashes and verifies passwords. Call ``close`` at the end."""

    def __init__(
        self,
        entropy: Entropy,
        *,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
        threads: int = THREADS,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._entropy = entropy
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=LANES, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mainspring-passwords")
        self._waiting = 0
        self._waiting_max = waiting_max
        self._nobodys = cache(lambda: self._hasher.hash(b"", salt=bytes(SALT_BYTES)))

    async def hash(self, password: str) -> str:
        """Return the PHC string of a new password. Raises Unavailable when too many wait."""
        salt = self._entropy.token(SALT_BYTES)
        return await self._run(lambda: self._hasher.hash(password, salt=salt))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether a password is right. Raises Unavailable when too many wait.

        Without a hash the answer is no, after as much work.
        """
        return await self._run(lambda: self._verified(hashed, password))

    async def is_common(self, password: str) -> bool:
        """Tell whether a password is among the 30,000 most used ones."""
        return await self._run(lambda: password.casefold() in _common())

    def is_stale(self, hashed: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        """Finish what runs and let the threads go."""
        self._pool.shutdown(wait=True)

    def _verified(self, hashed: str | None, password: str) -> bool:
        try:
            right = self._hasher.verify(hashed or self._nobodys(), password)
        except (VerificationError, InvalidHashError):
            return False
        return right and hashed is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._waiting_max:
            raise Unavailable("too many passwords are being checked", retry_after_s=1)
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(self._done)
        # A caller that goes away does not stop the thread, so its place stays taken until then.
        return await asyncio.shield(running)

    def _done(self, running: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not running.cancelled():
            running.exception()  # somebody has looked, even when the caller went away


@cache
def _common() -> frozenset[str]:
    # Here and not at the top: the lists are 1 MB that only sign-ups need.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

    return frozenset(p for p in FREQUENCY_LISTS["passwords"] if len(p) >= COMMON_CHARS_MIN)

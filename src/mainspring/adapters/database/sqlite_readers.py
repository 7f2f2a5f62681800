"""Reading from SQLite: by key on the event loop, scans in threads, with a share for everybody."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from mainspring.adapters.database.shares import Shares
from mainspring.adapters.database.sqlite_file import File, fetched, made, translated
from mainspring.kernel.current_call import current_account
from mainspring.kernel.errors import NeedsIndex, Unavailable
from mainspring.kernel.table import Query, Rows
from mainspring.ports.database import SCAN_DEADLINE_S, SCAN_STEPS_MAX

R = TypeVar("R")

READERS = 4  # threads for scans
SCAN_WAIT_S = 10.0  # for a thread, and for a scan in it on a machine that does other things
STEPS_BETWEEN_CHECKS = 10_000
LOOK_EVERY_S = 1.0  # whether the file is in its place; who writes looks each time


class Readers:
    """One connection for the loop, and one in each thread of a pool."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._connection = file.connect(readonly=True)
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="mainspring-reader")
        self._local = threading.local()
        self._shares = Shares(READERS)
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._pauses = 0
        self._look_at_s = 0.0

    def close(self) -> None:
        """Wait for the scans that run, then close."""
        self._pool.shutdown(wait=True)
        self._connection.close()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Wait until no scan runs, and let none begin meanwhile: nobody reads the old pages then.

        It is short: a scan has an end, by its budget and by ``SCAN_WAIT_S``.
        """
        self._pauses += 1
        self._resumed.clear()
        try:
            await self._idle.wait()
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._resumed.set()

    async def read(
        self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None
    ) -> Rows[R]:
        """Return the rows, or the first that fit: on the loop, or in a thread when it scans."""
        if (now_s := time.monotonic()) >= self._look_at_s:
            self._file.require_in_place()
            self._look_at_s = now_s + LOOK_EVERY_S
        if query.scans:
            return await self._scan_in_turn(query, values, bytes_max)
        try:
            rows = fetched(self._connection, query, values, bytes_max)
        except apsw.Error as error:
            raise translated(error) from error
        return made(query, rows)

    async def _scan_in_turn(
        self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None
    ) -> Rows[R]:
        """Scan in a thread, once it is this account's turn; to wait costs no budget."""
        account = current_account()
        await self._shares.acquire(account, SCAN_WAIT_S)
        try:
            while not self._resumed.is_set():
                await self._resumed.wait()
        except asyncio.CancelledError:
            self._shares.release(account)
            raise
        self._running += 1
        self._idle.clear()
        scan = self._loop.run_in_executor(self._pool, self._scan, query, values, bytes_max)
        # The thread goes on when its caller is gone, and so does its hold on the slot.
        scan.add_done_callback(lambda _: self._ended(account))
        return await asyncio.shield(scan)

    def _ended(self, account: str) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()
        self._shares.release(account)

    def _scan(self, query: Query[R], values: tuple[Any, ...], bytes_max: int | None) -> Rows[R]:
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._file.connect(readonly=True)
        steps = 0
        busy = False
        # The time of this thread, and not of the clock on the wall: what others do at the same
        # time is not the query's doing.
        deadline_s = time.thread_time() + SCAN_DEADLINE_S
        given_up_s = time.monotonic() + SCAN_WAIT_S

        def over_budget() -> bool:
            nonlocal steps, busy
            steps += STEPS_BETWEEN_CHECKS
            busy = time.monotonic() > given_up_s
            return busy or steps > SCAN_STEPS_MAX or time.thread_time() > deadline_s

        connection.set_progress_handler(over_budget, STEPS_BETWEEN_CHECKS)
        try:
            rows = fetched(connection, query, values, bytes_max)
        except apsw.InterruptError as error:
            if busy:
                raise Unavailable("the database is busy", retry_after_s=1) from error
            raise NeedsIndex(f"{query.sql.name} went over its budget") from error
        except apsw.Error as error:
            raise translated(error) from error
        finally:
            connection.set_progress_handler(None)
        return made(query, rows)

"""Brings what the write-ahead log holds into the database file, beside the commits.

SQLite does that inside of a commit, and whoever waits for the commit waits for all of it: two
flushes, and a page for each that changed. A thread of its own does most of it here. What was
committed meanwhile is little; the writer brings it in between two commits, and the log begins anew.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import apsw

from mainspring.adapters.database.sqlite_file import CHECKPOINT_PAGES, File
from mainspring.adapters.outage import Outage

REST_PAGES_MAX = CHECKPOINT_PAGES // 4  # that the writer brings in itself
AGAIN_PAGES = CHECKPOINT_PAGES // 4  # that the log grows by, where a reader kept it from beginning
BEHIND_PAGES = 2 * CHECKPOINT_PAGES  # from which on commits do wait: they are faster than the disk


class Checkpoints:
    """The thread, and the connection it opens when there is something to do first.

    ``finish`` has the writer bring in the rest, once this is idle. Any thread may call it.
    """

    def __init__(self, file: File, finish: Callable[[], None]) -> None:
        self._file = file
        self._finish = finish
        self.idle = threading.Lock()  # held while it works; who empties the log holds it
        self._asked: queue.Queue[bool] = queue.Queue(1)  # whether it goes on
        self._thread: threading.Thread | None = None
        self._outage = Outage("checkpoints")
        self._pages = 0
        self._next_pages = CHECKPOINT_PAGES

    def logged(self, pages: int) -> None:
        """Take note of how long the log is after a commit. In the writer's thread only."""
        if pages < self._pages:  # it began anew
            self._next_pages = CHECKPOINT_PAGES
        self._pages = pages
        if pages < self._next_pages:
            return
        self._next_pages = pages + AGAIN_PAGES
        if pages >= BEHIND_PAGES:
            self._finish()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mainspring-checkpoints")
            self._thread.start()
        with contextlib.suppress(queue.Full):  # it is about to begin one
            self._asked.put_nowait(True)

    def close(self) -> None:
        """Wait for what is under way, and end. Nothing is logged any more."""
        if self._thread is not None:
            self._asked.put(False)
            self._thread.join()

    def _work(self) -> None:
        connection: apsw.Connection | None = None
        while self._asked.get():
            try:
                with self.idle:
                    connection = connection or self._file.connect()
                    rest_pages = copied(connection)
            except Exception as error:  # noqa: BLE001 - told; commits do it where this does not
                self._outage.failed(repr(error))
                continue
            self._outage.worked()
            if rest_pages is not None and rest_pages <= REST_PAGES_MAX:
                self._finish()
        if connection is not None:
            connection.close()


def copied(connection: apsw.Connection) -> int | None:
    """Bring in what nobody's reading forbids; return how many pages are left.

    None where another connection is at it. Raises apsw.Error.
    """
    told: list[tuple[Any, ...]] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    busy, logged, done = told[0]
    return None if busy else logged - done

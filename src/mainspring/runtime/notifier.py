"""Wakes: how a commit tells the tasks that wait for it, without polling and without losing one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.kernel.channel import Channel
from mainspring.ports.database import ALL_WAKES, Wakes


class Notifier:
    """Fans wakes out to listeners of one event loop.

    A listener's event is set by every wake it names since it was last cleared: clear it, look at
    the database, then wait, and no wake falls between.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: dict[Channel, set[asyncio.Event]] = {}

    def wake(self, names: Wakes) -> None:
        """Set the events of everyone listening to these names."""
        if ALL_WAKES in names:
            names = frozenset(self._listeners)
        for name in names:
            for event in self._listeners.get(name, ()):
                event.set()

    @contextmanager
    def listen(self, *names: Channel) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever one of these names is woken; set at first."""
        event = asyncio.Event()
        event.set()
        for name in names:
            self._listeners.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            for name in names:
                self._listeners[name].discard(event)
                if not self._listeners[name]:
                    del self._listeners[name]


async def wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until the event is set, at most ``timeout_s``. Returns whether it was set."""
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True

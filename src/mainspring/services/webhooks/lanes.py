"""Lanes: how many deliveries to one endpoint this process sends at a time.

A slow receiver answers few deliveries a second whatever we do. When its lane is full, a delivery
waits for a place if one is about to be free. Otherwise it is told when to come back, each a little
later than the one before, so that they return about as fast as the endpoint takes them and do not
hold the workers that others need.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mainspring.services.webhooks.api import service

PATIENCE_S = 0.5  # how long a delivery may hold its worker while it waits for a place
TURN_S_MIN = 0.05
TURN_S_MAX = 60.0  # nobody stays away longer: the endpoint may have recovered
_MEAN_S = 0.05  # assumed of an endpoint before its first answer
_NEWEST = 0.2  # weight of the newest attempt in the mean duration


class Busy(Exception):
    """The lane is full; come back after ``delay_s``."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"the endpoint is busy: again in {delay_s:.1f} s")
        self.delay_s = delay_s


class Lane:
    """What one endpoint is doing just now."""

    __slots__ = ("_next_turn_s", "inside", "mean_s", "places", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.places = asyncio.Semaphore(width)
        self.inside = 0  # in a place or waiting for one
        self.mean_s = _MEAN_S
        self._next_turn_s = 0.0

    def took(self, duration_s: float) -> None:
        """Learn how long an attempt took."""
        self.mean_s += (duration_s - self.mean_s) * _NEWEST

    def turn(self, now_s: float) -> Busy:
        """Give out the next moment at which a place should be free."""
        step_s = max(self.mean_s, TURN_S_MIN) / self.width
        self._next_turn_s = max(self._next_turn_s, now_s + TURN_S_MIN) + step_s
        return Busy(min(self._next_turn_s - now_s, TURN_S_MAX))


class Lanes:
    """The lanes of one process; one that is empty is forgotten."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    @asynccontextmanager
    async def enter(self, endpoint_id: str, width: int, now_s: float) -> AsyncIterator[Lane]:
        """Hold one of ``width`` places. Raises Busy when none will be free within patience."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(width)
        ahead = lane.inside - width
        if ahead >= 0 and (ahead + 1) * lane.mean_s / width > PATIENCE_S:
            raise lane.turn(now_s)
        lane.inside += 1
        try:
            if lane.places.locked():
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await lane.places.acquire()
                except TimeoutError:
                    raise lane.turn(now_s) from None
            else:
                await lane.places.acquire()
            try:
                yield lane
            finally:
                lane.places.release()
        finally:
            lane.inside -= 1
            if lane.inside == 0:
                del self._lanes[endpoint_id]

    def __len__(self) -> int:
        return len(self._lanes)


service.provide(Lanes)

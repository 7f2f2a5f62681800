"""The primaries of a cluster: a link to each, and which of them a key belongs to."""

import asyncio
import binascii
import contextlib
from collections.abc import Callable
from typing import Any

from mainspring.adapters.redis.connection import Lost, RedisCommand, RedisRefuses
from mainspring.adapters.redis.link import RedisLink, ask_once
from mainspring.adapters.redis.target import ServerPlace, Target

SLOTS = 16_384
LEARN_EVERY_S = 5.0  # who owns what, while all is well
LEARN_SOON_S = 0.2  # while something is not: until a replica has taken over, say
_SLOTS: RedisCommand = ("CLUSTER", "SLOTS")


class ClusterLinks:
    """Links to all who own slots. ``make`` makes one; ``changed`` is told when slots moved."""

    def __init__(
        self,
        target: Target,
        make: Callable[[ServerPlace], RedisLink],
        changed: Callable[[], None],
    ) -> None:
        self._target = target
        self._make = make
        self._changed = changed
        self._links: dict[ServerPlace, RedisLink] = {}
        self._owners: list[RedisLink | None] = [None] * SLOTS
        self._wanted = asyncio.Event()
        self._learning: asyncio.Task[None] | None = None
        self.why = "not connected yet"

    async def start(self, wait_s: float) -> None:
        """Learn who owns what, and go on learning. Raises RedisRefuses."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._learn(wait_s)
        self._learning = asyncio.create_task(self._keep_learning())

    async def stop(self) -> None:
        """Close all."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await asyncio.gather(*(link.stop() for link in self._links.values()))
        self._links.clear()

    @property
    def links(self) -> list[RedisLink]:
        """Every link."""
        return [*self._links.values()]

    def of(self, key: bytes) -> RedisLink | None:
        """Return the link to the owner of a key, where it can be asked now."""
        link = self._owners[slot_of(key)]
        return link if link is not None and link.ready is not None else None

    def look_again(self) -> None:
        """Find out soon who owns what: somebody said that it is another by now."""
        self._wanted.set()

    def away(self) -> str:
        """Say what cannot be asked; empty where every key can be."""
        if None in self._owners:
            return f"{self._target.shown}: {self.why or 'nobody owns some of the slots'}"
        lost = [place for place, link in self._links.items() if link.ready is None]
        return ", ".join(
            f"{host}:{port}: {self._links[host, port].why_not()}" for host, port in lost
        )

    async def _keep_learning(self) -> None:
        while True:
            well = not self.away()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEARN_EVERY_S if well else LEARN_SOON_S):
                    await self._wanted.wait()
                    self._wanted.clear()
                    await asyncio.sleep(LEARN_SOON_S / 4)  # what everybody says at once, once
            try:
                await self._learn(0.0)
            except RedisRefuses as error:
                self.why = str(error)

    async def _learn(self, wait_s: float) -> None:
        told = await self._ask_anybody()
        if told is None:
            return
        host, ranges = told
        owners: list[ServerPlace | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            place = ((primary[0] or b"").decode() or host, int(primary[1]))
            owners[int(first) : int(last) + 1] = [place] * (int(last) - int(first) + 1)
        wanted = {place for place in owners if place is not None}
        made = {place: self._make(place) for place in wanted - self._links.keys()}
        gone = [self._links.pop(place) for place in self._links.keys() - wanted]
        self._links.update(made)
        before = self._owners
        self._owners = [None if place is None else self._links[place] for place in owners]
        if self._owners != before:
            self._changed()
        await asyncio.gather(
            *(link.start(wait_s) for link in made.values()), *(link.stop() for link in gone)
        )

    async def _ask_anybody(self) -> tuple[str, list[Any]] | None:
        """Ask whoever can be asked, those that the URL names last."""
        whys = []
        for place in dict.fromkeys((*self._links, *self._target.places)):
            try:
                (told,) = await ask_once(
                    place, self._target, self._target.user, self._target.password, [_SLOTS]
                )
            except (Lost, OSError, TimeoutError) as error:
                whys.append(f"{place[0]}:{place[1]}: {error or 'no answer in time'}")
                continue
            if isinstance(told, list) and told:
                self.why = ""
                return place[0], told
            whys.append(f"{place[0]}:{place[1]}: {str(told)[:200] or 'it knows no slots'}")
        self.why = "; ".join(whys)
        return None


def slot_of(key: bytes) -> int:
    """Return the slot of a key: of what stands between its first braces, where something does."""
    _, brace, rest = key.partition(b"{")
    tag, closing, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if brace and closing and tag else key, 0) % SLOTS

"""The servers behind a URL: one, whichever is the primary, or each of a cluster for its keys."""

from collections.abc import Callable, Sequence
from typing import Any

from mainspring.adapters.redis.connection import Lost, RedisCommand, RedisConnection
from mainspring.adapters.redis.link import RedisLink, ask_once
from mainspring.adapters.redis.target import ServerPlace, Target
from mainspring.ports.database import StartError

OPEN_S = 2.0  # how long a start waits for a connection before it goes on without


class RedisClient:
    """Connections, kept up; ``of`` hands out the one for a key, and never waits.

    ``pushed`` is given what servers say unasked. ``came`` is called with each link that can be
    asked again, ``went`` when one cannot be asked any more.
    """

    def __init__(
        self,
        part: str,
        target: Target,
        *,
        greeting: Sequence[RedisCommand] = (),
        pushed: Callable[[list[Any]], None] = lambda _: None,
        came: Callable[[RedisLink], None] = lambda _: None,
        went: Callable[[], None] = lambda: None,
    ) -> None:
        self._part = part
        self._target = target
        find = self._ask_sentinels if target.form == "sentinel" else self._only_place
        self._link = RedisLink(part, target, find, greeting, pushed, came, went)

    async def open(self) -> None:
        """Connect, or go on without for now. Raises StartError where the server will not have us.

        A password that is wrong is a setting that is wrong; a server that is away comes back.
        """
        await self._link.start(OPEN_S)
        if self._link.refused is not None:
            why = self._link.refused
            await self.close()
            raise StartError(f"[{self._part}] url: {self._target.shown} refuses us: {why}")

    async def close(self) -> None:
        """Close every connection."""
        await self._link.stop()

    def of(self, key: bytes) -> RedisLink | None:
        """Return the link that a key can be asked of now, and None where nobody can be asked."""
        return self._link if self._link.ready is not None else None

    def any(self) -> RedisConnection | None:
        """Return a connection to some server that can be asked now."""
        return self._link.ready

    @property
    def version(self) -> str:
        """Which server it is, or was last."""
        connection = self._link.connection
        return connection.version if connection is not None else ""

    def away(self) -> str:
        """Say why nobody can be asked now; empty when somebody can."""
        if self._link.ready is not None:
            return ""
        why = "it answers too late" if self._link.connection is not None else self._link.why
        return f"{self._target.shown}: {why}"

    async def _only_place(self) -> ServerPlace:
        return self._target.places[0]

    async def _ask_sentinels(self) -> ServerPlace:
        """Return where the primary is, as the first Sentinel says that knows."""
        target, whys = self._target, []
        command: RedisCommand = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.name)
        for place in target.places:
            try:
                (told,) = await ask_once(
                    place, target, target.sentinel_user, target.sentinel_password, [command]
                )
            except (Lost, OSError, TimeoutError) as error:
                whys.append(f"{place[0]}:{place[1]}: {error or 'no answer in time'}")
                continue
            if isinstance(told, list) and len(told) == 2:
                return told[0].decode(), int(told[1])
            whys.append(f"{place[0]}:{place[1]}: knows no {target.name!r}")
        raise Lost("; ".join(whys))


def connection_of(link: RedisLink | None) -> RedisConnection | None:
    """Return the connection of a link that can be asked now."""
    return None if link is None else link.ready

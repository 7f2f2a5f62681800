"""The servers behind a URL: one, whichever is the primary, or each of a cluster for its keys."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mainspring.adapters.redis.cluster import ClusterLinks
from mainspring.adapters.redis.connection import Lost, RedisCommand, RedisConnection, RedisRefuses
from mainspring.adapters.redis.link import TOO_LATE, RedisLink, ask_once
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

        def link(find: Callable[[], Awaitable[ServerPlace]]) -> RedisLink:
            return RedisLink(
                part, target, find, greeting, pushed, came, lost, moved=self._look_again
            )

        def lost() -> None:
            went()
            self._look_again()

        self._cluster: ClusterLinks | None = None
        self._link: RedisLink | None = None
        if target.form == "cluster":
            self._cluster = ClusterLinks(target, lambda place: link(_always(place)), went)
        elif target.form == "sentinel":
            self._link = link(self._ask_sentinels)
        else:
            self._link = link(_always(target.places[0]))

    async def open(self) -> None:
        """Connect, or go on without for now. Raises StartError where the server will not have us.

        A password that is wrong is a setting that is wrong; a server that is away comes back.
        """
        try:
            await (self._cluster or self._link_of()).start(OPEN_S)
            refused = next((link.refused for link in self._links if link.refused), None)
        except RedisRefuses as error:
            refused = str(error)
        if refused is not None:
            await self.close()
            raise StartError(f"[{self._part}] url: {self._target.shown} refuses us: {refused}")

    async def close(self) -> None:
        """Close every connection."""
        await (self._cluster or self._link_of()).stop()

    def of(self, key: bytes) -> RedisLink | None:
        """Return the link that a key can be asked of now, and None where nobody can be asked."""
        if self._cluster is not None:
            return self._cluster.of(key)
        link = self._link
        return link if link is not None and link.ready is not None else None

    def any(self) -> RedisConnection | None:
        """Return a connection to some server that can be asked now."""
        return next((link.ready for link in self._links if link.ready is not None), None)

    @property
    def version(self) -> str:
        """Which server it is; empty where that is not known now."""
        connection = self.any()
        return connection.version if connection is not None else ""

    def away(self) -> str:
        """Say that somebody cannot be asked now, in words that anybody may read.

        Where it is, and what exactly is wrong, is for the log.
        """
        why = self.why()
        if not why:
            return ""
        return TOO_LATE if why.endswith(TOO_LATE) else "it cannot be reached"

    def why(self) -> str:
        """Say who cannot be asked now and why; empty when everybody can."""
        if self._cluster is not None:
            return self._cluster.away()
        link = self._link_of()
        return "" if link.ready is not None else f"{self._target.shown}: {link.why_not()}"

    @property
    def _links(self) -> list[RedisLink]:
        return self._cluster.links if self._cluster is not None else [self._link_of()]

    def _link_of(self) -> RedisLink:
        assert self._link is not None  # of what is no cluster
        return self._link

    def _look_again(self) -> None:
        if self._cluster is not None:
            self._cluster.look_again()

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


def _always(place: ServerPlace) -> Callable[[], Awaitable[ServerPlace]]:
    async def find() -> ServerPlace:
        return place

    return find


def connection_of(link: RedisLink | None) -> RedisConnection | None:
    """Return the connection of a link that can be asked now."""
    return None if link is None else link.ready

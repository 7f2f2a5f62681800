"""Many who follow the feed: judged once for all of an audience, each at its own pace."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring.kernel.caller import Caller
from mainspring.kernel.operation import StreamItem
from mainspring.runtime.events import audiences
from mainspring.services.events import operations
from mainspring.services.events.api import StreamQuery
from tests.deadline import DEADLINE_S
from tests.services.log_platform import LogPlatform, Named, Written

FOLLOWERS = 20
READER = Caller("key", "key_reader", scopes=frozenset({"events:read", "notes:read"}))
PERSONAL = Caller(
    "key", "key_p", scopes=frozenset({"events:read", "events:personal", "notes:read"})
)


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[LogPlatform]:
    async with LogPlatform.over(platform_server) as platform:
        yield platform


class Watcher:
    """A follower of the stream at the other end of an interface. A ``Recipient``."""

    def __init__(self, platform: LogPlatform, caller: Caller = READER, **query: Any) -> None:
        self.caller: Caller | None = caller
        self._credential = caller.id
        self.sure = self.takes = True
        self.asked = 0  # how often somebody asked who it is
        self.pushed: list[StreamItem] = []
        self.pulled: list[StreamItem] = []
        self.came, self.listens = asyncio.Event(), asyncio.Event()
        call = platform.call(caller)
        call.recipient = self
        self.items = operations.stream_events(call, query=msgspec.convert(query, StreamQuery))
        self.pulling = asyncio.create_task(self._pull())

    @property
    def credential(self) -> str | None:
        self.listens.set()  # it is asked for to find the audience
        return self._credential

    def holds(self) -> bool:
        return self.sure

    async def renew(self) -> Caller | None:
        self.asked += 1
        self.came.set()
        return self.caller

    def push(self, item: StreamItem) -> bool:
        if self.takes:
            self.pushed.append(item)
            self.came.set()
        return self.takes

    async def _pull(self) -> None:
        async for item in self.items:
            self.pulled.append(item)
            self.came.set()

    @property
    def seqs(self) -> list[int]:
        items = [*self.pulled[1:], *self.pushed]  # the first says where it starts
        return sorted(msgspec.json.decode(item.data)["seq"] for item in items)

    async def until(self, items: int = 0, *, asked: int = 0) -> None:
        """Wait until it has so many items, the first included, and was asked who it is."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.pulled) + len(self.pushed) < items or self.asked < asked:
                self.came.clear()
                await self.came.wait()

    async def ended(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.pulling

    async def leave(self) -> None:
        self.pulling.cancel()
        await asyncio.gather(self.pulling, return_exceptions=True)


async def leave(*watchers: Watcher) -> None:
    for watcher in watchers:
        await watcher.leave()


async def listening(*watchers: Watcher) -> None:
    """Wait until each has read what there is, and listens."""
    async with asyncio.timeout(DEADLINE_S):
        for watcher in watchers:
            await watcher.listens.wait()


async def test_an_event_is_judged_and_written_once_for_all_who_are_to_have_the_same(
    platform: LogPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = 0
    shows = operations.Asked.shows

    def counted(asked: Any, event: Any) -> bool | None:
        nonlocal judged
        judged += 1
        return shows(asked, event)

    monkeypatch.setattr(operations.Asked, "shows", counted)
    query = {"type": "notes.*", "filter": "data.stars >= 1"}
    watchers = [Watcher(platform, **query) for _ in range(FOLLOWERS)]
    await listening(*watchers)
    await platform.write(10)
    for watcher in watchers:
        await watcher.until(10)
        assert watcher.seqs == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert len({id(watcher.pushed[-1]) for watcher in watchers}) == 1
    assert judged == 9
    await leave(*watchers)


async def test_who_takes_no_more_delays_nobody_and_misses_nothing(platform: LogPlatform) -> None:
    slow, *others = [Watcher(platform) for _ in range(3)]
    await listening(slow, *others)
    await platform.write(2)
    await slow.until(3)
    slow.takes = False
    await platform.write(3)
    for watcher in others:
        await watcher.until(6)
    await slow.until(6)  # it has read for itself what it did not take
    assert (len(slow.pushed), len(slow.pulled)) == (2, 4)
    slow.takes = True
    await platform.write(2)
    for watcher in (slow, *others):
        await watcher.until(8)
        assert watcher.seqs == [1, 2, 3, 4, 5, 6, 7]
    await leave(slow, *others)


async def test_who_may_not_go_on_is_sent_nothing_more(platform: LogPlatform) -> None:
    gone, stays = Watcher(platform), Watcher(platform, PERSONAL)
    await listening(gone, stays)
    gone.sure, gone.caller = False, None
    await platform.write(1)
    await stays.until(2)
    await gone.ended()
    assert (gone.seqs, stays.seqs) == ([], [1])
    await leave(stays)


async def test_who_is_revoked_while_others_of_it_are_told_is_sent_nothing_more(
    platform: LogPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences, "PUSHES_AT_ONCE", 1)  # others have a turn after each
    watchers: list[Watcher] = []

    class LogsOut(Watcher):
        """Ends the session of all of them as soon as it is told of something."""

        def push(self, item: StreamItem) -> bool:
            for watcher in watchers:
                watcher.sure, watcher.caller = False, None
            return super().push(item)

    watchers += [LogsOut(platform) for _ in range(3)]
    await listening(*watchers)
    await platform.write(1)
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([w.pulling for w in watchers], return_when=asyncio.FIRST_COMPLETED)
    assert sum(len(watcher.pushed) for watcher in watchers) == 1  # before
    assert [len(watcher.pulled) for watcher in watchers] == [1, 1, 1]  # where they start
    await leave(*watchers)


async def test_what_a_caller_may_read_changes_while_it_listens(platform: LogPlatform) -> None:
    watchers = [Watcher(platform), Watcher(platform)]
    await listening(*watchers)
    for watcher in watchers:
        watcher.sure, watcher.asked = False, 0
        watcher.caller = Caller("key", "key_reader", scopes=frozenset({"events:read"}))
    await platform.write(1)
    for watcher in watchers:
        await watcher.until(asked=2)  # for the event that it may not read, and at the end
        watcher.caller = READER
    await platform.write(1)
    for watcher in watchers:
        await watcher.until(2)
        assert watcher.seqs == [2]
    await leave(*watchers)


async def test_personal_fields_are_pushed_to_those_with_the_scope(platform: LogPlatform) -> None:
    plain, personal = Watcher(platform), Watcher(platform, PERSONAL)
    await listening(plain, personal)
    await platform.emit(Named("user_a", "Ada"))
    await platform.write(1)
    seen = []
    for watcher in (plain, personal):
        await watcher.until(3)
        assert watcher.seqs == [1, 2]
        items = sorted((*watcher.pulled[1:], *watcher.pushed), key=lambda item: item.id or "")
        data = [msgspec.json.decode(item.data)["data"] for item in items]
        seen.append([each["name"] for each in data if "name" in each])
    assert seen == [[None], ["Ada"]]
    await leave(plain, personal)


async def test_who_joins_while_others_are_told_misses_nothing(
    platform: LogPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences, "PUSHES_AT_ONCE", 1)  # others have a turn after each
    watchers = [Watcher(platform) for _ in range(3)]
    await listening(*watchers)

    async def join() -> None:
        for _ in range(10):
            watchers.append(Watcher(platform, after="0"))
            await asyncio.sleep(0)

    await asyncio.gather(join(), *(platform.emit_unplaced(Written(f"n{i}", "")) for i in range(30)))
    await platform.write(1)
    for watcher in watchers:
        await watcher.until(32)
        assert watcher.seqs == list(range(1, 32))
    await leave(*watchers)


async def test_a_judgement_that_fails_ends_the_streams_that_asked_for_it_and_no_others(
    platform: LogPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows = operations.Asked.shows

    def broken(asked: Any, event: Any) -> bool | None:
        if asked.call.caller.id == "key_reader":
            raise ZeroDivisionError
        return shows(asked, event)

    monkeypatch.setattr(operations.Asked, "shows", broken)
    breaks, stays = Watcher(platform), Watcher(platform, PERSONAL)
    await listening(breaks, stays)
    await platform.write(2)
    await stays.until(3)
    with pytest.raises(ZeroDivisionError):
        await breaks.ended()
    assert stays.seqs == [1, 2]
    await leave(stays)

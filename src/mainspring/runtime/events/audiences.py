"""Audiences: what comes to the log is judged and written once for all who are to have the same.

One task of a process goes through the audiences for each event and pushes it to their followers.
Where a judgement has to read, its audience falls behind the others in a task of its own, and comes
back to them at the end. A follower that takes no more leaves with its place, and reads for itself.
"""

import asyncio
from collections.abc import Callable, Hashable

from mainspring.kernel.call import Caller
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.event_log import Audience, BusEvent
from mainspring.kernel.operation import StreamItem
from mainspring.kernel.recipient import Recipient
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.events.reader import CHUNK_EVENTS, Window
from mainspring.runtime.notifier import wait

POLL_S = 5.0  # a wake can be lost with its connection; the log never is
PUSHES_AT_ONCE = 500  # before others have a turn: a few milliseconds


class _Seat:
    """A follower's place in an audience; ``left`` is told the offset that it has come to."""

    __slots__ = ("left", "offset", "push")

    def __init__(self, recipient: Recipient, offset: int, left: "asyncio.Future[int]") -> None:
        self.push = recipient.push
        self.offset = offset
        self.left = left


class _Group:
    """Followers of one audience, all of whom have come to ``offset`` at least.

    ``caller`` is who they are as long as they stay together.
    """

    __slots__ = ("audience", "caller", "catching_up", "key", "offset", "recipient", "seats")

    def __init__(self, audience: Audience, recipient: Recipient, offset: int) -> None:
        self.audience = audience
        self.key = audience.key
        self.recipient = recipient
        self.caller: Caller = audience.call.caller
        self.offset = offset
        self.seats: dict[_Seat, None] = {}
        self.catching_up: asyncio.Task[None] | None = None

    def is_sure(self) -> bool:
        """Tell at once whether they are sure to be who they were."""
        return self.audience.call.caller is self.caller and self.recipient.holds()

    def at_once(self, event: BusEvent) -> bool | None:
        """Tell whether they have an event as it stands; None where that has to be awaited.

        Who they are comes first: they may be allowed more by now, or less.
        """
        if not self.audience.wanted(event):
            return False
        return self.audience.shows(event) if self.is_sure() else None

    async def still_allowed(self) -> bool:
        """Tell whether they are who they were, and may still be sent anything."""
        if self.is_sure():
            return True
        call = self.audience.call
        if not await call.still_allowed() or call.caller != self.caller:
            return False
        self.caller = call.caller
        return True

    def let_go(self, offset: int) -> None:
        """Have everybody go on alone from an offset, or from where they are past it."""
        for seat in self.seats:
            _leave(seat, max(offset, seat.offset))
        self.seats.clear()

    def fail(self, error: BaseException) -> None:
        """Have everybody's stream end with an error."""
        for seat in self.seats:
            if not seat.left.done():
                seat.left.set_exception(error)
        self.seats.clear()


class Audiences:
    """The audiences of one log in this process."""

    __slots__ = ("_groups", "_offset", "_positions", "_task", "_window")

    def __init__(self, window: Callable[[], Window], positions: Positions) -> None:
        self._window = window
        self._positions = positions
        self._groups: dict[Hashable, _Group] = {}
        self._offset = 0  # everything up to here was told, or is being told
        self._task: asyncio.Task[None] | None = None

    async def attend(self, audience: Audience, recipient: Recipient, offset: int) -> int:
        """Push what comes after an offset, until it takes no more; return where it goes on.

        It returns at once where something was told already that it has not read.
        """
        if self._task is None:
            self._offset = offset
        elif offset < self._offset:
            return offset
        key = audience.key
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(audience, recipient, offset)
        elif offset < group.offset:
            return offset
        seat = _Seat(recipient, offset, asyncio.get_running_loop().create_future())
        group.seats[seat] = None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="audiences")
        try:
            return await seat.left
        finally:
            group.seats.pop(seat, None)
            if not group.seats:
                self._end(group)

    def _part(self, group: _Group) -> None:
        """Keep an audience no longer: who comes next makes it anew."""
        if self._groups.get(group.key) is group:
            del self._groups[group.key]

    def _end(self, group: _Group) -> None:
        self._part(group)
        if group.catching_up is not None:
            group.catching_up.cancel()
        if not self._groups and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        """Tell of what comes; whatever goes wrong with the log ends every stream."""
        CURRENT_CALL.set(None)  # it is nobody's call
        try:
            await self._follow()
        except Exception as error:  # noqa: BLE001 - their followers are told
            groups, self._groups, self._task = self._groups, {}, None
            for group in groups.values():
                group.fail(error)

    async def _follow(self) -> None:
        window = self._window()
        losses = window.losses
        with window.listen() as signal:
            while True:
                signal.clear()
                more = True
                while more:
                    rows = await window.after(self._offset, CHUNK_EVENTS)
                    if window.losses != losses:
                        raise await self._positions.fell_back()
                    for event in rows.items:
                        await self._tell(event)
                    more = rows.more
                if self._offset > window.end:  # it has not read that far yet, or the log fell back
                    await self._positions.require_held(self._offset)
                if not await wait(signal, POLL_S):
                    window.look_again()

    async def _tell(self, event: BusEvent) -> None:
        """Tell every audience that has come this far; the others come to it by themselves."""
        self._offset = event.offset
        plain: StreamItem | None = None
        pushed = 0
        for group in [*self._groups.values()]:
            if group.catching_up is not None or group.offset >= event.offset:
                continue
            try:
                shown = group.at_once(event)
            except Exception as error:  # noqa: BLE001 - its followers are told, and no others
                self._part(group)
                group.fail(error)
                continue
            if shown is None:
                group.catching_up = asyncio.create_task(self._catch_up(group), name="audience")
                continue
            if shown:
                plain = plain or await self._plain(event)
                pushed = await _push(group, plain, event.offset, pushed)
            group.offset = max(group.offset, event.offset)

    async def _catch_up(self, group: _Group) -> None:
        """Bring an audience to where the others are, judging what has to be awaited."""
        window, audience = self._window(), group.audience
        CURRENT_CALL.set(audience.call)
        losses = window.losses
        try:
            while group.seats and group.offset < self._offset:
                rows = await window.after(group.offset, CHUNK_EVENTS)
                if window.losses != losses:
                    raise await self._positions.fell_back()
                for event in rows.items:
                    if audience.wanted(event):
                        if not await group.still_allowed():
                            self._part(group)
                            group.let_go(group.offset)
                            return
                        item = await self._item(audience, event)
                        if item is not None:
                            await _push(group, item, event.offset, 0)
                    group.offset = event.offset
        except Exception as error:  # noqa: BLE001 - its followers are told
            self._part(group)
            group.fail(error)
        finally:
            group.catching_up = None

    async def _item(self, audience: Audience, event: BusEvent) -> StreamItem | None:
        shown = audience.shows(event)
        if shown is None:
            return await audience.item(event)
        return await self._plain(event) if shown else None

    async def _plain(self, event: BusEvent) -> StreamItem:
        """Write an event as it stands in the log."""
        position = await self._positions.write(event.offset, event)
        return StreamItem(event.body.encode(), id=position)


async def _push(group: _Group, item: StreamItem, offset: int, pushed: int) -> int:
    """Send an item to every follower; who takes no more leaves before it.

    So do all who are left once they may not be who they were: who they are was asked before the
    item was written, and others have had turns since. Return how many were pushed since the last.
    """
    sure = group.is_sure()
    for seat in [*group.seats]:
        if seat.offset >= offset or seat.left.done():
            continue
        if sure and seat.push(item):
            seat.offset = offset
        else:
            group.seats.pop(seat, None)
            _leave(seat, offset - 1)
        pushed += 1
        if pushed == PUSHES_AT_ONCE:
            pushed = 0
            await asyncio.sleep(0)
            sure = sure and group.is_sure()
    return pushed


def _leave(seat: _Seat, offset: int) -> None:
    if not seat.left.done():
        seat.left.set_result(offset)

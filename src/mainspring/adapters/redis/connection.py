"""One connection to Redis or Valkey: calls of all callers in one pipeline, answered in order.

What callers ask within one turn of the event loop is sent together. Pushes of the server, such as
"this key has changed", come in between the answers, in the order in which things happened there.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from mainspring.adapters.redis.target import ServerPlace, Target

ASKED_MAX = 10_000  # commands under way; more are not sent
UNSENT_BYTES_MAX = 8 << 20  # that wait for the network; a command more is not sent
GIVE_UP_S = 2.0  # a connection that owes an answer for so long is replaced
PULSE_S = 1.0  # how often an idle connection is asked whether it still is one
CONNECT_S = 2.0
RedisCommand = tuple[bytes | str | int, ...]
Told = Callable[[list[Any] | None], None]

LOOKS = 4  # at what is under way, per timeout
_pack: Callable[[RedisCommand], bytes] = hiredis.pack_command  # type: ignore[assignment]
_MORE = object()  # is to come before there is a reply


class Lost(Exception):
    """The server cannot be asked, or answers that it will not be of use."""


class RedisRefuses(Exception):
    """The server answered, and will not have us: no connection gets further than this one."""


class _Asked:
    """Commands that are answered together. Nobody is told any more once it was late."""

    __slots__ = ("count", "replies", "sent_s", "told")

    def __init__(self, count: int, told: Told | None, sent_s: float) -> None:
        self.count = count
        self.told = told
        self.sent_s = sent_s
        self.replies: list[Any] = []


class RedisConnection(asyncio.Protocol):
    """Answers in the order it was asked; who asks is told ``None`` where no answer came in time.

    While it is ``late`` nothing is asked of it. ``pushed`` is given what the server says unasked;
    ``changed`` is called when it becomes late, and when it has caught up.
    """

    def __init__(
        self, target: Target, pushed: Callable[[list[Any]], None], changed: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = target.timeout_s
        self._pushed = pushed
        self._changed = changed
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._asked: deque[_Asked] = deque()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._full = False
        self._look: asyncio.TimerHandle | None = None
        self._look_due_s = 0.0
        self._pulse: asyncio.TimerHandle | None = None
        self._heard_s = self._loop.time()
        self._server_ms = self._read_s = 0.0
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.late = False
        self.id = 0
        self.run = ""  # which run of which server
        self.version = ""

    # What the owner does with it

    def ask(self, commands: Sequence[RedisCommand], told: Told | None) -> bool:
        """Send these at the end of this turn. Returns whether there was room; else none is sent.

        ``told`` is given the replies, an error being one, or ``None`` where none came in time.
        """
        packed = b"".join(map(_pack, commands))
        if (
            self._transport is None
            or self._full
            or len(self._asked) >= ASKED_MAX
            or self._unsent_bytes + len(packed) > UNSENT_BYTES_MAX
        ):
            return False
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        self._unsent_bytes += len(packed)
        self._asked.append(_Asked(len(commands), told, self._loop.time()))
        if self._look is None:
            self._arm(self._timeout_s / LOOKS)
        return True

    async def answers(self, commands: Sequence[RedisCommand]) -> list[Any]:
        """Return the replies, of which an error may be one. Raises Lost."""
        future: asyncio.Future[list[Any] | None] = self._loop.create_future()

        def told(replies: list[Any] | None) -> None:
            if not future.done():
                future.set_result(replies)

        if not self.ask(commands, told) or (replies := await future) is None:
            raise Lost("no answer in time")
        return replies

    def server_ms(self) -> float:
        """Return the time of the server; rather a little before it than behind it."""
        return self._server_ms + (self._loop.time() - self._read_s) * 1000

    def took_time(self, reply: Any) -> None:
        """Take note of what ``TIME`` was answered just now."""
        if isinstance(reply, list) and len(reply) == 2:
            self._server_ms = int(reply[0]) * 1000 + int(reply[1]) / 1000
            self._read_s = self._loop.time()

    def start_pulse(self) -> None:
        """From now on find out by itself that nobody is there any more."""
        self._pulse = self._loop.call_later(PULSE_S, self._feel)

    def drop(self) -> None:
        """Let go of it at once: who waits is told that no answer came."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # No isinstance: those of uvloop are no subclasses.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX // 2)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell who waits, and the owner."""
        self._transport = None
        for timer in (self._look, self._pulse):
            if timer is not None:
                timer.cancel()
        asked, self._asked = self._asked, deque()
        # The owner first: whoever is told must not find what this connection kept right any more.
        if not self.closed.done():
            self.closed.set_result(None)
        self.late = True
        self._changed()
        for one in asked:
            if one.told is not None:
                one.told(None)

    def pause_writing(self) -> None:  # used by asyncio
        """Take no more until the network has taken what there is."""
        self._full = True

    def resume_writing(self) -> None:  # used by asyncio
        """Take more."""
        self._full = False

    def data_received(self, data: bytes) -> None:
        """Hand out answers and pushes in the order in which they came."""
        self._heard_s = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                if isinstance(reply, hiredis.PushNotification):
                    self._pushed(reply)
                else:
                    self._answer(reply)
        except hiredis.ProtocolError:
            self.drop()
            return
        if self.late and not self._asked and self._transport is not None:
            self.late = False
            self._changed()

    def _answer(self, reply: Any) -> None:
        if not self._asked:
            self.drop()
            return
        asked = self._asked[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.count:
            self._asked.popleft()
            if asked.told is not None:
                asked.told(asked.replies)

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_bytes = 0

    def _arm(self, in_s: float) -> None:
        self._look_due_s = self._loop.time() + in_s
        self._look = self._loop.call_later(in_s, self._look_at_what_is_owed)

    def _look_at_what_is_owed(self) -> None:
        self._look = None
        if not self._asked:
            return
        now_s = self._loop.time()
        owed_s = now_s - self._asked[0].sent_s
        if now_s - self._look_due_s > self._timeout_s / LOOKS:
            # This process did not run: the answer may lie here unread.
            self._arm(self._timeout_s / LOOKS)
            return
        if owed_s > GIVE_UP_S:
            self.drop()
            return
        if owed_s > self._timeout_s:
            if not self.late:
                self.late = True
                self._changed()
            for asked in self._asked:
                if asked.told is not None:
                    told, asked.told = asked.told, None
                    told(None)
        self._arm(self._timeout_s / LOOKS)

    def _feel(self) -> None:
        if not self._asked and self._loop.time() - self._heard_s >= PULSE_S / 2:
            self.ask([("TIME",)], lambda replies: self.took_time(replies and replies[0]))
        self.start_pulse()


async def connect(
    place: ServerPlace,
    target: Target,
    pushed: Callable[[list[Any]], None],
    changed: Callable[[], None],
) -> RedisConnection:
    """Open a connection that nobody is greeted on yet. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_S):
        _, connection = await loop.create_connection(
            lambda: RedisConnection(target, pushed, changed), *place, ssl=target.tls
        )
    return connection


async def greet(connection: RedisConnection, user: str, password: str) -> None:
    """Say who asks. A Sentinel takes this too. Raises Lost or RedisRefuses."""
    hello: RedisCommand = ("HELLO", 3, "AUTH", user, password) if password else ("HELLO", 3)
    replies = await connection.answers(
        [hello, ("CLIENT", "SETNAME", "mainspring"), ("CLIENT", "ID")]
    )
    for number, reply in enumerate(replies):
        if isinstance(reply, hiredis.ReplyError) and number != 1:
            raise RedisRefuses(_why(reply)) if _is_final(reply) else Lost(_why(reply))
    connection.id = int(replies[2])


def _why(reply: hiredis.ReplyError) -> str:
    """Say what the server said; it repeats names of commands, and nothing that is secret."""
    return str(reply)[:200]


def _is_final(reply: hiredis.ReplyError) -> bool:
    """Tell what will be said again until somebody changes a setting, here or there."""
    code = str(reply).partition(" ")[0]
    return code in {"WRONGPASS", "NOAUTH", "NOPERM", "NOPROTO"} or "unknown command" in str(reply)

"""Followers of a live feed on raw sockets, in a process of their own: how late each hears.

They wait in one epoll and parse nothing: an event has come when the mark of what was created is in
what a follower received. Moments are of the machine's monotonic clock, which both processes share.
"""

import select
import socket
import time

import msgspec
import psutil

from benchmarks.beside import answer_plan

RECEIVED_BYTES = 65_536
PATIENCE_S = 20.0
OPENING_S = 60.0
SOURCES = 8


class Plan(msgspec.Struct):
    """Who follows, and what is created meanwhile, one after another.

    ``open`` are requests whose answers do not end, one for each follower. ``creates`` are whole
    requests, each with the mark by which its event is known; ``name`` of a follower that has to say
    what it follows is read behind ``names_after``, and put into ``subscribe`` for NAME.
    """

    host: str
    port: int
    open: list[bytes]
    creates: list[tuple[bytes, bytes]]
    ready: bytes  # in what a follower receives once it follows
    gap_s: float
    pid: int  # the server's
    subscribe: bytes = b""
    names_after: bytes = b""


class Result(msgspec.Struct):
    """Latencies in milliseconds, from the sending of a create until a follower has its event.

    ``cpu_us`` is what an event took of the server for each follower, its create included, and
    ``memory_bytes`` what the server grew by for each while they came. All are 0 without a create.
    """

    followers: int
    events: int
    p50_ms: float
    p99_ms: float
    last_p50_ms: float  # until the last follower has it
    cpu_us: float
    memory_bytes: float


class _Followers:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}

    def open(self) -> None:
        """Connect and ask; return when everybody follows."""
        plan = self._plan
        for number, request in enumerate(plan.open):
            # One address has a share of the connections.
            source = None if plan.subscribe else (f"127.0.0.{2 + number % SOURCES}", 0)
            one = socket.create_connection((plan.host, plan.port), PATIENCE_S, source)
            one.sendall(request)
            one.setblocking(False)
            self._sockets[one.fileno()] = one
            self._epoll.register(one.fileno(), select.EPOLLIN)
        said = dict.fromkeys(self._sockets, b"")
        waiting = set(said)
        until_s = time.perf_counter() + OPENING_S
        while waiting:
            for number, _ in self._epoll.poll(1.0):
                said[number] += self._sockets[number].recv(RECEIVED_BYTES)
                if plan.ready in said[number] and number in waiting:
                    waiting.discard(number)
                    self._subscribe(said[number])
            if time.perf_counter() > until_s:
                some = said[next(iter(waiting))][:500]
                raise RuntimeError(f"{len(waiting)} followers were not let in: {some!r}")

    def _subscribe(self, said: bytes) -> None:
        plan = self._plan
        if plan.subscribe:
            name = said.partition(plan.names_after)[2].split(b'"', 1)[0]
            with socket.create_connection((plan.host, plan.port), PATIENCE_S) as once:
                once.sendall(plan.subscribe.replace(b"NAME", name))
                answer = once.recv(RECEIVED_BYTES)
            if b" 204 " not in answer[:20]:
                raise RuntimeError(f"a subscription was refused: {answer[:500]!r}")

    def hear(self, mark: bytes, sent_s: float) -> list[float]:
        """Wait until everybody has the event with this mark; return how late each was."""
        waiting = set(self._sockets)
        late: list[float] = []
        tails = self._tails
        now_s = time.perf_counter
        while waiting:
            found = self._epoll.poll(1.0)
            if not found and now_s() - sent_s > PATIENCE_S:
                raise RuntimeError(f"{len(waiting)} followers never heard of {mark!r}")
            for number, _ in found:
                part = self._sockets[number].recv(RECEIVED_BYTES)
                moment_s = now_s()
                if not part:
                    raise RuntimeError("a follower was cut off")
                if mark in part or mark in tails.pop(number, b"") + part:
                    if number in waiting:
                        waiting.discard(number)
                        late.append(moment_s - sent_s)
                else:
                    tails[number] = part[-len(mark) :]
        return late


def run(plan: Plan) -> Result:
    """Follow, create one at a time, and measure."""
    followers = _Followers(plan)
    resident = _resident_bytes(plan.pid)
    followers.open()
    resident = _resident_bytes(plan.pid) - resident
    warm_up = len(plan.creates) // 10
    spent_s = 0.0
    late: list[float] = []
    last: list[float] = []
    with socket.create_connection((plan.host, plan.port), PATIENCE_S) as creator:
        creator.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, (request, mark) in enumerate(plan.creates):
            if number == warm_up:
                spent_s = _cpu_s(plan.pid)
            time.sleep(plan.gap_s)
            sent_s = time.perf_counter()
            creator.sendall(request)
            times = followers.hear(mark, sent_s)
            answer = creator.recv(RECEIVED_BYTES)
            if answer[9:10] != b"2":
                raise RuntimeError(f"a create failed: {answer[:500]!r}")
            if number >= warm_up:
                late += times
                last.append(max(times))
        spent_s = _cpu_s(plan.pid) - spent_s
    late.sort()
    last.sort()
    return Result(
        followers=len(plan.open),
        events=len(last),
        p50_ms=1000 * late[len(late) // 2] if late else 0.0,
        p99_ms=1000 * late[len(late) * 99 // 100] if late else 0.0,
        last_p50_ms=1000 * last[len(last) // 2] if last else 0.0,
        cpu_us=1e6 * spent_s / len(late) if late else 0.0,
        memory_bytes=resident / len(plan.open),
    )


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    times = [process.cpu_times() for process in _family(pid)]
    return float(sum(time.user + time.system for time in times))


def _resident_bytes(pid: int) -> int:
    return sum(int(process.memory_info().rss) for process in _family(pid))


if __name__ == "__main__":
    answer_plan(Plan, run)

"""The demo's HTTP client, and what goes wrong in it on purpose.

Every write carries an idempotency key. About 1 % of the calls are sent again (half of them at the
same time), and about 1 % of the answers are lost (half of them with the connection, while the call
is under way) and fetched by sending the call again with its key.
"""

import asyncio
import random
from enum import StrEnum
from time import perf_counter
from typing import Any

import aiohttp
import msgspec

FAULT_SHARE = 0.01
ATTEMPTS_MAX = 50
PAUSE_S = 0.05  # before another attempt, when the answer does not say how long
PAUSE_MAX_S = 2.0
TIMEOUT_S = 60.0
_AGAIN = frozenset({0, 409, 429, 502, 503, 504})  # 0: no answer came


class Fault(StrEnum):
    """What happens to a call."""

    NONE = "none"
    AGAIN = "again"  # sent once more after its answer
    TWICE = "twice"  # sent twice at the same time
    LOST = "lost"  # its answer is thrown away
    CUT = "cut"  # its connection is cut while it is under way


class CallFailed(Exception):
    """The platform refused a call that should have worked. ``status`` is 0 without an answer."""

    def __init__(self, what: str, status: int, answer: bytes) -> None:
        super().__init__(f"{what}: {status} {answer[:300]!r}")
        self.status = status


class Tally:
    """What the client saw."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds: list[float] = []
        self.repeated = 0
        self.dropped = 0
        self.absorbed = 0
        self.disagreeing = 0

    def percentile_ms(self, share: float) -> float:
        """How long a call took that ``share`` of the calls were not slower than."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Made(msgspec.Struct, frozen=True):
    """What the client reads of an answer to a create."""

    id: str


class DemoClient:
    """Calls the platform through its public API."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, seed: int) -> None:
        self._session = session
        self._url = url
        self._auth = {"Authorization": f"Bearer {key}"}
        self._random = random.Random(seed)  # noqa: S311 - which calls fail is no secret
        self.tally = Tally()

    async def get(self, path: str, **query: str | int) -> Any:
        """Read JSON. Raises CallFailed unless the answer is 200."""
        return msgspec.json.decode(await self.read(path, **query))

    async def read(self, path: str, **query: str | int) -> bytes:
        """Read bytes. Raises CallFailed unless the answer is 200."""
        url = self._url + path
        async with self._session.get(url, params=query, headers=self._auth) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise CallFailed(f"GET {path}", answer.status, body)
            return body

    async def post(self, path: str, body: object, key: str) -> Any:
        """Write once, without faults. Raises CallFailed unless the answer is a success."""
        encoded = msgspec.json.encode(body)
        return msgspec.json.decode(await self._until_answered(path, encoded, key))

    async def create(self, path: str, body: bytes, key: str) -> str:
        """Create a record, whatever goes wrong meanwhile, and return its id."""
        fault = self._draw()
        self.tally.repeated += fault in (Fault.AGAIN, Fault.TWICE)
        self.tally.dropped += fault in (Fault.LOST, Fault.CUT)
        if fault is Fault.CUT:
            await self._cut(path, body, key)
        if fault is Fault.TWICE:
            ids = await asyncio.gather(self._made(path, body, key), self._made(path, body, key))
            self.tally.disagreeing += ids[0] != ids[1]
            return ids[0]
        made = await self._made(path, body, key)
        if fault in (Fault.AGAIN, Fault.LOST):
            self.tally.disagreeing += made != await self._made(path, body, key)
        return made

    def _draw(self) -> Fault:
        drawn = self._random.random()
        if drawn < FAULT_SHARE:
            return Fault.TWICE if drawn < FAULT_SHARE / 2 else Fault.AGAIN
        if drawn < 2 * FAULT_SHARE:
            return Fault.LOST if drawn < 1.5 * FAULT_SHARE else Fault.CUT
        return Fault.NONE

    async def _made(self, path: str, body: bytes, key: str) -> str:
        return msgspec.json.decode(await self._until_answered(path, body, key), type=Made).id

    async def _cut(self, path: str, body: bytes, key: str) -> None:
        """Send the call and close the connection a moment later, answered or not."""
        sending = asyncio.create_task(self._send(path, body, key))
        await asyncio.wait({sending}, timeout=self._random.uniform(0, 0.004))
        sending.cancel()
        await asyncio.wait({sending})

    async def _until_answered(self, path: str, body: bytes, key: str) -> bytes:
        for _ in range(ATTEMPTS_MAX):
            try:
                status, answer, wait_s = await self._send(path, body, key)
            except (aiohttp.ClientError, TimeoutError):
                status, answer, wait_s = 0, b"no answer", PAUSE_S
            if status in (200, 201, 202):
                return answer
            if status not in _AGAIN or (status == 409 and b"idempotency_in_flight" not in answer):
                break
            await asyncio.sleep(wait_s)
        raise CallFailed(f"POST {path}", status, answer)

    async def _send(self, path: str, body: bytes, key: str) -> tuple[int, bytes, float]:
        headers = {
            **self._auth, "Idempotency-Key": key, "Content-Type": "application/json",
        }  # fmt: skip
        started = perf_counter()
        async with self._session.post(self._url + path, data=body, headers=headers) as answer:
            received = await answer.read()
            self.tally.seconds.append(perf_counter() - started)
            self.tally.calls += 1
            if answer.headers.get("Idempotency-Replayed") == "true":
                self.tally.absorbed += 1
            wait_s = min(float(answer.headers.get("Retry-After", PAUSE_S)), PAUSE_MAX_S)
            return answer.status, received, wait_s


def open_session(connections_max: int) -> aiohttp.ClientSession:
    """Make the session all calls share."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )

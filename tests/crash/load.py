"""Mixed load with one rule: a call is repeated with its own key until it is acknowledged."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp

from tests.crash.process import pause

CLIENTS = 16
CALL_TIMEOUT_S = 20.0
SEE_THROUGH_S = 60.0  # for what was sent to be acknowledged
AGAIN = {409, 425, 429, 500, 502, 503, 504}


class Truth:
    """What was acknowledged: what must be there, once, whatever happened."""

    def __init__(self) -> None:
        self.accounts: dict[str, str] = {}  # id -> name
        self.balances: dict[str, int] = {}
        self.records: dict[str, str] = {}  # id -> title
        self.doubled: list[str] = []
        self.calls = 0
        self.repeats = 0
        self.replays = 0
        self.acknowledged_s: dict[str, float] = {}  # id -> when, on the steady clock
        self.went_back = False

    def forget(self, ids: Iterable[str]) -> None:
        """Take these for lost: the database went back to before they were."""
        self.went_back = True
        for one in ids:
            self.records.pop(one, None)
            self.accounts.pop(one, None)
            self.balances.pop(one, None)


class Timeline:
    """When calls to one process were refused and when acknowledged, on the steady clock."""

    def __init__(self) -> None:
        self.refused_s: list[float] = []
        self.acknowledged_s: list[float] = []

    def refused_after(self, moment_s: float) -> float | None:
        """How long after a moment a call was refused first; None when none was."""
        return next((s - moment_s for s in self.refused_s if s >= moment_s), None)

    def stood_still_s(self, since_s: float) -> float:
        """How long at most no call was acknowledged, from a moment on."""
        moments = [since_s, *(s for s in self.acknowledged_s if s >= since_s)]
        return max((b - a for a, b in pairwise(moments)), default=0.0)

    def works_after(self, moment_s: float) -> float | None:
        """How long after a moment a call was acknowledged first; None when none was."""
        return next((s - moment_s for s in self.acknowledged_s if s >= moment_s), None)


class Client:
    """One caller among many, with its own seeded choices.

    ``deposits`` go to accounts that exist: not where a database may lose accounts. Of several
    ``urls`` it goes on at the next one where one refuses.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        truth: Truth,
        seed: str,
        stop: asyncio.Event,
        timeline: Timeline,
        *,
        deposits: bool,
    ) -> None:
        self._session = session
        self._urls = urls
        self._at = 0
        self._truth = truth
        self._timeline = timeline
        self._deposits = deposits
        self._random = random.Random(seed)
        self._seed = seed
        self._stop = stop
        self._sent = 0

    async def run(self) -> None:
        """Call until told to stop; what has been sent by then is still seen through."""
        while not self._stop.is_set():
            choice = self._random.random()
            if choice < 0.35 or not self._truth.accounts:
                await self._open_account()
            elif choice < 0.65 and self._deposits:
                await self._deposit()
            else:
                await self._create_record()

    async def _open_account(self) -> None:
        name = f"account {self._seed} {self._sent}"
        account = await self._acknowledged("/v1/ledger/accounts", {"name": name})
        if account["id"] in self._truth.accounts:
            self._truth.doubled.append(account["id"])
        self._truth.accounts[account["id"]] = name
        self._truth.acknowledged_s[account["id"]] = time.monotonic()
        self._truth.balances.setdefault(account["id"], 0)

    async def _deposit(self) -> None:
        account = self._random.choice(list(self._truth.accounts)[-50:])
        amount = self._random.randrange(1, 1_000)
        await self._acknowledged(f"/v1/ledger/accounts/{account}:deposit", {"amount": amount})
        self._truth.balances[account] += amount

    async def _create_record(self) -> None:
        title = f"note {self._seed} {self._sent}"
        record = await self._acknowledged("/v1/collections/notes/records", {"title": title})
        if record["id"] in self._truth.records:
            self._truth.doubled.append(record["id"])
        self._truth.records[record["id"]] = title
        self._truth.acknowledged_s[record["id"]] = time.monotonic()

    async def _acknowledged(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send until there is an answer that counts. A refusal is a fault of the platform."""
        self._sent += 1
        headers = {"Idempotency-Key": f"{self._seed}-{self._sent}"}
        tries = 0
        while True:
            tries += 1
            try:
                async with self._session.post(
                    self._urls[self._at] + path, json=body, headers=headers
                ) as answer:
                    if answer.status in (200, 201):
                        self._timeline.acknowledged_s.append(time.monotonic())
                        self._truth.calls += 1
                        self._truth.repeats += tries - 1
                        self._truth.replays += "Idempotency-Replayed" in answer.headers
                        found: dict[str, Any] = await answer.json()
                        return found
                    if answer.status not in AGAIN:
                        raise AssertionError(f"{path} {answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass
            self._timeline.refused_s.append(time.monotonic())
            self._at = (self._at + 1) % len(self._urls)
            await pause()


async def load(
    urls: Sequence[str],
    key: str,
    truth: Truth,
    seed: str,
    stop: asyncio.Event,
    timeline: Timeline,
    *,
    deposits: bool = True,
) -> None:
    """Run the clients until ``stop`` is set and all they sent is acknowledged."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        clients = [
            Client(session, urls, truth, f"{seed}.{n}", stop, timeline, deposits=deposits)
            for n in range(CLIENTS)
        ]
        await asyncio.gather(*[client.run() for client in clients])


@asynccontextmanager
async def under_load(
    urls: Iterable[str | Sequence[str]],
    key: str,
    truth: Truth,
    seed: str,
    *,
    deposits: bool = True,
) -> AsyncIterator[list[Timeline]]:
    """Keep processes under load, each with a timeline; at the end all that was sent is through.

    Where one of ``urls`` is several, its callers know them all.
    """
    stop, timelines, running = asyncio.Event(), [], []
    for number, url in enumerate(urls):
        timelines.append(Timeline())
        known = [url] if isinstance(url, str) else url
        sent = load(known, key, truth, f"{seed}/{number}", stop, timelines[-1], deposits=deposits)
        running.append(asyncio.create_task(sent))
    try:
        yield timelines
        stop.set()
        async with asyncio.timeout(SEE_THROUGH_S):
            await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

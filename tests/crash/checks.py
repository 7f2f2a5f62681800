"""What must hold after a round, read through the public API and the command line."""

import asyncio
import os
import sys
import time
from typing import Any

import aiohttp

from tests.crash.load import Truth
from tests.crash.process import Platform, Receiver, pause

SETTLE_S = 120.0


class Broken(Exception):
    """A promise that did not hold."""


class Reader:
    """Reads the whole of things through the API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str) -> Any:
        """Return the body of a 200."""
        async with self._session.get(self._url + path) as answer:
            if answer.status != 200:
                raise Broken(f"GET {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def ids(self, path: str) -> list[str]:
        """Follow a list of ids to its end."""
        found: list[str] = []
        while page := await self.get(f"{path}?after={found[-1] if found else ''}"):
            found.extend(page)
        return found

    async def events(self) -> list[dict[str, Any]]:
        """Follow the feed to its end."""
        found: list[dict[str, Any]] = []
        after: str = "0"
        while True:
            page = await self.get(f"/v1/events?limit=500&after={after}")
            found.extend(page["items"])
            if page["next_cursor"] is None or not page["items"]:
                return found
            after = page["next_cursor"]

    async def items(self, path: str) -> list[dict[str, Any]]:
        """Follow a paged list to its end."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.get(f"{path}?limit=500{cursor}")
            found.extend(page["items"])
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


async def check(
    platform: Platform,
    truth: Truth,
    receiver: Receiver,
    key: str,
    dead_letters: frozenset[str] = frozenset(),
) -> dict[str, int]:
    """Compare the platform with what was acknowledged. Raises Broken; returns what was counted.

    Jobs of the names ``dead_letters`` may have died.
    """
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        reader = Reader(session, platform.url)
        await _rows(reader, truth)
        events = await _whole_log(reader, truth)
        wanted = {e["id"] for e in events if e["type"].startswith(("ledger.", "records.record."))}
        await _settles("consumer", lambda: reader.ids("/v1/ledger/seen"), wanted)
        await _settles("jobs", lambda: reader.ids("/v1/ledger/stamps"), set(truth.accounts))

        hooked = {e["id"] for e in events if e["type"].startswith("ledger.")}

        async def delivered() -> list[str]:
            # What the database lost may have been delivered before.
            return [e for e in receiver.events if e in hooked or not truth.went_back]

        await _settles("webhooks", delivered, hooked, at_least=True)
        if receiver.refused:
            raise Broken(f"{receiver.refused} webhooks did not verify")
        for queue in (await reader.get("/v1/queues"))["items"]:
            letters = await reader.items(f"/v1/queues/{queue['name']}/dead")
            dead = [job for job in letters if job["name"] not in dead_letters]
            if dead:
                raise Broken(f"dead jobs in {queue['name']}: {dead[:3]}")
    await _audit(platform)
    return {
        "calls": truth.calls,
        "repeats": truth.repeats,
        "replays": truth.replays,
        "events": len(events),
        "webhooks": sum(receiver.events.values()),
    }


async def find_lost(platform: Platform, truth: Truth, key: str) -> set[str]:
    """Return the ids of what was acknowledged and is not there."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        reader = Reader(session, platform.url)
        records = {r["id"] for r in await reader.items("/v1/collections/notes/records")}
        events = await reader.events()
    opened = {e["subject"] for e in events if e["type"] == "ledger.account.opened"}
    return (truth.records.keys() - records) | (truth.accounts.keys() - opened)


async def settled(platform: Platform, key: str, path: str, wanted: set[str]) -> None:
    """Wait until a list of ids holds exactly these, through refusals. Raises Broken."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        reader = Reader(session, platform.url)

        async def ids() -> list[str]:
            try:
                return await reader.ids(path)
            except (Broken, aiohttp.ClientError):
                return []

        await _settles(path, ids, wanted)


async def _rows(reader: Reader, truth: Truth) -> None:
    if truth.doubled:
        raise Broken(f"two calls made one thing: {truth.doubled[:3]}")
    records = await reader.items("/v1/collections/notes/records")
    titles = {record["id"]: record["title"] for record in records}
    if titles != truth.records or len(records) != len(titles):
        missing, extra = truth.records.keys() - titles, titles.keys() - truth.records
        raise Broken(f"records lost {list(missing)[:3]}, unasked for {list(extra)[:3]}")
    for account, balance in truth.balances.items():
        found = await reader.get(f"/v1/ledger/accounts/{account}")
        if found["balance"] != balance:
            raise Broken(f"{account} has {found['balance']}, was given {balance}")


async def _whole_log(reader: Reader, truth: Truth) -> list[dict[str, Any]]:
    """Return the log; on PostgreSQL an event has its place in it a moment after its commit."""
    until_s = time.monotonic() + SETTLE_S
    while True:
        events = await reader.events()
        try:
            _log_is_whole(events, truth)
        except Broken:
            if time.monotonic() >= until_s:
                raise
        else:
            return events
        await pause()


def _log_is_whole(events: list[dict[str, Any]], truth: Truth) -> None:
    seqs = [event["seq"] for event in events]
    if seqs != list(range(1, len(seqs) + 1)):
        raise Broken("the feed has a gap, a double or a wrong order")
    created = [e["subject"] for e in events if e["type"] == "records.record.created"]
    opened = [e["subject"] for e in events if e["type"] == "ledger.account.opened"]
    if sorted(created) != sorted(truth.records) or sorted(opened) != sorted(truth.accounts):
        missing = {*truth.records, *truth.accounts} - {*created, *opened}
        extra = {*created, *opened} - {*truth.records, *truth.accounts}
        raise Broken(
            f"rows and events disagree: {len(missing)} without an event {list(missing)[:3]}, "
            f"{len(extra)} events of nothing acknowledged {list(extra)[:3]}"
        )
    credited: dict[str, int] = dict.fromkeys(truth.balances, 0)
    for event in events:
        if event["type"] == "ledger.account.credited":
            credited[event["subject"]] += event["data"]["amount"]
    if credited != truth.balances:
        raise Broken("deposits and their events disagree")


async def _settles(what: str, read: Any, wanted: set[str], *, at_least: bool = False) -> None:
    """Wait until exactly these have come, each once (webhooks: at least once)."""
    found: list[str] = []
    try:
        async with asyncio.timeout(SETTLE_S):
            while True:
                found = await read()
                if set(found) == wanted and (at_least or len(found) == len(wanted)):
                    return
                if not at_least and set(found) - wanted:
                    break
                await pause()
    except TimeoutError:
        pass
    missing, extra = wanted - set(found), set(found) - wanted
    raise Broken(f"{what}: {len(missing)} missing {list(missing)[:3]}, {len(extra)} unasked for")


async def _audit(platform: Platform) -> None:
    """Export the log and verify it offline, as an auditor would: it may only have grown."""
    export = platform.notes / "audit.ndjson"
    older = export.with_name("audit.older.ndjson")
    if export.exists():
        export.replace(older)
    key_file = platform.directory / "admin.key"
    await run(
        "mainspring", "audit", "export", str(export),
        "--url", platform.url, "--key-file", str(key_file),
    )  # fmt: skip
    compared = ("--older", str(older)) if older.exists() else ()
    await run("mainspring", "audit", "verify", str(export), *compared)


async def run(module: str, *arguments: str, **environ: str) -> None:
    """Run a command of this environment to its end. Raises Broken with what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise Broken(f"{module} {' '.join(arguments)}: {said.decode(errors='replace')[-800:]}")

"""kill -9 in the middle of imports, changes and deletions by filter, exports and a renamed field.

All go on at once, each on records of its own, so that each kill hits every one of them somewhere.
"""

import asyncio
import collections
import random
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.crash.checks import Broken, Reader
from tests.crash.load import AGAIN
from tests.crash.process import pause
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until, wait_s

RECORDS = 1_000  # of each collection: five pages of a run
BATCH = 500
FAULTY = 49  # every so many there is one that cannot be written
COUNT_MAX = 10_000
ADDED = COUNT_MAX - RECORDS + 500  # which is too much for the last of them
LAST_S = 0.8  # until a kill
MORE_MAX = 4  # rounds more, each with kills that come sooner, where none hit anything
KILLS_MAX = 2
WORKER = 0.5  # how often it is a worker alone, of a platform that has several
ROUNDS_SHARE = 10  # of the rounds that are asked for, one in so many: each is several at once

_KINDS = ("imported", "changed", "deleted", "exported", "renamed")
FIELDS = [
    {"name": "slug", "type": "text", "max": 50, "unique": True},
    {"name": "count", "type": "integer", "min": 0, "max": COUNT_MAX},
    {"name": "text", "type": "text", "max": 500},
]


async def play(setting: Setting) -> Outcome:
    """Begin all of it, kill the platform, and look at every record, error and event after."""
    rounds, kills, hit = max(1, setting.rounds // ROUNDS_SHARE), 0, 0
    last_s = LAST_S
    async with Stage(setting) as stage:
        await stage.add()
        number = 0
        while number < rounds or (not hit and number < rounds + MORE_MAX):
            number += 1
            played = _Round(stage, number, last_s)
            await played.play()
            kills, hit = kills + played.kills, hit + played.hit
            print(f"runs {setting.engine} {number}/{rounds}: {kills} kills, {hit} hit", flush=True)
            if not played.hit:  # the machine is faster than that
                last_s /= 4
    if not hit:
        raise Broken("every kill came when all was done: nothing was tried")
    return Outcome(
        noticed_s=None,
        works_s=None,
        acknowledged=number * len(_KINDS) * RECORDS,
        remark=f"{number} rounds, {kills} kills in the middle of {hit} pieces of work; nothing "
        "done twice or told twice",
    )


class _Round:
    """One round: collections of its own, filled, worked on and looked at."""

    def __init__(self, stage: Stage, number: int, last_s: float) -> None:
        """``last_s`` is the longest until a kill."""
        self._stage = stage
        self._number = number
        self._last_s = last_s
        self._choose = random.Random(f"{stage.setting.seed}.{stage.engine}.runs.{number}")
        self._over = asyncio.Event()  # no kill comes any more
        self.kills = self.hit = 0  # and in the middle of how many pieces of work

    async def play(self) -> None:
        """Do it all while the platform is killed. Raises Broken."""
        for kind in _KINDS:
            await self._fill(kind)
        every: list[Coroutine[Any, Any, None]] = [
            self._import(), self._change(), self._delete(), self._export(), self._rename(),
        ]  # fmt: skip
        tasks = [asyncio.create_task(one) for one in every]
        try:
            await self._kill(tasks)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._check_events()

    async def _kill(self, work: Sequence[asyncio.Task[None]]) -> None:
        platform = self._stage.first
        for _ in range(self._choose.randint(1, KILLS_MAX)):
            await wait_s(self._choose.uniform(self._last_s / 40, self._last_s))
            self.kills += 1
            self.hit += sum(not one.done() for one in work[:3])  # the others last until all is over
            one_alone = platform.workers > 1 and self._choose.random() < WORKER
            if one_alone and platform.kill_worker(self._choose):
                continue
            await platform.kill()
            await platform.start()
            await platform.ready()
        self._over.set()

    def _path(self, kind: str, what: str = "") -> str:
        return f"/v1/collections/{kind}_{self._number}/records{what}"

    async def _fill(self, kind: str) -> None:
        """Make a collection; what is imported by a field has every second record already."""
        made = {"name": f"{kind}_{self._number}", "fields": FIELDS}
        await self._stage.done("POST", "/v1/collections", made)
        step = 2 if kind == "imported" else 1
        data = [{"slug": f"s{n}", "count": n, "text": "x" * 300} for n in range(0, RECORDS, step)]
        for at in range(0, len(data), BATCH):
            items = [{"action": "create", "data": one} for one in data[at : at + BATCH]]
            await self._stage.done("POST", self._path(kind, ":batch"), {"items": items})

    async def _sent(self, method: str, path: str, body: object, key: str = "") -> tuple[int, Any]:
        """Send under one key until it is answered by somebody who is well; bytes are a file."""
        headers = {"Authorization": f"Bearer {self._stage.key}"}
        if key:
            headers["Idempotency-Key"] = f"{self._number} {key}"
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        while True:
            try:
                async with (
                    aiohttp.ClientSession(headers=headers) as session,
                    session.request(method, self._stage.first.url + path, **sent) as answer,
                ):
                    if answer.status not in AGAIN:
                        return answer.status, msgspec.json.decode(await answer.read() or b"null")
            except aiohttp.ClientError:
                pass
            await pause()

    async def _run(self, path: str, body: object, key: str) -> Any:
        """Begin a run, and wait until it has ended; return it with the whole of its report."""
        status, begun = await self._sent("POST", path, body, key)
        if status != 202:
            raise Broken(f"{path}: {status} {begun}")
        where = f"/v1/record_runs/{begun['id']}"
        ended: Any = None

        async def has_ended() -> bool:
            nonlocal ended
            _, ended = await self._sent("GET", where, None)
            return bool(ended["state"] != "running")

        await until(f"{where} has ended", has_ended)
        if ended["state"] != "done":
            raise Broken(f"{path}: {ended}")
        headers = {"Authorization": f"Bearer {self._stage.key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self._stage.first.url}{where}/errors") as answer,
        ):
            report = (await answer.read()).splitlines()
        ended["report"] = [msgspec.json.decode(line) for line in report]
        return ended

    async def _records(self, kind: str) -> dict[str, Any]:
        """Return all records by their slugs."""
        headers = {"Authorization": f"Bearer {self._stage.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            reader = Reader(session, self._stage.first.url)
            return {one["slug"]: one for one in await reader.items(self._path(kind))}

    async def _import(self) -> None:
        """Upsert: half of it is there, and some of it cannot be written."""
        counts = [-1 if n % FAULTY == 7 else n + 1 for n in range(RECORDS)]
        lines = [f'{{"slug":"s{n}","count":{count}}}' for n, count in enumerate(counts)]
        content = "\n".join(lines).encode()
        path = self._path("imported", ":import?format=ndjson&by=slug")
        run = await self._run(path, content, "import")
        found = {slug: one["count"] for slug, one in (await self._records("imported")).items()}
        wanted = {f"s{n}": count for n, count in enumerate(counts) if count >= 0}
        wanted |= {f"s{n}": n for n in range(0, RECORDS, 2) if counts[n] < 0}
        _require("imported", found, wanted)
        refused = [n + 1 for n, count in enumerate(counts) if count < 0]
        _require("lines refused", [error["line"] for error in run["report"]], refused)
        _require("imported", (run["done"], run["failed"]), (RECORDS - len(refused), len(refused)))

    async def _change(self) -> None:
        """Add to each, which would show if it were done twice; to some it cannot be added."""
        body = {"filter": "true", "set": {"$add": {"count": ADDED}}}
        run = await self._run(self._path("changed", ":update"), body, "change")
        records = await self._records("changed")
        counts = {n: n + ADDED if n + ADDED <= COUNT_MAX else n for n in range(RECORDS)}
        found = {slug: one["count"] for slug, one in records.items()}
        _require("changed", found, {f"s{n}": count for n, count in counts.items()})
        refused = sorted(records[f"s{n}"]["id"] for n, count in counts.items() if count == n)
        _require("changes refused", sorted(error["id"] for error in run["report"]), refused)
        _require("changed", (run["done"], run["failed"]), (RECORDS - len(refused), len(refused)))

    async def _delete(self) -> None:
        """Delete three quarters of them."""
        body = {"filter": f"record.count >= {RECORDS // 4}"}
        run = await self._run(self._path("deleted", ":delete"), body, "delete")
        left = {f"s{n}" for n in range(RECORDS // 4)}
        _require("left", set(await self._records("deleted")), left)
        _require("deleted", (run["done"], run["failed"]), (RECORDS - RECORDS // 4, 0))

    async def _export(self) -> None:
        """Export by the command line, over and over: what is there in the end is whole."""
        key_file = self._stage.first.directory / "admin.key"
        times, whole = 0, False
        while not whole:  # one that begins when all is over is the last
            whole = self._over.is_set()
            times += 1
            file = Path(self._stage.first.notes / f"exported-{self._number}-{times}.ndjson")
            said = await _command(
                "export", f"exported_{self._number}", str(file),
                "--url", self._stage.first.url, "--key-file", str(key_file),
            )  # fmt: skip
            if not file.exists():  # nobody was there when it began
                _require("an export that failed says so", "no platform answers" in said, True)
                continue
            lines = file.read_bytes().splitlines()
            slugs = [msgspec.json.decode(line)["slug"] for line in lines]
            _require("exported", sorted(slugs), sorted(f"s{n}" for n in range(RECORDS)))

    async def _rename(self) -> None:
        """Rename a field while others write by the one name or the other."""
        fields = [
            {**field, "name": "amount", "renamed_from": "count"}
            if field["name"] == "count"
            else field
            for field in FIELDS
        ]
        collection = f"/v1/collections/renamed_{self._number}"
        writing = asyncio.create_task(self._write_by_name())
        try:
            status, answer = await self._sent("PATCH", collection, {"fields": fields}, "rename")
            if status >= 300:
                raise Broken(f"the rename was refused: {status} {answer}")

            async def is_ready() -> bool:
                return bool((await self._sent("GET", collection, None))[1]["ready"])

            await until("the renamed collection is ready", is_ready)
            await self._over.wait()
            written = await writing
        finally:
            writing.cancel()
        found = {slug: one.get("amount") for slug, one in (await self._records("renamed")).items()}
        _require("renamed", found, {f"s{n}": n for n in range(RECORDS)} | written)

    async def _write_by_name(self) -> dict[str, int]:
        """Create records until no kill comes any more, by the name that is taken."""
        written: dict[str, int] = {}
        name, number = "count", 0
        while not self._over.is_set() or name == "count":
            slug = f"w{number}"
            body = {"slug": slug, name: number}
            status, answer = await self._sent(
                "POST", self._path("renamed"), body, f"write {number} {name}"
            )
            if status == 201 or status == 200:
                written[slug] = number
                number += 1
            elif status == 422 and name == "count":
                name = "amount"  # which it is from now on
            else:
                raise Broken(f"written by {name}: {status} {answer}")
        return written

    async def _check_events(self) -> None:
        """Each record is told of as often as it was made, changed and deleted."""
        headers = {"Authorization": f"Bearer {self._stage.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            reader = Reader(session, self._stage.first.url)
            faulty = [n for n in range(RECORDS) if n % FAULTY == 7]
            wanted = {
                ("imported", "created"): RECORDS - sum(n % 2 for n in faulty),
                ("imported", "updated"): RECORDS // 2 - sum(n % 2 == 0 for n in faulty),
                ("changed", "created"): RECORDS,
                ("changed", "updated"): COUNT_MAX - ADDED + 1,
                ("deleted", "deleted"): RECORDS - RECORDS // 4,
                ("exported", "created"): RECORDS,
            }

            async def all_told() -> bool:
                return all(
                    len(told) >= wanted[kind] for kind, told in (await self._told(reader)).items()
                    if kind in wanted
                )  # fmt: skip

            await until("every change is told of", all_told)
            told = await self._told(reader)
        for kind, subjects in told.items():
            twice = [one for one, times in collections.Counter(subjects).items() if times > 1]
            _require(f"told twice of {kind}", twice, [])
        for kind, count in wanted.items():
            _require(f"told of {kind}", len(told[kind]), count)

    async def _told(self, reader: Reader) -> dict[tuple[str, str], list[str]]:
        """Return the subjects of the round's events, by collection and what happened."""
        told: dict[tuple[str, str], list[str]] = {}
        for event in await reader.events():
            kind, _, number = str(event["data"].get("collection", "")).rpartition("_")
            if number == f"{self._number}" and event["type"].startswith("records.record."):
                what = event["type"].rpartition(".")[2]
                told.setdefault((kind, what), []).append(event["subject"])
        return told


def _require(what: str, found: Any, wanted: Any) -> None:
    """Raise Broken where something is not as it must be, with the first differences."""
    if found == wanted:
        return
    said = f"{found!r:.300} instead of {wanted!r:.300}"
    if isinstance(found, dict) and isinstance(wanted, dict):
        differs = [key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)]
        said = ", ".join(f"{k}: {found.get(k)} not {wanted.get(k)}" for k in sorted(differs)[:5])
        said = f"{len(differs)} differ: {said}"
    raise Broken(f"{what}: {said}")


async def _command(*arguments: str) -> str:
    """Run a command of ours to its end, and return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainspring", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said.decode(errors="replace")


SCENARIO = Scenario("runs", play)

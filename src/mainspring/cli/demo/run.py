"""The demo from curtain to curtain: start, load, wait until all has settled, check, show."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from mainspring.cli.demo import process
from mainspring.cli.demo.client import CallFailed, DemoClient, open_session
from mainspring.cli.demo.data import Order, read_orders
from mainspring.cli.demo.figures import (
    Figure,
    client_figures,
    event_figures,
    job_figures,
    read_back,
    record_events,
    stored_figures,
)
from mainspring.cli.demo.load import CALLS_AT_ONCE, load, make_collections
from mainspring.cli.demo.progress import Board
from mainspring.cli.demo.receiver import Receiver
from mainspring.cli.instance_file import Running
from mainspring.cli.remote import read_key
from mainspring.engines import open_database
from mainspring.ports.database import StartError

APP = "mainspring.cli.demo.example_app:app"
STALL_S = 60.0  # how long nothing may move before the demo gives up waiting
POLL_S = 0.25
EXPORT_NAME = "audit.ndjson"
MOVED_EXPORT_NAME = "audit-moved.ndjson"


class Play(msgspec.Struct, frozen=True):
    """What was asked for."""

    file: Path
    orders: int | None
    database: str
    move_to: str
    seed: int
    keep: bool


class Result(msgspec.Struct, frozen=True):
    """How it ended."""

    database: str
    seed: int
    folder: str | None
    figures: Sequence[Figure]

    @property
    def right(self) -> bool:
        """Tell whether every figure is what it should be."""
        return all(figure.right for figure in self.figures)


Starts = Callable[[Path, str, Mapping[str, str]], AbstractAsyncContextManager[Running]]


class DemoTopology(NamedTuple):
    """What the demo plays on: how it is started in a folder, and its settings beside the demo's.

    ``counts_jobs`` where whoever answers has run every job itself.
    """

    starts: Starts
    settings: Mapping[str, str]
    counts_jobs: bool


ONE_PROCESS = DemoTopology(process.platform, {}, counts_jobs=True)


async def play(wanted: Play, *, as_json: bool, topology: DemoTopology = ONE_PROCESS) -> bool:
    """Run the demo and show its table. Returns whether every figure is right. Raises StartError."""
    with wanted.file.open(encoding="ascii") as lines:
        orders = list(read_orders(lines, wanted.orders))
    folder = Path(tempfile.mkdtemp(prefix="mainspring-demo-"))
    console = Console(stderr=as_json)
    try:
        for url in (wanted.database, wanted.move_to):
            await _require_empty(url)
        with Board(console) as board:
            figures, database = await _perform(wanted, orders, folder, board, topology)
    except (CallFailed, ExceptionGroup) as error:
        raise StartError(f"the demo broke off: {_first(error)}") from error
    finally:
        if not wanted.keep:
            shutil.rmtree(folder, ignore_errors=True)
    result = Result(database, wanted.seed, str(folder) if wanted.keep else None, figures)
    show(result, as_json=as_json)
    return result.right


async def _require_empty(url: str) -> None:
    """Refuse a database that a platform was started over: its keyring is elsewhere."""
    if not url.startswith(("postgresql://", "postgres://")):
        return  # SQLite in a new directory, or nothing that starts
    database = open_database(url)
    await database.open()
    try:
        if await database.applied():
            raise StartError("this database has been used: the demo needs an empty one")
    finally:
        await database.close()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _perform(
    wanted: Play, orders: Sequence[Order], folder: Path, board: Board, topology: DemoTopology
) -> tuple[list[Figure], str]:
    receiver = Receiver()
    environ = process.environment(
        database__url=wanted.database,
        http_client__allow_private_addresses="true",
        webhooks__concurrency_per_endpoint="64",
        limits__default="1000000/s",
        **topology.settings,
    )
    async with receiver.serving() as hook, topology.starts(folder, APP, environ) as running:
        async with _client(running, wanted.seed) as client:
            await make_collections(client)
            subscription = {"url": hook, "types": ["records.record.created"]}
            made = await client.post("/v1/webhooks", subscription, "demo webhook")
            receiver.trust(made["secret"])
            customers = len({order.customer for order in orders})
            board.begin(customers=customers, orders=len(orders))
            loaded = await load(client, orders, board.advance)
            await _settle(client, receiver, customers, len(orders), board)
            board.say("reading everything back")
            stored = await read_back(client)
            metrics = (await client.read("/metrics")).decode() if topology.counts_jobs else None
            queues = await client.get("/v1/queues")
            figures = [
                *stored_figures(orders, stored),
                *event_figures(stored.events, receiver, customers, len(orders)),
                *job_figures(metrics, queues["items"], customers),
                *client_figures(client, loaded.seconds),
            ]
        board.say("verifying the audit log offline")
        figures += await _audit_figures(folder, environ)
    if wanted.move_to:
        board.say("moving everything to the other database, and reading it back from there")
        figures += await _moved_figures(wanted, orders, folder, environ)
    return figures, running.database


async def _moved_figures(
    wanted: Play, orders: Sequence[Order], folder: Path, environ: Mapping[str, str]
) -> list[Figure]:
    """Move the platform as a user would, start it over the other database, and check it there."""
    told = {**environ, "MAINSPRING_MOVE_TO": wanted.move_to}  # not for ps: it may hold a password
    place = ("--data-dir", str(folder / "data"))
    code, said = await process.run("move", APP, *place, environ=told, folder=folder)
    if code:
        return [Figure("moved", said.splitlines()[-1] if said else "no", "yes")]
    there = {**environ, "MAINSPRING_DATABASE__URL": wanted.move_to}
    async with (
        process.platform(folder, APP, there) as running,
        _client(running, wanted.seed) as client,
    ):
        stored = await read_back(client)
    customers = len({order.customer for order in orders})
    figures = [
        *stored_figures(orders, stored),
        record_events(stored.events, customers + len(orders)),
        *await _audit_figures(folder, there, MOVED_EXPORT_NAME),
    ]
    renamed = [msgspec.structs.replace(f, name=f"moved: {f.name}") for f in figures]
    return [Figure("moved to", running.database), *renamed]


@contextlib.asynccontextmanager
async def _client(running: Running, seed: int) -> AsyncIterator[DemoClient]:
    key = read_key(Path(running.admin_key))
    async with open_session(CALLS_AT_ONCE * 2) as session:
        yield DemoClient(session, running.url, key, seed)


async def _settle(
    client: DemoClient, receiver: Receiver, customers: int, orders: int, board: Board
) -> None:
    """Wait until every webhook came and every customer's figures are up to date."""

    total = customers + orders

    async def webhooks() -> int:
        receiver.moved.clear()
        board.reach("webhooks", len(receiver.events))
        return len(receiver.events)

    async def figures() -> int:
        progress = await client.get("/v1/rfm/progress")
        board.reach("figures", progress["orders"])
        return int(progress["orders"] - progress["stale"])

    await _until(webhooks, total, receiver.moved)
    await _until(figures, orders, asyncio.Event())


async def _until(look: Callable[[], Awaitable[int]], target: int, moved: asyncio.Event) -> None:
    """Look until the target is reached, or nothing has moved for ``STALL_S``: the table tells."""
    last, since = -1, monotonic()
    while True:
        now = await look()
        if now >= target:
            return
        if now != last:
            last, since = now, monotonic()
        elif monotonic() - since > STALL_S:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await moved.wait()


async def _audit_figures(
    folder: Path, environ: Mapping[str, str], export: str = EXPORT_NAME
) -> list[Figure]:
    data = str(folder / "data")
    code, said = await process.run(
        "audit", "export", export, "--data-dir", data, environ=environ, folder=folder
    )
    if code:
        return [Figure("audit log exported", said.splitlines()[-1] if said else "no", "yes")]
    key = said.rpartition("verifier key: ")[2]
    code, said = await process.run(
        "audit", "verify", export, "--key", key, environ=environ, folder=folder
    )
    verdict = said.partition("\n")[0].partition(", checkpoint")[0]
    return [Figure("audit log verified", verdict, "intact" if code else verdict)]


def show(result: Result, *, as_json: bool) -> None:
    """Print the table, or JSON; then what is off, if anything."""
    if as_json:
        figures = [
            {**msgspec.structs.asdict(figure), "right": figure.right} for figure in result.figures
        ]
        shown = {**msgspec.structs.asdict(result), "figures": figures, "right": result.right}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")
    else:
        _show_table(result)
    for figure in result.figures:
        if not figure.right:
            line = f"off: {figure.name} is {figure.found}, expected {figure.expected}"
            print(line, file=sys.stderr)


def _show_table(result: Result) -> None:
    title = f"mainspring demo on {result.database}, seed {result.seed}"
    table = Table(title=title, title_justify="left")
    for name in ("figure", "platform"):
        table.add_column(name, justify="right" if name == "platform" else "left", no_wrap=True)
    table.add_column("")
    for figure in result.figures:
        mark = "" if figure.expected is None else "[green]right[/]"
        if not figure.right:
            mark = f"[bold red]OFF[/], expected {figure.expected}"
        table.add_row(figure.name, figure.found, mark)
    console = Console()
    console.print(table)
    if result.folder:
        console.print(f"kept: {result.folder}", soft_wrap=True, highlight=False)

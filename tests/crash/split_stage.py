"""A stage for services in processes of their own: owners, gateways, workers and relays."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec

from mainspring.testing.servers import PostgresServer, free_ports
from tests.crash.load import Timeline, under_load
from tests.crash.namespaces import Inlet
from tests.crash.process import LEDGER, Platform
from tests.crash.scenario import Setting
from tests.crash.stage import COLLECTION, Stage

EVERYTHING = ("users", "records", "jobs", "webhooks", "events", "audit", "ledger")


class Part(Platform):
    """``mainspring run`` of one part; ``within`` is what comes before the command."""

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        database_url: str | None,
        *,
        notes: Path,
        environ: Mapping[str, str],
        within: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, database_url, notes=notes, environ=environ)
        self._arguments, self._within = arguments, within

    def command(self) -> Sequence[str]:
        """Run the part with the ledger's app."""
        return (
            *self._within, *self.python(), "run", *self._arguments, "--app", str(LEDGER),
            "--port", str(self.port), "--data-dir", str(self.directory),
        )  # fmt: skip


class SplitStage(Stage):
    """One owner of everything, or several; whoever is asked by default is the first gateway."""

    def __init__(
        self,
        setting: Setting,
        *,
        owners: int = 1,
        server: PostgresServer | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(setting, server=server)
        self.data = setting.root / "data"
        self.environ = dict(environ or {})
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(owners)]
        self.services = {"*": f"grpc://{','.join(self.addresses)}"}
        self.gateways: list[Part] = []
        self._made = 0
        self._inlets: list[Inlet] = []

    async def __aexit__(self, *error: Any) -> None:
        try:
            await super().__aexit__(*error)
        finally:
            for inlet in self._inlets:
                await inlet.stop()

    @property
    def first(self) -> Platform:
        """The first gateway."""
        return self.gateways[0]

    async def part(
        self,
        *arguments: str,
        within: Sequence[str] = (),
        certificate: str = "",
        inlet: Callable[[int], Inlet] | None = None,
    ) -> Part:
        """Start a part, and return it when it is ready. A gateway is given no database.

        Where it runs ``within`` a namespace, ``inlet`` makes a way to its port.
        """
        self._made += 1
        notes = self.setting.root / f"{self._made}-{arguments[0]}"
        gateway = arguments[0] == "gateway"
        directory = notes / "none" if gateway else self.data
        for folder in (notes, directory):
            folder.mkdir(parents=True, exist_ok=True)
        environ = {
            "MAINSPRING_PLATFORM__WORKERS": "1",  # each is one process, which can be hurt
            **self.environ,
            "MAINSPRING_PEERS__SERVICES": msgspec.json.encode(self.services).decode(),
        }
        if certificate:
            environ["MAINSPRING_PEERS__CERTIFICATES"] = certificate
        url = None if gateway else self.url
        part = Part(arguments, directory, url, notes=notes, environ=environ, within=within)
        if inlet is not None:
            way = inlet(part.port)
            await way.start()
            self._inlets.append(way)
            part.url = way.url
        if gateway:
            shutil.copy2(self.data / "admin.key", directory)  # for those who ask it
            self.gateways.append(part)
        self.platforms.insert(0, part)  # what is in front ends first
        await part.start()
        await part.ready()
        return part

    async def owner(self, number: int = 0, services: Sequence[str] = EVERYTHING) -> Part:
        """Start an owner at one of the addresses."""
        return await self.part(*services, "--listen", f"grpc://{self.addresses[number]}")

    async def prepare(self) -> None:
        """Make what the load needs, once there is a gateway."""
        self.key = (self.data / "admin.key").read_text().strip()
        hook = {"url": self.receiver.url, "types": ["ledger.*"]}
        await self.done("POST", "/v1/collections", COLLECTION)
        self.receiver.secret = (await self.done("POST", "/v1/webhooks", hook))["secret"]

    def loaded(
        self, seed: str = "load", *, deposits: bool = True
    ) -> AbstractAsyncContextManager[list[Timeline]]:
        """Keep the gateways under load by callers who know them all."""
        urls = [gateway.url for gateway in self.gateways]
        whole = f"{self.setting.seed}.{seed}"
        return under_load([urls], self.key, self.truth, whole, deposits=deposits)

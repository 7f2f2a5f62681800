"""A platform whose services run in processes of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.kernel.clock import SystemClock
from mainspring.testing.servers import free_ports
from tests.cli.site import started


class Split:
    """Two owners, a worker, a relay and a gateway over one PostgreSQL."""

    def __init__(self, folder: Path, log: IO[bytes], database: str, **engines: str) -> None:
        """Take the URL of a database, and settings of the other engines that all share."""
        self._folder, self._log = folder, log
        self._secured = False
        users, rest = free_ports(2)
        self.urls = {"users": f"grpc://127.0.0.1:{users}", "*": f"grpc://127.0.0.1:{rest}"}
        others = {"peers__services": msgspec.json.encode(self.urls).decode()}
        data = {"database__url": database, "platform__data_dir": str(folder / "data")}
        self._owning = {**engines, **others, **data}
        self._gateway = {**engines, **others, "platform__data_dir": str(folder / "none")}

    def secure(self) -> DevelopmentAuthority:
        """Give each part a certificate of its own, and have everything encrypted."""
        made = DevelopmentAuthority(self._folder / "certs", SystemClock())
        made.init("shop.internal")
        made.issue(["gateway", "users", "records", "worker", "relay"], 24)
        self.urls["*"] += "#records"
        named = {"peers__services": msgspec.json.encode(self.urls).decode()}
        self._owning |= named
        self._gateway |= named
        self._secured = True
        return made

    def users(self) -> Any:
        """Run the owner of the users."""
        return self._part(self._owning, "users", "--listen", self.urls["users"])

    def rest(self) -> Any:
        """Run the owner of everything else."""
        names = ("records", "jobs", "webhooks", "events", "audit")
        return self._part(self._owning, *names, "--listen", self.urls["*"].partition("#")[0])

    def worker(self) -> Any:
        """Run what works off jobs and consumers."""
        return self._part(self._owning, "worker")

    def relay(self) -> Any:
        """Run what puts events on the bus."""
        return self._part(self._owning, "relay")

    def gateway(self, certificate: str = "gateway") -> Any:
        """Run what callers reach. It is given neither database nor keyring."""
        return self._part(self._gateway, "gateway", certificate=certificate)

    def _part(
        self, settings: Mapping[str, str], *arguments: str, certificate: str | None = None
    ) -> Any:
        if self._secured:
            own = self._folder / "certs" / (certificate or arguments[0])
            settings = {**settings, "peers__certificates": str(own)}
        settings = {"platform__lame_duck_s": "0", **settings}
        return started(self._folder, self._log, "run", *arguments, **settings)

    @property
    def key(self) -> str:
        """The administrator's."""
        return (self._folder / "data" / "admin.key").read_text().strip()

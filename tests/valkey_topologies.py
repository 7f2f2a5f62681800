"""Valkey, or Redis, with Sentinel and as a cluster."""

from itertools import pairwise
from pathlib import Path

from mainspring.adapters.redis.cluster import slot_of
from mainspring.testing.servers import ValkeyServer, free_ports
from mainspring.testing.servers.valkey import ServerError


class Sentinel:
    """A primary, its replica, and one Sentinel that watches them."""

    def __init__(self, program: Path) -> None:
        self.primary = ValkeyServer(program)
        replica = ("--replicaof", "127.0.0.1", str(self.primary.port))
        self.servers = [self.primary, ValkeyServer(program, *replica)]
        watches = (
            f"sentinel monitor shop 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000"
        )
        self.sentinel = ValkeyServer(program, sentinel=watches)
        self.url = f"redis+sentinel://127.0.0.1:{self.sentinel.port}/shop"
        self.primaries = [self.primary]

    def ready(self) -> bool:
        told = self.sentinel.command("SENTINEL", "REPLICAS", "shop")
        linked: bytes = self.servers[1].command("INFO", "replication")
        return len(told) == 1 and b"master_link_status:up" in linked

    def close(self) -> None:
        for server in (self.sentinel, *self.servers):
            server.close()


class Cluster:
    """Three primaries, each with a third of the slots, and a replica of the first."""

    def __init__(self, program: Path) -> None:
        self.buses = free_ports(4)
        self.servers = [
            ValkeyServer(
                program, "--cluster-enabled", "yes", "--cluster-port", str(bus),
                "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
            )
            for bus in self.buses
        ]  # fmt: skip
        self.primary, *_ = self.primaries = self.servers[:3]
        bounds = (0, 5_461, 10_923, 16_384)
        for server, (first, last) in zip(self.primaries, pairwise(bounds), strict=True):
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        for server, bus in zip(self.servers[1:], self.buses[1:], strict=True):
            self.primary.command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        self.id = self.primary.command("CLUSTER", "MYID")
        nobody, one = free_ports(1)[0], self.primaries[1].port
        self.url = f"redis+cluster://127.0.0.1:{one},127.0.0.1:{nobody}"
        self.replicating = False

    def ready(self) -> bool:
        infos: list[bytes] = [one.command("CLUSTER", "INFO") for one in self.servers]
        if not all(b"cluster_known_nodes:4" in i and b"cluster_state:ok" in i for i in infos):
            return False
        if not self.replicating:
            self.servers[3].command("CLUSTER", "REPLICATE", self.id)
            self.replicating = True
        linked: bytes = self.servers[3].command("INFO", "replication")
        known: bytes = self.primaries[1].command("CLUSTER", "NODES")
        return b"master_link_status:up" in linked and known.count(b"slave") == 1

    def move(self, key: bytes) -> None:
        """Give the slot of a key to another primary, and what is in it."""
        slot, (giver, taker) = slot_of(key), self.primaries[:2]
        if slot_of(key) > 5_460:
            giver, taker = self.primaries[1 if slot <= 10_922 else 2], self.primaries[0]
        names = [one.command("CLUSTER", "MYID") for one in (giver, taker)]
        giver.command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        taker.command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        keys = giver.command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        giver.command("MIGRATE", "127.0.0.1", taker.port, "", 0, 5_000, "KEYS", *keys)
        for server in (taker, giver):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", names[1])

    def close(self) -> None:
        for server in self.servers:
            server.close()


class SixNodes:
    """Three primaries, each with a replica; every node can be replaced, at another address."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.servers = [self._made() for _ in range(6)]
        self._replicating = False
        bounds = (0, 5_461, 10_923, 16_384)
        for (server, _), (first, last) in zip(self.servers[:3], pairwise(bounds), strict=True):
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
        for server, bus in self.servers[1:]:
            self.servers[0][0].command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        places = ",".join(f"127.0.0.1:{server.port}" for server, _ in self.servers[:2])
        self.url = f"redis+cluster://{places}"

    def _made(self) -> tuple[ValkeyServer, int]:
        (bus,) = free_ports(1)
        options = (
            "--cluster-enabled", "yes", "--cluster-port", str(bus),
            "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
        )  # fmt: skip
        return ValkeyServer(self._program, *options), bus

    def ready(self) -> bool:
        """Tell whether each knows all six, all slots are owned, and each primary has a replica."""
        for server, _ in self.servers:
            info: bytes = server.command("CLUSTER", "INFO")
            if b"cluster_known_nodes:6" not in info or b"cluster_state:ok" not in info:
                return False
        if not self._replicating:
            for (replica, _), (primary, _) in zip(self.servers[3:], self.servers, strict=False):
                replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
            self._replicating = True
        infos: list[bytes] = [s.command("INFO", "replication") for s, _ in self.servers]
        primaries = [info for info in infos if b"role:master" in info]
        linked = sum(b"master_link_status:up" in info for info in infos)
        return len(primaries) == linked == sum(b"state=online" in info for info in primaries) == 3

    def kill(self, at: int) -> bytes:
        """Kill a node; return its id."""
        server, _ = self.servers.pop(at)
        name: bytes = server.command("CLUSTER", "MYID")
        server.kill()
        return name

    def gone(self, name: bytes) -> bool:
        """Tell whether all that live know that a node has failed, and that it owns no slot."""
        for server, _ in self.servers:
            told: bytes = server.command("CLUSTER", "NODES")
            (line,) = [line for line in told.splitlines() if line.startswith(name)]
            _, _, flags, *fields = line.split()
            if b"fail" not in flags.split(b",") or len(fields) > 5:  # the rest are its slots
                return False
        return True

    def join(self, gone: bytes) -> ValkeyServer:
        """Have a new node take the place of one that is gone, as yet without its role."""
        made, bus = self._made()
        for server, _ in self.servers:
            server.command("CLUSTER", "FORGET", gone)
        self.servers[0][0].command("CLUSTER", "MEET", "127.0.0.1", made.port, bus)
        self.servers.append((made, bus))
        return made

    def follow_the_lonely(self, made: ValkeyServer) -> bool:
        """Have a new node replicate the primary that has no replica, once it knows of it."""
        for server, _ in self.servers[:-1]:
            told: bytes = server.command("INFO", "replication")
            if b"role:master" in told and b"connected_slaves:0" in told:
                try:
                    made.command("CLUSTER", "REPLICATE", server.command("CLUSTER", "MYID"))
                except ServerError:  # it has not heard of it yet
                    return False
                return True
        return False

    def close(self) -> None:
        """End them all."""
        for server, _ in self.servers:
            server.close()

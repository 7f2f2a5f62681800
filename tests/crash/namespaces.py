"""Machines on one machine: network namespaces on a switch, and cables that can be pulled."""

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.crash.scenario import Skipped

READ_BYTES = 65_536
_CLONE_NEWNET = 0x40000000


class Namespaces:
    """Namespaces of this run by short names, each with an address; all end with it.

    Where root may not make any, entering raises Skipped with the reason.
    """

    def __init__(self, *names: str) -> None:
        self._prefix = f"ms{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self.addresses = {name: f"10.213.0.{n}" for n, name in enumerate(names, 1)}

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise Skipped("only root makes network namespaces, with the program ip")
        try:
            self._ip("netns", "add", self._switch)
            self._in(self._switch, "link", "add", "br0", "type", "bridge")
            self._in(self._switch, "link", "set", "br0", "up")
            for name, address in self.addresses.items():
                self._ip("netns", "add", self.full(name))
                cable = ("link", "add", name, "type", "veth", "peer", "name", "eth0")
                self._in(self._switch, *cable, "netns", self.full(name))
                self.join(name)
                self._in(self._switch, "link", "set", name, "up")
                self._in(self.full(name), "addr", "add", f"{address}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    self._in(self.full(name), "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise Skipped(f"no network namespaces here: {error.stderr.strip()}") from error
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*map(self.full, self.addresses), self._switch):
            if Path("/run/netns", name).exists():
                self._ip("netns", "del", name)

    def full(self, name: str) -> str:
        """Return what the system calls a namespace."""
        return f"{self._prefix}-{name}"

    def within(self, name: str) -> tuple[str, ...]:
        """Return what runs a command in one."""
        return "ip", "netns", "exec", self.full(name)

    def part(self, name: str) -> None:
        """Pull its cable at the switch: its own end stays up, and nobody is told anything."""
        self._in(self._switch, "link", "set", name, "nomaster")

    def join(self, name: str) -> None:
        """Put its cable into the switch."""
        self._in(self._switch, "link", "set", name, "master", "br0")

    def _in(self, full: str, *arguments: str) -> None:
        self._ip("-n", full, *arguments)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Inlet:
    """Takes connections here, and passes them on to loopback in a namespace."""

    def __init__(self, namespace: str, port: int) -> None:
        self._namespace, self._far = namespace, port
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Hang up on everybody."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            made = _socket_in(self._namespace)
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self._far))
            far, there = await asyncio.open_connection(sock=made)
        except OSError:
            back.transport.abort()
            return
        pair = [asyncio.create_task(_pass(near, there)), asyncio.create_task(_pass(far, back))]
        self._tasks.update(pair)
        await asyncio.wait(pair)
        self._tasks.difference_update(pair)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(READ_BYTES):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


def _socket_in(namespace: str) -> socket.socket:
    """Make a socket of a namespace: this thread goes there for as long as that takes."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        Path("/proc/thread-self/ns/net").open() as here,
        Path("/run/netns", namespace).open() as to,
    ):
        if libc.setns(to.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"no way into {namespace}")
        try:
            return socket.socket()
        finally:
            if libc.setns(here.fileno(), _CLONE_NEWNET):
                raise SystemExit("no way back from the namespace")

"""An owner of notes: it counts its calls, and answers them when it is let. Also as a process."""

import asyncio
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from mainspring.adapters.peers import grpc_listener
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import Failure
from mainspring.kernel.invocation import FilePart, Invocation, Opened, Outcome
from mainspring.kernel.operation import Kind
from mainspring.kernel.recipient import Recipient
from mainspring.ports.opening import Sources
from mainspring.ports.peers import Owned

READ_TIMEOUT_S = 0.1  # of what only reads: short, since tests wait for it


def operation(name: str, kind: Kind, *, writes: bool, timeout_s: float) -> Any:
    return SimpleNamespace(name=name, kind=kind, writes=writes, timeout_s=timeout_s)


OPERATIONS = {
    "notes.get": operation("notes.get", Kind.UNARY, writes=False, timeout_s=READ_TIMEOUT_S),
    "notes.wait": operation("notes.wait", Kind.UNARY, writes=False, timeout_s=30.0),
    "notes.create": operation("notes.create", Kind.UNARY, writes=True, timeout_s=30.0),
    "notes.send": operation("notes.send", Kind.UPLOAD, writes=True, timeout_s=30.0),
}


class Notes:
    """Answers while ``answers`` is set, with what it ``says`` where that is something."""

    def __init__(self, says: Failure | None = None) -> None:
        self._says = says
        self._came = asyncio.Condition()
        self.answers = asyncio.Event()
        self.answers.set()
        self.calls = 0
        self.taken, self.ended = asyncio.Event(), asyncio.Event()
        self.whole: list[bytes] = []

    async def called(self, times: int) -> None:
        """Wait until it was called so often."""
        async with self._came:
            await self._came.wait_for(lambda: self.calls >= times)

    async def invoke(self, invocation: Invocation) -> Outcome:
        self.calls += 1
        async with self._came:
            self._came.notify_all()
        await self.answers.wait()
        if self._says is not None:
            raise self._says
        return Outcome(200, b"{}")

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        return Opened((await self.invoke(invocation)).body)

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        came = []
        try:
            async for chunk in chunks:
                came.append(chunk)
                self.taken.set()
            self.whole.append(b"".join(came))
        finally:
            self.ended.set()
        return Outcome(200, b"{}")

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        raise AssertionError("no operation of notes takes files")


async def main(port: int) -> None:
    """Own notes until the process is ended."""
    listener = grpc_listener.open(
        f"grpc://127.0.0.1:{port}", Sources(SystemClock(), SystemEntropy())
    )
    await listener.start(Owned(OPERATIONS, Notes()))
    print("listens", flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

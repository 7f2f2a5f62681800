"""Programs are started from a process that calls over gRPC."""

import subprocess
import sys

from tests.deadline import DEADLINE_S

# A preexec_fn keeps Python from vfork(), as another user would.
SCRIPT = """
import asyncio, subprocess
import mainspring.adapters.peers
import grpc
from grpc import aio

async def echo(request, context):
    return request

async def main():
    methods = {"C": grpc.unary_unary_rpc_method_handler(echo)}
    server = aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call, calling = channel.unary_unary("/a.B/C"), True

        async def keep_calling():
            while calling:
                await call(b"x")

        callers = [asyncio.ensure_future(keep_calling()) for _ in range(8)]
        for _ in range(60):
            done = await asyncio.to_thread(
                subprocess.run, ["true"], preexec_fn=int, capture_output=True
            )
            print(done.returncode, done.stderr.decode())
        calling = False
        await asyncio.gather(*callers)
    await server.stop(0)

asyncio.run(main())
"""


def test_a_program_that_is_started_beside_calls_starts() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert ended.stdout.split() == ["0"] * 60, ended

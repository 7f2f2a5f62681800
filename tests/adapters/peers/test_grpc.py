"""gRPC takes the development authority's certificates, through renewals and to another root."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import grpc
import pytest
from grpc import aio

from mainspring.adapters.peers import certificate_files
from mainspring.adapters.peers.authority import DevelopmentAuthority
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.tls import reloaded_credentials
from mainspring.kernel.clock import SystemClock
from mainspring.ports.certificates import RootStep
from mainspring.ports.database import StartError
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S

DOMAIN = "shop.internal"
WHO = "/test.Peers/Who"
CALLERS = 4  # so many handshakes at a time, of a channel each


class Server:
    """Answers who calls, with whatever pair lies in its directory at each handshake."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = aio.server()
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "test.Peers", {"Who": grpc.unary_unary_rpc_method_handler(self._who)}
                ),
            )
        )
        self._newest = certificate_files.read(folder)
        credentials = reloaded_credentials(self._newest, self._read)
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.refused = 0  # reads that gave no pair

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def _read(self) -> CertificateFiles:
        try:
            self._newest = certificate_files.read(self._folder)
        except StartError:
            self.refused += 1
        return self._newest

    async def _who(self, _: bytes, context: Any) -> bytes:
        names: list[bytes] = context.auth_context()["x509_subject_alternative_name"]
        return next(name for name in names if name.startswith(b"spiffe://"))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def call(port: int, files: CertificateFiles, host: str = f"users.{DOMAIN}") -> str:
    """Make a channel and one call. Raises AioRpcError."""
    credentials = grpc.ssl_channel_credentials(files.roots, files.key, files.chain)
    return await _call(
        aio.secure_channel(
            f"127.0.0.1:{port}",
            credentials,
            # A pool that channels share would answer with a connection of another certificate.
            [("grpc.ssl_target_name_override", host), ("grpc.use_local_subchannel_pool", 1)],
        )
    )


async def _call(channel: Any) -> str:
    async with channel:
        answer: bytes = await channel.unary_unary(WHO)(b"", timeout=DEADLINE_S)
        return answer.decode()


def authority(folder: Path, clock: FakeClock | None = None) -> DevelopmentAuthority:
    made = DevelopmentAuthority(folder, clock or SystemClock())
    made.init(DOMAIN)
    made.issue(["gateway", "users"], 24)
    return made


async def refused(port: int, files: CertificateFiles, **of: str) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await call(port, files, **of)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_no_call_fails_while_certificates_and_the_root_are_replaced(tmp_path: Path) -> None:
    made = authority(tmp_path)
    done, answered, seen = asyncio.Event(), asyncio.Event(), set()
    calls = [0] * CALLERS
    async with serving(tmp_path / "users") as server:

        async def keep_calling(caller: int) -> None:
            while not done.is_set():
                files = certificate_files.read(tmp_path / "gateway")
                seen.add(files.chain)
                assert await call(server.port, files) == f"spiffe://{DOMAIN}/gateway"
                calls[caller] += 1
                answered.set()

        async def replace() -> None:
            for step in (*get_args(RootStep), None):
                if step is not None:
                    await asyncio.to_thread(made.change_root, step)
                else:
                    await asyncio.to_thread(made.renew, (), None)
                # One call may have begun with the files before: two later nobody is behind.
                least = [each + 2 for each in calls]
                while any(now < then for now, then in zip(calls, least, strict=True)):
                    answered.clear()
                    await answered.wait()
            done.set()

        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            group.create_task(replace())
            for caller in range(CALLERS):
                group.create_task(keep_calling(caller))
        assert len(seen) > len(get_args(RootStep))
        assert server.refused == 0


def test_grpc_is_told_only_of_certificates_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that it is told of frees the one before, also under a handshake beside this one."""
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda _, fetch, **__: fetch)
    made = authority(tmp_path)

    def newest() -> CertificateFiles:
        return certificate_files.read(tmp_path / "users")

    fetch = reloaded_credentials(newest(), newest)
    assert fetch() is None
    made.renew((), None)
    assert fetch() is not None
    assert fetch() is None


async def test_old_and_new_root_are_both_taken_until_it_is_dropped(tmp_path: Path) -> None:
    made = authority(tmp_path)
    callers = [certificate_files.read(tmp_path / "gateway")]
    async with serving(tmp_path / "users") as server:
        for step in get_args(RootStep):
            made.change_root(step)
            callers.append(certificate_files.read(tmp_path / "gateway"))
            for caller in callers[-2:]:
                assert await call(server.port, caller) == f"spiffe://{DOMAIN}/gateway"
        await refused(server.port, callers[0])


async def test_who_has_no_certificate_of_this_authority_is_refused(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_ms() - 48 * 3_600_000)
    made = authority(tmp_path / "ours", clock)
    expired = certificate_files.read(tmp_path / "ours/gateway")
    clock.move(48 * 3_600)
    made.renew((), None)
    authority(tmp_path / "theirs")
    ours, theirs = (certificate_files.read(tmp_path / of / "gateway") for of in ("ours", "theirs"))
    async with serving(tmp_path / "ours/users") as server:
        assert await call(server.port, ours) == f"spiffe://{DOMAIN}/gateway"
        await refused(server.port, ours, host=f"records.{DOMAIN}")  # another service is wanted
        await refused(server.port, theirs)
        for files in (theirs, expired):  # whom only the server can refuse
            await refused(server.port, CertificateFiles(files.chain, files.key, ours.roots))
        anonymous = grpc.ssl_channel_credentials(ours.roots)
        options = [("grpc.ssl_target_name_override", f"users.{DOMAIN}")]
        plain = aio.insecure_channel(f"127.0.0.1:{server.port}")
        nobody = aio.secure_channel(f"127.0.0.1:{server.port}", anonymous, options)
        for channel in (plain, nobody):
            with pytest.raises(aio.AioRpcError):
                await _call(channel)


async def test_handshakes_go_on_with_the_last_pair_while_files_are_broken(tmp_path: Path) -> None:
    made = authority(tmp_path)
    caller = certificate_files.read(tmp_path / "gateway")
    async with serving(tmp_path / "users") as server:
        (tmp_path / "users/tls.key").resolve().unlink()
        for times in (1, 2):
            assert await call(server.port, caller) == f"spiffe://{DOMAIN}/gateway"
            assert server.refused >= times
        before = server.refused
        made.renew(["users"], None)
        assert await call(server.port, caller) == f"spiffe://{DOMAIN}/gateway"
        assert server.refused == before

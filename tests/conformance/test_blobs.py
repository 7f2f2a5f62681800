"""Every blob store against the conformance suite that ships with Mainspring."""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.blobs import directory, s3
from mainspring.ports.blobs import Blobs
from mainspring.testing.conformance.blobs import CHECKS
from mainspring.testing.servers import SeaweedServer

every = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


@every
async def test_blobs(check: Callable[[Blobs], Awaitable[None]], tmp_path: Path) -> None:
    await check(directory.open(f"file:{tmp_path / 'blobs'}"))


@every
@pytest.mark.xdist_group("s3")
async def test_blobs_in_s3(
    check: Callable[[Blobs], Awaitable[None]], s3_server: SeaweedServer
) -> None:
    await check(s3.open(s3_server.url(prefix=f"of/{secrets.token_hex(8)}")))

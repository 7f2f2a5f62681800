"""Every blob store against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.blobs import directory
from mainspring.ports.blobs import Blobs
from mainspring.testing.conformance.blobs import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_blobs(check: Callable[[Blobs], Awaitable[None]], tmp_path: Path) -> None:
    await check(directory.open(f"file:{tmp_path / 'blobs'}"))

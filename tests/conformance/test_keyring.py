"""Every keyring against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.keyring import file
from mainspring.testing.conformance.keyring import CHECKS, MakeKeyring


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keyring(check: Callable[[MakeKeyring], Awaitable[None]], tmp_path: Path) -> None:
    await check(lambda name: file.open(f"file:{tmp_path / name}"))

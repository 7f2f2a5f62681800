"""Every KMS against the conformance suite that ships with Mainspring."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.kms import aws
from mainspring.ports.kms import Kms
from mainspring.runtime.keyring_kms import KeyringKms
from mainspring.testing.clock import FakeClock, SeededEntropy
from mainspring.testing.conformance.kms import CHECKS
from mainspring.testing.servers import LocalKms


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keyring(check: Callable[[Kms], Awaitable[None]], tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "keyring.json", clock=FakeClock(), entropy=SeededEntropy(1))
    await keyring.open()
    await check(KeyringKms(keyring))


@pytest.fixture
async def there(local_kms: LocalKms, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kms]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    kms = aws.open(local_kms.url(local_kms.new_key()))
    await kms.open()
    yield kms
    await kms.close()


@pytest.mark.xdist_group("kms")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_aws(check: Callable[[Kms], Awaitable[None]], there: Kms) -> None:
    await check(there)

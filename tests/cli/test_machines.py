"""Several machines over one database: each with its keyring, or not at all."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mainspring.app import Instance, build, sections
from mainspring.cli import checks, offline
from mainspring.engines import opened
from mainspring.ports.database import StartError
from mainspring.runtime import identity
from mainspring.settings import Flag, Settings, load

Machine = Callable[[str], Settings]


@pytest.fixture
def machine(database_url: str, tmp_path: Path) -> Machine:
    """The settings of a machine of this name: a data directory of its own, and the one database."""

    def settings(name: str) -> Settings:
        (tmp_path / name).mkdir(exist_ok=True, mode=0o700)
        flags = [
            Flag("data_dir", "platform.data_dir", str(tmp_path / name)),
            Flag("url", "database.url", database_url),
        ]
        return load(sections(None), flags=flags)

    return settings


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Instance]:
    platform = await build(settings)
    await platform.open()
    try:
        yield platform
    finally:
        await platform.close()


async def refused(settings: Settings, why: str) -> None:
    with pytest.raises(StartError, match=why):
        async with started(settings):
            pass


async def row_of(platform: Instance) -> identity.IdentityRow:
    (row,) = await platform.database.read(identity.FIND_IDENTITY, ())
    assert isinstance(row, identity.IdentityRow)
    return row


async def test_a_second_machine_with_another_keyring_does_not_start(
    machine: Machine, tmp_path: Path
) -> None:
    """It would answer idempotency keys twice, and sign the log with a key of its own."""
    first, second = machine("first"), machine("second")
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(started(first))
        before = await row_of(running)
        if running.database.exclusive:  # its file is locked: the other comes after it
            await stack.aclose()
        await refused(second, "keyring.json is missing")
        assert not (tmp_path / "second/keyring.json").exists()
        await opened("keyring", f"file:{tmp_path / 'second/keyring.json'}").open()
        await refused(second, "is not the keyring of this database")
        check = await checks.check_audit_log(offline.compare_log(second))
        assert "is not the keyring of this database" in check.found
        with pytest.raises(StartError, match="is not the keyring of this database"):
            await offline.note_restore(second)
        shutil.copy(tmp_path / "first/keyring.json", tmp_path / "second/keyring.json")
        async with started(second) as other:
            assert await row_of(other) == before


async def test_a_rotated_keyring_goes_to_every_machine(machine: Machine, tmp_path: Path) -> None:
    first, second = machine("first"), machine("second")
    async with started(first):
        pass
    shutil.copy(tmp_path / "first/keyring.json", tmp_path / "second/keyring.json")
    added, _ = await offline.rotate_keyring(first)
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(started(second))  # nobody has used the new key yet
        if old.database.exclusive:
            await stack.aclose()
        async with started(first) as new:
            assert added in (await row_of(new)).keys.split()
        if not old.database.exclusive:
            assert await old.failing() == [], "a rotation takes effect at a restart"
    await refused(second, f"lacks the keys {added}")
    shutil.copy(tmp_path / "first/keyring.json", tmp_path / "second/keyring.json")
    async with started(second):
        pass

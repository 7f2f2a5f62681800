"""Several machines over one database: each with its keyring, or not at all."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mainspring.app import Instance, build, sections
from mainspring.cli import checks, offline
from mainspring.cli.sealed_check import check_sealed
from mainspring.engines import open_database, opened
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import rfc3339
from mainspring.ports.database import StartError
from mainspring.runtime import identity
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS
from mainspring.settings import Flag, Settings, database_url, load

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


async def sealed(settings: Settings, folder: Path) -> str:
    """What doctor says of sealed values."""
    keyring = opened("keyring", f"file:{folder / 'keyring.json'}")
    check = await check_sealed(open_database(database_url(settings)), keyring)
    return f"{check.verdict} {check.found}"


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


async def test_doctor_says_what_is_under_an_older_key(machine: Machine, tmp_path: Path) -> None:
    settings, folder = machine("first"), tmp_path / "first"
    async with started(settings) as new:
        runtime = new.runtime
        await runtime.resealing.begin(runtime.dispatcher, new=True)
        (key,) = new.keyring.key_ids()
        call = runtime.dispatcher.call(SYSTEM, request_id="test")
        assert await new.data_keys.seal(call, SEALED_SUBJECT_KEYS, b"key", "main", "ann")
        day = rfc3339(runtime.clock.now_ms())[:10]
    said = f"1 data keys, those in use made since {day}, wrapped by keyring:"
    assert await sealed(settings, folder) == f"ok {said}{key}"
    added, _ = await offline.rotate_keyring(settings)
    assert await sealed(settings, folder) == (
        f"warn {said}{key}; the keyring's newest key is keyring:{added}"
    )
    assert await offline.rotate_data_keys(settings, None) == (1, 1)
    assert (await sealed(settings, folder)).endswith(
        "; subject_keys.sealed: not all of it is under the newest"
    )
    async with started(settings) as again:
        runtime = again.runtime
        assert await runtime.resealing.begin(runtime.dispatcher)
        await runtime.prepare()
        while await run_once(again):
            pass
    assert await sealed(settings, folder) == (
        f"ok 2 data keys, those in use made since {day}, wrapped by keyring:{added}; values are "
        "looked at once more a day after they were sealed anew"
    )


async def run_once(platform: Instance) -> bool:
    """Do what is due; return whether a job was among it."""
    return bool((await platform.runtime.run_due()).attempts)

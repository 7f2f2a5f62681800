"""A database knows its keyring and its schema, and refuses what does not fit, on both engines."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.errors import PositionGone
from mainspring.kernel.service import Service
from mainspring.ports.database import Database, StartError
from mainspring.runtime import identity
from mainspring.runtime.data_keys import ALL_DATA_KEYS, DATA_KEYS, DataKeyRow
from mainspring.runtime.events.positions import Positions
from mainspring.runtime.identity import check_schema
from mainspring.runtime.migrate import migrate
from mainspring.testing.clock import FakeClock, SeededEntropy
from tests.conftest import connect
from tests.runtime.links import links

Open = Callable[..., Awaitable[FileKeyring]]
CLOCK = FakeClock()


@pytest.fixture
def keyring_of(tmp_path: Path) -> Open:
    """Open the keyring of this name, made from this seed."""

    async def open_one(name: str, seed: int = 1) -> FileKeyring:
        keyring = FileKeyring(tmp_path / name, CLOCK, SeededEntropy(seed))
        await keyring.open()
        return keyring

    return open_one


async def establish(database: Database, keyring: FileKeyring, seed: int = 9) -> bool:
    return await identity.establish(database, keyring, CLOCK, SeededEntropy(seed))


async def test_the_first_start_gives_it_and_later_ones_keep_it(
    empty_database_url: str, keyring_of: Open
) -> None:
    database = connect(empty_database_url)
    await database.open()
    assert await database.applied() == {}
    assert await identity.find(database, await database.applied()) is None
    await migrate(database, [])
    keyring = await keyring_of("a")
    assert await establish(database, keyring) is True
    row = await identity.find(database, await database.applied())
    assert row is not None
    assert (row.epoch, row.keys.split()) == (1, keyring.key_ids())
    assert await establish(database, keyring, 10) is False
    assert await identity.find(database, await database.applied()) == row
    await database.close()


async def test_a_database_that_went_back_refuses_positions_from_before(
    database: Database, keyring_of: Open
) -> None:
    await migrate(database, [])
    with pytest.raises(StartError, match="never started"):
        await identity.went_back(database)
    await establish(database, await keyring_of("a"))
    before = (await Positions(database).name()).position(0)
    assert await Positions(database).read(before) == 0
    assert await identity.went_back(database) == 2
    with pytest.raises(PositionGone, match="from before the log was restored"):
        await Positions(database).read(before)
    assert await Positions(database).read("0") == 0


async def test_another_keyring_is_refused(database: Database, keyring_of: Open) -> None:
    await migrate(database, [])
    await establish(database, await keyring_of("a"))
    with pytest.raises(StartError, match="not the keyring of this database"):
        await establish(database, await keyring_of("b", 2))


async def test_a_rotated_keyring_is_taken_and_one_from_before_is_not(
    database: Database, keyring_of: Open, tmp_path: Path
) -> None:
    await migrate(database, [])
    keyring = await keyring_of("a")
    await establish(database, keyring)
    (tmp_path / "old").write_bytes((tmp_path / "a").read_bytes())
    (tmp_path / "old").chmod(0o600)
    added = await keyring.rotate()
    assert await establish(database, keyring) is False
    with pytest.raises(StartError, match=f"lacks the keys {added}"):
        await establish(database, await keyring_of("old"))


async def test_a_loss_is_accepted_knowingly(database: Database, keyring_of: Open) -> None:
    await migrate(database, [])
    await establish(database, await keyring_of("a"))
    new = await keyring_of("b", 2)
    of = DataKeyRow("ours", "main", "p", 1, b"x", "keyring:ab", 0)
    kept = msgspec.structs.replace(of, id="kms", generation=2, wrapped_by="aws-kms:arn:x")
    await database.commit([DATA_KEYS.insert(of), DATA_KEYS.insert(kept)])
    await identity.accept_loss(database, new, CLOCK, SeededEntropy(3))
    assert await database.read(ALL_DATA_KEYS, ()) == [kept], "nobody can seal with what is lost"
    assert await establish(database, new) is False
    row = await identity.find(database, await database.applied())
    assert row is not None
    assert row.epoch == 1  # the log lost nothing


async def test_of_processes_that_start_at_once_one_gives_the_identity(
    postgres_url: str, keyring_of: Open
) -> None:
    databases = [connect(postgres_url) for _ in range(4)]
    keyrings = [await keyring_of("shared" if n < 3 else "foreign", n) for n in range(4)]
    for database in databases:
        await database.open()
    try:

        async def start(n: int) -> bool:
            await migrate(databases[n], [])
            return await establish(databases[n], keyrings[n], n)

        ended = await asyncio.gather(*(start(n) for n in range(4)), return_exceptions=True)
        row = await identity.find(databases[0], await databases[0].applied())
    finally:
        for database in databases:
            await database.close()
    assert ended.count(True) == 1
    assert row is not None
    refused = [e for e in ended if isinstance(e, StartError)]
    assert len(refused) in (1, 3)  # the foreign one, or all who do not share with it
    assert len(refused) + ended.count(True) + ended.count(False) == 4


async def test_code_that_is_older_than_the_database_is_refused(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("CREATE TABLE shop_a (id text NOT NULL PRIMARY KEY);")
    (folder / "0002_next.sql").write_text("CREATE TABLE shop_b (id text NOT NULL PRIMARY KEY);")
    shop = Service("shop", doc="Sells.", migrations=folder)
    await migrate(database, [shop])
    applied = await database.applied()
    check_schema(applied, [shop], database.dialect)
    (folder / "0002_next.sql").unlink()
    with pytest.raises(StartError, match="newer than this code: shop/0002_next"):
        check_schema(applied, [shop], database.dialect)
    with pytest.raises(StartError, match="newer than this code: runtime/9999_later"):
        check_schema(["runtime/9999_later"], [], database.dialect)


async def test_another_apps_database_is_refused(database: Database) -> None:
    await migrate(database, [links])
    applied = await database.applied()
    with pytest.raises(StartError, match=r"has tables of links, .*mainspring up APP"):
        check_schema(applied, [], database.dialect)
    check_schema(applied, [], database.dialect, ["links"])


def test_a_migrations_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    shop = Service("shop", doc="Sells.", migrations=tmp_path / "gone")
    (tmp_path / "gone").rmdir()  # one that never was is told where the service is declared
    with pytest.raises(StartError, match=r"migrations folder .*gone is not there"):
        check_schema([], [shop], "sqlite")

"""kill -9 in the middle of rotations: every sealed value opens before, during and after.

Each round has another root key, or new data keys, or both, under load; the command is killed too.
Somebody who holds the keyring opens every value that is stored, over and over, all the time.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import apsw
import asyncpg
import msgspec

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.engines import open_database, opened
from mainspring.kernel.call import TENANT_DEFAULT
from mainspring.kernel.clock import SystemEntropy
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.table import Statement
from mainspring.ports.kms import Wrapped
from mainspring.runtime.data_key import DataKey, key_id_of
from mainspring.runtime.data_keys import DataKeyRow
from mainspring.runtime.keyring_kms import KeyringKms
from mainspring.runtime.resealing import generation_name
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS, SUBJECT_KEYS, SubjectKey
from mainspring.services.webhooks.store import SECRET
from tests.crash.checks import Broken
from tests.crash.scenario import Outcome, Scenario, Setting
from tests.crash.stage import Stage, until, wait_s

PERSONS = 2_000  # twenty pages, half a second or so
CHUNK = 500
ROUNDS_SHARE = 10  # of the rounds that are asked for, one in so many: each is several kills
MORE_MAX = 4  # rounds more, each with kills that come sooner, where none hit anything
LAST_S = 0.8  # from a start until a kill
COMMAND_S = 1.5  # from the start of a command until its kill
KILLS_MAX = 3
LOOK_EVERY_S = 0.1
_ENTROPY = SystemEntropy()
_UPGRADE = Statement("test.upgrade", "DELETE FROM resealed")  # as if nothing were under data keys
_DATA_KEYS = (
    "SELECT id, tenant, purpose, generation, wrapped, wrapped_by, created_ms FROM data_keys"
)
_PERSONS = "SELECT person, sealed FROM subject_keys"
_SECRETS = "SELECT id, secret FROM webhooks_endpoints"
_NOTED = "SELECT name, key_id FROM resealed"
Place = tuple[str, ...]  # the purpose and the row's key


class Stored(msgspec.Struct, frozen=True):
    """What one transaction saw: data keys, and the sealed values by their place."""

    data_keys: list[DataKeyRow]
    sealed: Mapping[Place, bytes]
    noted: Mapping[str, str]

    def newest(self) -> dict[str, DataKeyRow]:
        """The newest data key of each purpose."""
        rows = sorted(self.data_keys, key=lambda row: row.generation)
        return {row.purpose: row for row in rows}

    def behind(self) -> int:
        """How many values are not under the newest data key of their purpose."""
        newest = {purpose: row.id for purpose, row in self.newest().items()}
        return sum(key_id_of(text) != newest.get(place[0]) for place, text in self.sealed.items())


async def play(setting: Setting) -> Outcome:
    """Rotate and kill, round after round, while all is opened again and again."""
    rounds, number, last_s = max(1, setting.rounds // ROUNDS_SHARE), 0, LAST_S
    async with Stage(setting) as stage:
        await stage.add()
        watcher = _Watcher(stage)
        await watcher.fill()
        async with watcher.watching():
            while number < rounds or (not watcher.hit and number < rounds + MORE_MAX):
                number += 1
                await _round(stage, watcher, number, last_s)
                print(
                    f"keys {setting.engine} {number}/{rounds}: {watcher.kills} kills, "
                    f"{watcher.hit} in the middle; all opened {watcher.looks} times",
                    flush=True,
                )
                if not watcher.hit:  # the machine is faster than that
                    last_s /= 3
        if not watcher.hit:
            raise Broken("every kill came when all was sealed anew: nothing was tried")
        counted = await stage.check()
    return Outcome(
        noticed_s=None,
        works_s=None,
        acknowledged=counted["calls"] + PERSONS,
        remark=f"{number} rounds, {watcher.kills} kills, {watcher.hit} with values under old and "
        f"new keys; {PERSONS} values and every secret opened {watcher.looks} times meanwhile",
    )


async def _round(stage: Stage, watcher: "_Watcher", number: int, last_s: float) -> None:
    """Rotate, kill it some times, and wait until all is under the newest keys."""
    choose = random.Random(f"{stage.setting.seed}.{stage.engine}.keys.{number}")
    platform = stage.first
    what = choose.choice(["both", "root", "data"]) if number > 1 else "upgrade"
    async with stage.loaded(f"{number}"):
        if what in ("both", "root"):
            await _command(choose, "rotate-keyring", stage)
            for export in platform.notes.glob("audit*.ndjson"):
                export.unlink()  # it says nothing of a key that was added since
        if what in ("both", "data"):
            if stage.engine == "sqlite":  # whose file nobody else may open
                await platform.kill()
            await _command(choose, "rotate-data-keys", stage)
        for _ in range(choose.randint(1, KILLS_MAX)):
            await platform.kill()
            watcher.kills += 1
            stored = await watcher.look()
            watcher.hit += 0 < stored.behind() < len(stored.sealed)
            await platform.start()
            await platform.ready()
            await wait_s(choose.uniform(last_s / 40, last_s))
        await until("all is under the newest keys", watcher.is_done)
    await stage.check()


async def _command(choose: random.Random, name: str, stage: Stage) -> None:
    """Run a command, killed at random first, and then to its end."""
    url = {"MAINSPRING_DATABASE__URL": stage.url} if stage.engine == "postgres" else {}
    for moment_s in (choose.uniform(0.2, COMMAND_S), None):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mainspring", "admin", name, "--data-dir",
            str(stage.first.directory), env={**os.environ, **url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        if moment_s is not None:
            await wait_s(moment_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        said, _ = await process.communicate()
        if moment_s is None and process.returncode != 0:
            raise Broken(f"{name}: {said.decode(errors='replace')[-800:]}")


class _Watcher:
    """Knows what every value is, and opens what is stored with what is in the keyring."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._plain: dict[Place, bytes] = {}
        self.looks = self.kills = self.hit = 0

    @property
    def _file(self) -> str:
        return str(self._stage.first.directory / "mainspring.db")

    async def _keyring(self) -> FileKeyring:
        file = self._stage.first.directory / "keyring.json"
        keyring: FileKeyring = opened("keyring", f"file:{file}")
        await keyring.open(create=False)
        return keyring

    async def fill(self) -> None:
        """Store persons' keys as every version sealed them, and have all brought over."""
        platform, keyring = self._stage.first, await self._keyring()
        await platform.kill()
        postgres = self._stage.engine == "postgres"
        database = open_database(self._stage.url if postgres else f"sqlite:{self._file}")
        await database.open()
        try:
            rows = []
            for number in range(PERSONS):
                person, plain = f"user_{number}", _ENTROPY.token(32)
                self._plain[SEALED_SUBJECT_KEYS.purpose, person] = plain
                about = SEALED_SUBJECT_KEYS.about(TENANT_DEFAULT, TENANT_DEFAULT, person)
                about = about if number % 2 else b""  # 0.1 bound to no row
                sealed = keyring.seal(plain, purpose=SEALED_SUBJECT_KEYS.purpose, about=about)
                rows.append(SUBJECT_KEYS.insert(SubjectKey(TENANT_DEFAULT, person, sealed)))
            for at in range(0, len(rows), CHUNK):
                await database.commit(rows[at : at + CHUNK])
            await database.commit([_UPGRADE()])
        finally:
            await database.close()
        await platform.start()
        await platform.ready()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Open everything, over and over. Raises Broken for what does not open."""

        async def watch() -> None:
            while True:
                await self.look()
                await wait_s(LOOK_EVERY_S)

        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch())
                yield
                watching.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def look(self) -> Stored:
        """Open everything that is stored, each value for its row. Raises Broken."""
        stored = await self._read()
        kms = KeyringKms(await self._keyring())  # as the file is by now
        keys: dict[str, DataKey] = {}
        for row in stored.data_keys:
            secret = await kms.unwrap(Wrapped(row.wrapped, row.wrapped_by), row.context)
            keys[row.id] = DataKey(bytes.fromhex(row.id), secret, _ENTROPY)
        await asyncio.to_thread(self._open, stored, keys, await self._keyring())
        self.looks += 1
        return stored

    def _open(self, stored: Stored, keys: Mapping[str, DataKey], keyring: FileKeyring) -> None:
        for place, sealed in stored.sealed.items():
            column, row = _COLUMNS[place[0]], place[1:]
            whole = (TENANT_DEFAULT, *row) if column is SEALED_SUBJECT_KEYS else row
            about = column.about(TENANT_DEFAULT, *whole)
            try:
                key_id = key_id_of(sealed)
                plain = (
                    keys[key_id].open(sealed, about)
                    if key_id
                    else keyring.unseal(sealed, purpose=column.purpose, about=about)
                )
            except (ValueError, KeyError) as error:
                raise Broken(f"{place} does not open: {error!r}") from error
            if self._plain.setdefault(place, plain) != plain:
                raise Broken(f"{place} is another value than it was")
        if missing := self._plain.keys() - stored.sealed.keys():
            raise Broken(f"{len(missing)} values are gone, such as {min(missing)}")

    async def is_done(self) -> bool:
        """Tell whether all is under the newest data keys and they under the root, and noted."""
        stored, keyring = await self._read(), await self._keyring()
        newest = stored.newest()
        wanted = generation_name("personal", newest["personal"].generation) if newest else ""
        by = f"{KeyringKms.scheme}:{keyring.current_key()}"
        return (
            not stored.behind()
            and {row.wrapped_by for row in stored.data_keys} == {by}
            and stored.noted.get(SEALED_SUBJECT_KEYS.name) == wanted
        )

    async def _read(self) -> Stored:
        read = self._from_postgres if self._stage.engine == "postgres" else self._from_sqlite
        keys, persons, secrets, noted = await read()
        return Stored(
            [DataKeyRow(*row) for row in keys],
            {
                **{(SEALED_SUBJECT_KEYS.purpose, person): text for person, text in persons if text},
                **{(SECRET.purpose, id): text for id, text in secrets},
            },
            dict(noted),
        )

    async def _from_postgres(self) -> list[list[tuple[object, ...]]]:
        connection = await asyncpg.connect(self._stage.url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return [await connection.fetch(sql) for sql in _READ]
        finally:
            await connection.close()

    async def _from_sqlite(self) -> list[list[tuple[object, ...]]]:
        def read() -> list[list[tuple[object, ...]]]:
            connection = apsw.Connection(self._file)
            try:
                connection.set_busy_timeout(10_000)
                with connection:
                    return [list(connection.execute(sql)) for sql in _READ]
            finally:
                connection.close()

        return await asyncio.to_thread(read)


_READ = (_DATA_KEYS, _PERSONS, _SECRETS, _NOTED)
_COLUMNS: Mapping[str, SealedColumn] = {
    SEALED_SUBJECT_KEYS.purpose: SEALED_SUBJECT_KEYS,
    SECRET.purpose: SECRET,
}
SCENARIO = Scenario("keys", play)

"""Done, not done, not known: what a commit says when what it goes through breaks."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.kernel.errors import OutcomeUnknown, Unavailable
from mainspring.kernel.table import Write
from mainspring.ports.database import NO_WAKES, DatabaseTransaction, Wakes
from mainspring.testing import Platform
from mainspring.testing.conformance.database.fixtures import (
    NOTE_COUNT,
    NOTES,
    SCRIPT,
    THINGS,
    Note,
    Thing,
)
from tests.adapters.database.wire import Wire, wire_to

COMMIT = b"COMMIT\0"
COLLECTION = {"name": "posts", "fields": [{"name": "title", "type": "text"}]}
RECORDS = "/v1/collections/posts/records"


@pytest.fixture
async def wired(postgres_url: str) -> AsyncIterator[tuple[Wire, PostgresDatabase]]:
    async with wire_to(postgres_url) as (wire, url):
        database = PostgresDatabase(url)
        await database.open()
        await database.migrate("one", SCRIPT)
        await database.commit([THINGS.insert(Thing("t", size=0))])
        yield wire, database
        await database.close()


async def noting(_: DatabaseTransaction) -> tuple[Sequence[Write], Wakes]:
    return [NOTES.insert(Note("in", "side"))], NO_WAKES


async def test_a_commit_whose_answer_is_lost_was_done_and_that_is_not_known(
    wired: tuple[Wire, PostgresDatabase],
) -> None:
    wire, database = wired
    wire.lose_answer = b"in a batch"
    with pytest.raises(OutcomeUnknown) as raised:
        await database.commit([NOTES.insert(Note("n", "in a batch"))])
    assert raised.value.retry_after_s
    assert await database.read(NOTE_COUNT, ()) == [1]
    wire.lose_answer = COMMIT
    with pytest.raises(OutcomeUnknown):
        await database.transact(noting)
    assert await database.read(NOTE_COUNT, ()) == [2]


async def test_a_commit_that_never_arrives_was_not_done(
    wired: tuple[Wire, PostgresDatabase],
) -> None:
    wire, database = wired
    wire.lose_request = b"in a batch"  # a statement and its commit in one
    with pytest.raises(OutcomeUnknown):
        await database.commit([NOTES.insert(Note("n", "in a batch"))])
    wire.lose_request = COMMIT
    with pytest.raises(OutcomeUnknown):
        await database.transact(noting)
    wire.lose_request = b"side"  # before its COMMIT, without which nothing is done
    with pytest.raises(Unavailable) as raised:
        await database.transact(noting)
    assert type(raised.value) is Unavailable
    assert await database.read(NOTE_COUNT, ()) == [0]


async def test_a_caller_learns_which_of_the_three_it_is(postgres_url: str) -> None:
    async with wire_to(postgres_url) as (wire, url), Platform(database=url) as platform:
        admin = platform.admin
        (await admin.post("/v1/collections", COLLECTION)).expect(201)
        wire.lose_answer = b"without a key"
        answer = await admin.post(RECORDS, {"title": "without a key"})
        assert answer.expect(503)["code"] == "outcome_unknown"
        assert answer.headers["retry-after"] == "1"
        listed = (await admin.get(RECORDS)).expect(200)["items"]
        assert [record["title"] for record in listed] == ["without a key"]
        # A key finds out by itself, or by being sent again.
        wire.lose_answer = b"with a key"
        key = {"Idempotency-Key": "once"}
        answer = await admin.post(RECORDS, {"title": "with a key"}, headers=key)
        assert answer.expect(200)["title"] == "with a key"
        assert answer.headers["idempotency-replayed"] == "true"
        wire.lose_request = b"never sent"
        answer = await admin.post(
            RECORDS, {"title": "never sent"}, headers={"Idempotency-Key": "b"}
        )
        assert answer.expect(503)["code"] == "outcome_unknown"
        listed = (await admin.get(RECORDS)).expect(200)["items"]
        assert len(listed) == 2


class FailingDisk(apsw.VFS):
    """A disk that cannot write its cache through once ``fails``."""

    fails = False

    def __init__(self) -> None:
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "FailingFile":  # noqa: N802 - named by SQLite
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(
        self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.fails:
            raise apsw.IOError
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    before = apsw.vfs_names()[0]
    disk = FailingDisk()
    yield disk
    disk.unregister()
    assert apsw.vfs_names()[0] == before


async def test_a_disk_that_fails_at_the_commit_leaves_it_open_whether_it_was_done(
    disk: FailingDisk, tmp_path: Path
) -> None:
    database = SqliteDatabase(tmp_path / "mainspring.db")
    await database.open()
    try:
        await database.migrate("one", SCRIPT)
        disk.fails = True
        with pytest.raises(OutcomeUnknown):
            await database.commit([NOTES.insert(Note("n", "text"))])
        disk.fails = False
        await database.commit([NOTES.insert(Note("m", "text"))])
        assert await database.read(NOTE_COUNT, ()) == [1]
    finally:
        disk.fails = False
        await database.close()

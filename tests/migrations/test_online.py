"""A schema is changed beside traffic: what a script may say, and how long it waits for locks."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

import mainspring
from mainspring.adapters.database import postgres_migrations
from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.ports.database import StartError
from mainspring.testing.conformance.database.fixtures import NOTE_COUNT, NOTES, SCRIPT, Note
from tests.deadline import DEADLINE_S
from tests.migrations.online_rules import refused
from tests.until import until

# What was landed before the rule; each of these was applied with every process stopped.
BEFORE = {"runtime": 22, "audit": 1, "records": 11, "users": 17, "webhooks": 3}
CODE = Path(mainspring.__file__).parent
WAITS = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"


def test_no_migration_takes_a_long_lock_or_takes_away_what_is_used() -> None:
    folders = {"runtime": CODE / "runtime" / "migrations"}
    folders |= {path.parent.name: path for path in CODE.glob("services/*/migrations")}
    assert folders.keys() == BEFORE.keys()
    wrong = [
        f"{owner}/{file.name}: {why}"
        for owner, folder in folders.items()
        for file in sorted(folder.glob("*.sql"))
        if int(file.name[:4]) > BEFORE[owner] and not file.name.endswith(".sqlite.sql")
        for why in refused(file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    assert list(refused((folders["runtime"] / "0012_job_limits.sql").read_text()))


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE a (id text PRIMARY KEY); CREATE INDEX b ON a (x); INSERT INTO a SELECT ''",
        "ALTER TABLE jobs ADD COLUMN unread_by text;",
        "ALTER TABLE jobs ADD COLUMN parked boolean NOT NULL DEFAULT false, ADD COLUMN at bigint",
        "-- one is found fast\nCREATE UNIQUE INDEX CONCURRENTLY jobs_x ON jobs (x) WHERE x <> ';';",
        "ALTER TABLE jobs ADD CONSTRAINT whole CHECK (attempt >= 0) NOT VALID",
        "ALTER TABLE jobs ADD CONSTRAINT one UNIQUE USING INDEX jobs_x",
        "ALTER TABLE jobs DROP CONSTRAINT whole; ALTER TABLE jobs ALTER x SET DEFAULT 1",
        "DROP INDEX jobs_x",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM jobs; END $$",
    ],
)
def test_what_a_migration_may_do(script: str) -> None:
    assert not list(refused(script))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("CREATE INDEX jobs_x ON jobs (x)", "keeps writers out"),
        (
            "CREATE INDEX CONCURRENTLY jobs_x ON jobs (x); ALTER TABLE jobs ADD COLUMN y text",
            "beside",
        ),
        ("ALTER TABLE jobs ADD COLUMN y text NOT NULL", "the release before writes none"),
        ("ALTER TABLE jobs ADD COLUMN y text DEFAULT gen_random_uuid()", "worked out"),
        ("ALTER TABLE jobs ADD COLUMN y bigint GENERATED ALWAYS AS (x * 2) STORED", "rewrites"),
        ("ALTER TABLE jobs ADD COLUMN y bigserial", "rewrites"),
        ("ALTER TABLE jobs ADD COLUMN x text, ADD COLUMN y text UNIQUE", "builds an index"),
        ("ALTER TABLE jobs ADD COLUMN y text REFERENCES others (id)", "reads every row"),
        ("ALTER TABLE jobs ADD PRIMARY KEY (y)", "USING INDEX"),
        ("ALTER TABLE jobs ADD CONSTRAINT whole CHECK (attempt >= 0)", "NOT VALID"),
        ("ALTER TABLE jobs ALTER COLUMN attempt TYPE bigint", "rewrites"),
        ("ALTER TABLE jobs ALTER attempt SET NOT NULL", "may write null"),
        ("ALTER TABLE jobs DROP COLUMN attempt", "still uses it"),
        ("ALTER TABLE jobs RENAME COLUMN a TO b", "still uses it"),
        ("DROP VIEW logged_events", "still uses it"),
        ("UPDATE jobs SET attempt = 1", "in steps"),
        ("LOCK TABLE jobs", "keeps everybody out"),
    ],
)
def test_what_a_migration_may_not_do(script: str, why: str) -> None:
    (told,) = refused(script)
    assert why in told


async def test_a_migration_that_waits_for_a_long_transaction_stops_nobody_behind_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_migrations, "LOCK_WAIT_S", 0.1)
    monkeypatch.setattr(postgres_migrations, "LOCK_PAUSE_S", 0.0)
    database = PostgresDatabase(postgres_url)
    await database.open()
    operator, watcher = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)
    try:
        await database.migrate("one", SCRIPT)
        async with operator.transaction():
            await operator.fetch("SELECT id FROM notes")  # as a dump or a report does, for hours
            with capture_logs() as lines:
                change = "ALTER TABLE notes ADD COLUMN more bigint"
                changing = asyncio.create_task(database.migrate("two", change))
                async with asyncio.timeout(DEADLINE_S):
                    while not await watcher.fetchval(WAITS):
                        pass
                    # Behind it in the queue for the table, and there before the report ends.
                    await database.commit([NOTES.insert(Note("a", "text"))])
                    assert await database.read(NOTE_COUNT, ()) == [1]
                    await until(lambda: bool(lines))
            assert [line["event"] for line in lines] == ["migration_waits"]
            assert not changing.done()
        assert await changing
        assert not await database.migrate("two", change)
        monkeypatch.setattr(postgres_migrations, "LOCK_TRIES", 2)
        async with operator.transaction():
            await operator.fetch("SELECT id FROM notes")
            with pytest.raises(StartError, match="in use by long transactions, 2 times"):
                await database.migrate("three", "ALTER TABLE notes ADD COLUMN other bigint")
    finally:
        await operator.close()
        await watcher.close()
        await database.close()


async def test_an_index_is_built_beside_writers_and_anew_after_a_cut(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_migrations, "LOCK_PAUSE_S", 0.01)
    database = PostgresDatabase(postgres_url)
    await database.open()
    operator = await asyncpg.connect(postgres_url)
    script = "-- to find texts\nCREATE UNIQUE INDEX CONCURRENTLY notes_text ON notes (text);"
    try:
        await database.migrate("one", SCRIPT)
        await database.commit([NOTES.insert(Note(id, "x", "shut")) for id in ("a", "b")])
        with pytest.raises(StartError, match="could not create unique index"):
            await database.migrate("two", script)
        assert not await operator.fetchval("SELECT bool_or(indisvalid) FROM pg_index "
                                           "WHERE indexrelid = 'notes_text'::regclass")  # fmt: skip
        await operator.execute("DELETE FROM notes WHERE id = 'b'")
        assert sorted(
            await asyncio.gather(*(database.migrate("two", script) for _ in range(2)))
        ) in ([False, True], [True, True])
        assert await operator.fetchval("SELECT bool_and(indisvalid) FROM pg_index "
                                       "WHERE indexrelid = 'notes_text'::regclass")  # fmt: skip
        assert not await database.migrate("two", script)
        with pytest.raises(StartError, match="was changed after"):
            await database.migrate("two", script.replace("texts", "more"))
    finally:
        await operator.close()
        await database.close()

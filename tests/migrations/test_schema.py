"""Fresh equals migrated, and both engines hold the same tables."""

from importlib.resources import files
from pathlib import Path

import pytest

from mainspring.app import BUILT_IN
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database, StartError
from mainspring.runtime.events.cursors import CURSORS, CursorRow
from mainspring.runtime.events.inbox import INBOX, NO_PLACE, InboxRow
from mainspring.runtime.events.sequencer import Sequencer
from mainspring.runtime.migrate import migrate, scripts
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import (
    ANSWER_BODIES,
    ANSWERS,
    EVENTS,
    EVENTS_AFTER,
    JOBS,
    EventRow,
)
from mainspring.testing.schema import Column, columns_of, definitions_of
from tests.conftest import connect

# Where an engine needs a column of its own, or has another name for what it keeps.
ONLY_POSTGRES = {("events", "ordinal")}
ONLY_SQLITE = {("events", "seq")}


async def test_migrating_again_changes_nothing(database: Database) -> None:
    assert await migrate(database, BUILT_IN) > len(BUILT_IN)
    fresh = await definitions_of(database)
    assert await migrate(database, BUILT_IN) == 0
    assert await definitions_of(database) == fresh


async def test_a_script_that_was_changed_is_refused(database: Database, tmp_path: Path) -> None:
    script = tmp_path / "0001_first.sql"
    script.write_text("CREATE TABLE shop_a (id text NOT NULL PRIMARY KEY);")
    shop = Service("shop", doc="Sells.", migrations=tmp_path)
    assert await migrate(database, [shop]) > 1
    script.write_text("CREATE TABLE shop_b (id text NOT NULL PRIMARY KEY);")
    with pytest.raises(StartError, match="shop/0001_first was changed after it was applied"):
        await migrate(database, [shop])


@pytest.mark.parametrize("order", [BUILT_IN, BUILT_IN[::-1]], ids=["in order", "backwards"])
async def test_one_service_at_a_time_ends_where_all_at_once_do(
    database: Database, order: tuple[Service, ...]
) -> None:
    for service in order:
        await migrate(database, [service])
    grown = await definitions_of(database)
    names = {column.table for column in await columns_of(database)}
    assert {"events", "jobs", "idempotency", "consumer_cursors", "migrations"} <= names
    await migrate(database, BUILT_IN)
    assert await definitions_of(database) == grown


async def test_a_table_mirrors_its_struct(database: Database) -> None:
    await migrate(database, BUILT_IN)
    columns = await columns_of(database)
    for table in EVENTS, ANSWERS, ANSWER_BODIES, CURSORS, INBOX, JOBS:
        stored = {c.name: c.type for c in columns if c.table == table.name}
        assert {name: stored[name] for name in table.names} == table.column_types


async def test_both_engines_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str
) -> None:
    here = tmp_path_factory.mktemp("schema") / "mainspring.db"
    found: dict[str, list[Column]] = {}
    for url in f"sqlite:///{here}", postgres_url:
        database = connect(url)
        await database.open()
        await migrate(database, BUILT_IN)
        found[database.dialect] = await columns_of(database)
        await database.close()
    shared = [
        [
            (c.table, c.name, c.type)
            for c in columns
            if c.table != "event_places" and (c.table, c.name) not in ONLY_POSTGRES | ONLY_SQLITE
        ]
        for columns in (found["sqlite"], found["postgres"])
    ]
    sqlite = [(t, n, "bigint" if kind == "integer" else kind) for t, n, kind in shared[0]]
    assert sqlite == shared[1]


async def test_every_text_column_compares_by_code_point(postgres_url: str) -> None:
    database = connect(postgres_url)
    await database.open()
    await migrate(database, BUILT_IN)
    collated = [line for line in await definitions_of(database) if " text COLLATE " in line]
    await database.close()
    assert collated
    assert [line for line in collated if " COLLATE C " not in line] == []


async def migrate_before(migration: str, database: Database) -> None:
    """Bring a database to where it was before a migration of the runtime."""
    folder = files("mainspring.runtime") / "migrations"
    for name, text in scripts(folder, database.dialect):
        if name == migration:
            break
        await database.migrate(f"runtime/{name}", text)


OLD_CURSOR = Statement(
    "test.old_cursor", "INSERT INTO cursors (consumer, seq) VALUES ('webhooks.route', 41)"
)
CURSORS_NOW = Query("test.cursors", f"SELECT {CURSORS.columns} FROM consumer_cursors", CURSORS)


async def test_consumers_go_on_where_they_were_when_cursors_got_partitions(
    database: Database,
) -> None:
    await migrate_before("0010_consumer_cursors", database)
    await database.commit([OLD_CURSOR()])
    await migrate(database, BUILT_IN)
    assert await database.read(CURSORS_NOW, ()) == [CursorRow("webhooks.route", "log", 0, 41)]


OLD_EVENT = Statement(
    "test.old_event",
    "INSERT INTO events (seq, id, tenant, type, subject, time_ms, leaf, body) "
    "VALUES (7, 'evt_1', 'main', 'a.b.c', 's', 0, '', '{}')",
)
OLD_TAKEN = Statement(
    "test.old_taken",
    "INSERT INTO inbox (consumer, source, event_id, taken_ms) "
    "VALUES ('shop.note', :source, :id, 1)",
)
INBOX_NOW = Query("test.inbox", f"SELECT {INBOX.columns} FROM inbox ORDER BY seq", INBOX)


async def test_what_was_taken_is_known_by_its_place_when_inboxes_lost_their_source(
    database: Database,
) -> None:
    await migrate_before("0016_inbox_places", database)
    taken = [("a", "evt_1"), ("b", "evt_1"), ("a", "evt_elsewhere")]
    await database.commit([OLD_EVENT(), *(OLD_TAKEN(source=s, id=id) for s, id in taken)])
    await migrate(database, BUILT_IN)
    assert await database.read(INBOX_NOW, ()) == [
        InboxRow("shop.note", "evt_1", 7), InboxRow("shop.note", "evt_elsewhere", NO_PLACE),
    ]  # fmt: skip


OLD_EVENTS = Statement(
    "test.old_events",
    "INSERT INTO events (seq, id, tenant, type, subject, time_ms, leaf, body) VALUES "
    "(2, 'evt_a', 'main', 'a.b.c', 's', 5, '', '{}'), "
    "(1, 'evt_b', 'main', 'a.b.c', 's', 6, '', '{}'), "
    "(NULL, 'evt_c', 'main', 'a.b.c', 's', 7, '', '{}'), "
    "(3, 'evt_d', 'main', 'a.b.c', 's', 8, '', '{}')",
)


async def test_events_keep_their_places_when_these_moved_beside_them(postgres_url: str) -> None:
    """One waits for its place, and was begun before one that has its own."""
    database = connect(postgres_url)
    await database.open()
    await migrate_before("0017_event_places", database)
    await database.commit([OLD_EVENTS()])
    await migrate(database, BUILT_IN)
    placed = [(e.seq, e.id) for e in await database.read(EVENTS_AFTER, (0, 10))]
    assert placed == [(1, "evt_b"), (2, "evt_a"), (3, "evt_d")]
    new = EventRow("evt_e", "main", "a.b.c", "s", 9, b"", "{}")
    await database.commit([EVENTS.insert(new)])
    sequencer = Sequencer(database, Notifier())
    assert [await sequencer.sequence() for _ in range(2)] == [2, 0]
    placed = [(e.seq, e.id) for e in await database.read(EVENTS_AFTER, (3, 10))]
    await database.close()
    assert placed == [(4, "evt_c"), (5, "evt_e")]

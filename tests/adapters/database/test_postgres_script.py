import pytest

from mainspring.adapters.database.postgres import PostgresDatabase
from mainspring.adapters.database.postgres_script import with_code_point_order
from mainspring.kernel.table import Query

C = ' COLLATE "C"'


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("CREATE TABLE t (id text NOT NULL PRIMARY KEY, n bigint)", f"id text{C} NOT NULL"),
        ("create table t (a TEXT, text text, b text)", f"a TEXT{C}, text text{C}, b text{C})"),
        ('CREATE TABLE t ("A b" text)', f'"A b" text{C})'),
        ("CREATE TABLE IF NOT EXISTS t (a text)", f"a text{C})"),
        ("ALTER TABLE t ADD COLUMN a text, ADD b text", f"a text{C}, ADD b text{C}"),
        ("ALTER TABLE t ALTER COLUMN a TYPE text", f"TYPE text{C}"),
        ("ALTER TABLE t ADD text text", f"ADD text text{C}"),
        ("CREATE TABLE t (a text[] NOT NULL)", f"a text[]{C} NOT NULL"),
        ("/* text */ CREATE TABLE t (a text -- b text\n)", f"a text{C} -- b text"),
        ("CREATE TABLE s (a bigint);\nCREATE TABLE t (a text);", f"t (a text{C});"),
    ],
)
def test_a_text_column_is_ordered_by_code_point(script: str, expected: str) -> None:
    assert expected in with_code_point_order(script)


@pytest.mark.parametrize(
    "script",
    [
        'CREATE TABLE t (a text COLLATE "de_DE")',
        "CREATE TABLE t (a bigint DEFAULT length('b text'), b bytea CHECK (c::text <> ''))",
        "CREATE TABLE t (a bigint GENERATED ALWAYS AS (length(CAST(b AS text))) STORED)",
        "CREATE TABLE text (id bigint, context bigint, UNIQUE (text))",
        "ALTER TABLE t RENAME COLUMN text TO body; ALTER TABLE t DROP COLUMN text",
        "CREATE INDEX i ON t (text); CREATE INDEX j ON t ((data ->> 'a text'))",
        "SELECT a text FROM t; UPDATE t SET a = b::text",
        "CREATE FUNCTION f() RETURNS trigger AS $$ CREATE TABLE x (a text) $$ LANGUAGE sql",
        "CREATE FUNCTION f(a text) RETURNS text AS $body$ SELECT 1 $body$ LANGUAGE sql",
        "CREATE TABLE t (a bigint) -- then b text",
        "CREATE TABLE t (a bigint DEFAULT E'\\' b text')",
    ],
)
def test_everything_else_stays(script: str) -> None:
    assert with_code_point_order(script) == script


async def test_postgresql_agrees(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url)
    await database.open()
    try:
        script = "CREATE TABLE t (a text, text text[], n bigint); ALTER TABLE t ADD text2 text;"
        await database.migrate("one", script)
        collations = Query(
            "collations",
            "SELECT count(*) FROM information_schema.columns "
            "WHERE table_name = 't' AND collation_name = 'C'",
            int,
        )
        assert await database.read(collations, ()) == [3]
    finally:
        await database.close()

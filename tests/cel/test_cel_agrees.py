"""The evaluator, SQLite and PostgreSQL give every record the same answer to every expression."""

import json
import os
import random

import msgspec

from mainspring.cel import compile_cel
from mainspring.kernel.errors import Invalid
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from tests.cel.cel_cases import NAMES, Expressions, random_context, random_record

ROUNDS = int(os.environ.get("MAINSPRING_TEST_CEL_ROUNDS", "8"))
EXPRESSIONS = 60
RECORDS = 30

INSERT = Statement("cel.insert", "INSERT INTO cel_rows (id, data) VALUES (:id, :data)")
CLEAR = Statement("cel.clear", "DELETE FROM cel_rows")


async def test_every_engine_agrees_row_by_row(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    await database.migrate(
        "cel_rows", "CREATE TABLE cel_rows (id bigint NOT NULL PRIMARY KEY, data text NOT NULL)"
    )
    matched = refused = 0
    for _ in range(ROUNDS):
        stored = [msgspec.json.encode(random_record(rng)).decode() for _ in range(RECORDS)]
        await database.commit([CLEAR(), *(INSERT(id=i, data=d) for i, d in enumerate(stored))])
        records = [json.loads(text) for text in stored]
        for _ in range(EXPRESSIONS):
            source, context = Expressions(rng).condition(rng.randint(1, 4)), random_context(rng)
            try:
                program = compile_cel(source, NAMES)
            except Invalid:
                refused += 1
                continue
            expected = [i for i, record in enumerate(records) if program.test(record, context)]
            condition = program.sql("data", context)
            query: Query[int] = Query(
                "cel.rows",
                f"SELECT id FROM cel_rows WHERE {condition.sqlite} ORDER BY id",
                int,
                postgres=f"SELECT id FROM cel_rows WHERE {condition.postgres} ORDER BY id",
            )
            found = await database.read(query, query.sql.bind(condition.params))
            assert found == expected, f"{source} with {context}"
            matched += len(found)
    assert matched > 1_000  # the cases are not all empty,
    assert refused < ROUNDS * EXPRESSIONS / 5  # nor mostly refused


async def test_what_holds_for_nobody_holds_for_everybody(seed: int) -> None:
    rng = random.Random(seed)
    held = 0
    for _ in range(3_000):
        source, context = Expressions(rng, asks=False).condition(3), random_context(rng)
        try:
            program = compile_cel(source, NAMES)
        except Invalid:
            continue
        nobody = {**context, "caller": {"kind": "anonymous"}}
        for record in [random_record(rng) for _ in range(4)]:
            if program.test(record, nobody):
                held += 1
                for name in (record.get("title"), record.get("note"), "a", "", "user_1"):
                    scopes = rng.sample(["a", "b", "abc", ""], rng.randint(0, 3))
                    known = {"id": name or "x", "kind": "user", "scopes": scopes, "known": True}
                    assert program.test(record, {**context, "caller": known}), source
    assert held > 1_000

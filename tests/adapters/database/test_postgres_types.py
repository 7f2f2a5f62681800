"""Types are asked of the catalogue once by a process. See ``postgres_types``."""

from typing import Any

import asyncpg
import pytest

from mainspring.adapters.database import postgres_types
from mainspring.adapters.database.postgres_pool import PostgresTarget


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the driver asks the catalogue from here on, in a process that knows nothing yet."""
    monkeypatch.setattr(postgres_types, "known", {})
    asked: list[Any] = []
    name = "_introspect_types"  # the driver's
    ask = getattr(asyncpg.Connection, name)

    async def counted(self: Any, oids: Any, timeout_s: Any) -> Any:
        asked.append(oids)
        return await ask(self, oids, timeout_s)

    monkeypatch.setattr(asyncpg.Connection, name, counted)
    return asked


async def fetched(url: str, sql: str, *values: object, before: str = "SELECT 1") -> list[Any]:
    """Have a connection of its own run a statement."""
    target = PostgresTarget(url)
    connection = await target.connect()
    try:
        await connection.execute(before)
        async with connection.transaction():
            return list((await target.fetch(connection, sql, values))[0])
    finally:
        await connection.close()


@pytest.mark.parametrize("prepared", ["true", "false"])
async def test_another_connection_does_not_ask_again(
    postgres_url: str, asked: list[Any], prepared: str
) -> None:
    url = f"{postgres_url}&prepared={prepared}"
    values = [1, None], ["a", "ä"], [b"\x00"]
    for _ in range(3):
        found = await fetched(url, "SELECT $1::bigint[], $2::text[], $3::bytea[]", *values)
        assert tuple(found) == values
    assert len(asked) == 1


async def test_what_one_database_calls_a_type_is_not_remembered_for_another(
    postgres_url: str, asked: list[Any]
) -> None:
    for order in ("'low', 'high'", "'high', 'low'"):
        made = f"DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ({order})"
        assert await fetched(postgres_url, "SELECT $1::mood[]", ["low"], before=made) == [["low"]]
    assert len(asked) == 2

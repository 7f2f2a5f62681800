"""Named SQL in both engines' forms, rows as structs, and the three writes of a table."""

import msgspec
import pytest

from mainspring.kernel.table import Query, Sql, Statement, Table


class Link(msgspec.Struct, frozen=True):
    id: str
    live: bool
    data: msgspec.Raw
    version: int = 1


LINKS = Table("links_links", Link, key=("id",))


def test_parameters_become_positional_and_strings_and_casts_are_left_alone() -> None:
    sql = Sql("t", "SELECT ':no', x::text FROM t WHERE a = :a AND b = :b OR c = :a")
    assert sql.sqlite == "SELECT ':no', x::text FROM t WHERE a = ?1 AND b = ?2 OR c = ?1"
    assert sql.postgres == "SELECT ':no', x::text FROM t WHERE a = $1 AND b = $2 OR c = $1"
    assert sql.bind({"b": 2, "a": 1}) == (1, 2)


def test_a_condition_says_which_rows_it_is_after() -> None:
    sql = Sql("t", "UPDATE t SET n = :n WHERE id = :id AND n >= :least AND b = :b AND c = :c + 1")
    assert [sql.order[at] for at in sql.keys] == ["id", "b"]
    assert Sql("t", "INSERT INTO t (a) VALUES (:a)").keys == ()


def test_a_statement_knows_the_table_it_changes() -> None:
    assert Sql("t", " Update things SET a = 1 WHERE id = :id").changes == "things"
    assert Sql("t", "DELETE\nFROM things WHERE id = :id").changes == "things"
    assert Sql("t", "INSERT INTO t (a) VALUES (:a)").changes is None


def test_a_statement_for_many_takes_its_parameters_in_the_same_order() -> None:
    many = "UPDATE t SET a = n.a FROM unnest(:id::text[], :a::text[]) AS n (id, a)"
    sql = Sql("t", "UPDATE t SET a = :a WHERE id = :id", many=many)
    assert sql.postgres == "UPDATE t SET a = $1 WHERE id = $2"
    assert sql.many == "UPDATE t SET a = n.a FROM unnest($2::text[], $1::text[]) AS n (id, a)"
    assert Sql("t", "UPDATE t SET a = :a").many is None


def test_a_dialect_may_name_the_parameters_in_another_order() -> None:
    sql = Sql(
        "t", "UPDATE t SET a = :a WHERE b = :b", "UPDATE t SET a = $1 WHERE b = :b AND :a > 0"
    )
    assert sql.sqlite == "UPDATE t SET a = ?1 WHERE b = ?2"
    assert sql.postgres == "UPDATE t SET a = $1 WHERE b = $2 AND $1 > 0"


@pytest.mark.parametrize("params", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "x": 2}])
def test_missing_and_unknown_parameters_are_refused(params: dict[str, int]) -> None:
    with pytest.raises(KeyError):
        Sql("t", "SELECT :a, :b").bind(params)


def test_rows_are_made_alike_from_what_either_engine_returns() -> None:
    query = Query("links.all", f"SELECT {LINKS.columns} FROM links_links", LINKS)
    from_sqlite = query.make(("x", 1, '{"a":1}', 3))
    from_postgres = query.make(("x", True, '{"a":1}', 3))
    assert from_sqlite == from_postgres
    assert from_sqlite.live is True
    assert bytes(from_sqlite.data) == b'{"a":1}'


def test_a_row_that_was_read_guards_its_own_update_and_delete() -> None:
    link = Link("x", True, msgspec.Raw(b"{}"), 7)
    assert LINKS.update(link, live=False).version == 7
    assert LINKS.delete(link).version == 7
    assert LINKS.update_unguarded(link, live=False).version is None
    assert LINKS.delete_unguarded(link).version is None
    assert LINKS.update_sql(("live",), True).sqlite == (
        "UPDATE links_links SET live = ?1, version = version + 1 WHERE id = ?2 AND version = ?3"
    )


def test_a_statement_says_how_many_rows_it_expects() -> None:
    take = Statement("links.take", "UPDATE links_links SET live = :live WHERE id = :id")
    command = take(live=True, id="x").expect(1, LookupError)
    assert (command.values, command.expects, command.failure) == ((True, "x"), 1, LookupError)

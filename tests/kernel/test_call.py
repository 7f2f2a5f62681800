"""A call: what it stages, and what entity tags match."""

from collections.abc import Callable

import msgspec
import pytest

from mainspring.kernel.call import SYSTEM, Call, Caller, Context, ReadCall
from mainspring.kernel.errors import PreconditionFailed
from mainspring.kernel.etag import tag_matches
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.table import Table, Update
from mainspring.testing.clock import FakeClock, SeededEntropy


class Row(msgspec.Struct, frozen=True):
    id: str
    a: int
    b: int
    version: int = 1


ROWS = Table("rows", Row, key=("id",))


def call(if_match: str | None = None) -> Call:
    context = Context(None, IdMaker(FakeClock(), SeededEntropy(1)), {}, {})  # type: ignore[arg-type]
    return Call(context, SYSTEM, now_ms=1, request_id="req_1", if_match=if_match)


def test_two_updates_of_one_row_become_one_under_one_guard() -> None:
    staged = call()
    row = Row("x", 1, 2, version=5)
    staged.write(ROWS.update(row, a=10), ROWS.update(row, b=20), ROWS.update(row, a=11))
    assert staged.writes == [Update(ROWS, ("x",), ("a", "b"), (11, 20), 5)]


def test_updates_join_wherever_they_stand() -> None:
    staged = call()
    rows = [Row(str(i), 0, 0, version=i) for i in range(3)]
    staged.write(*[ROWS.update(row, a=1) for row in rows])
    staged.write_first(ROWS.delete(Row("y", 0, 0)))
    staged.write(ROWS.update(rows[1], b=2), ROWS.insert(Row("z", 0, 0)), ROWS.update(rows[2], b=3))
    joined = [w for w in staged.writes if isinstance(w, Update)]
    assert [(w.key, w.names) for w in joined] == [
        (("0",), ("a",)), (("1",), ("a", "b")), (("2",), ("a", "b"))
    ]  # fmt: skip
    assert staged.writes[0] == ROWS.delete(Row("y", 0, 0))
    staged.reset()
    staged.write(ROWS.update(rows[0], b=1))
    assert staged.writes == [ROWS.update(rows[0], b=1)]


@pytest.mark.parametrize(
    "stage",
    [
        lambda call: call.write(ROWS.insert(Row("x", 1, 2))),
        lambda call: call.write_first(ROWS.insert(Row("x", 1, 2))),
        lambda call: call.emit(Row("x", 1, 2), subject="x"),
        lambda call: call.emit_json(Row, msgspec.Raw(b"{}"), subject="x"),
        lambda call: call.enqueue(None),
    ],
)
def test_a_call_that_only_reads_says_so(stage: Callable[[Call], object]) -> None:
    context = Context(None, IdMaker(FakeClock(), SeededEntropy(1)), {}, {})  # type: ignore[arg-type]
    reads = ReadCall(context, SYSTEM, now_ms=1, request_id="req_1")
    with pytest.raises(TypeError, match="this call only reads"):
        stage(reads)
    assert (reads.writes, reads.events, reads.jobs) == ([], [], [])


def test_a_rerun_forgets_what_was_staged_and_makes_the_same_ids() -> None:
    staged = call()
    first = [staged.new_id("a"), staged.new_id("b")]
    staged.write(ROWS.delete(Row("x", 1, 2)))
    staged.reset()
    assert staged.writes == []
    assert [staged.new_id("a"), staged.new_id("b")] == first
    assert staged.new_id("a") not in first


@pytest.mark.parametrize(
    ("header", "matches"),
    [('"3"', True), ('W/"3"', True), ('"2", "3"', True), ('"3-gzip"', True), ('"2"', False)],
)
def test_entity_tags_match_in_lists_and_through_compression(header: str, matches: bool) -> None:
    assert tag_matches(header, '"3"', weak=True) is matches
    strongly = matches and not header.startswith("W/")
    assert tag_matches(header, '"3"', weak=False) is strongly


def test_if_match_holds_a_change_to_the_version_it_names() -> None:
    call().require_match('"3"')
    call("*").require_match('"3"')
    call('"3"').require_match('"3"')
    with pytest.raises(PreconditionFailed):
        call('"2"').require_match('"3"')


@pytest.mark.parametrize(
    ("held", "asked", "allowed"),
    [
        ({"*"}, "links:write", True),
        ({"links:*"}, "links:write", True),
        ({"links:write"}, "links:write", True),
        ({"links:read"}, "links:write", False),
        ({"linksx:*"}, "links:write", False),
        (set(), "links:write", False),
    ],
)
def test_scopes_hold_themselves_their_service_or_all(
    held: set[str], asked: str, allowed: bool
) -> None:
    assert Caller("key", "key_1", scopes=frozenset(held)).allows(asked) is allowed

"""Patterns: what they match, on each engine, in what time, and what is refused."""

import random
import time

import msgspec
import pytest

from mainspring.cel import Names, Type, compile_cel
from mainspring.cel.patterns import MATCHED_CHARS_MAX, matched, normal
from mainspring.kernel.errors import Invalid
from mainspring.kernel.table import Query, Statement
from mainspring.ports.database import Database
from tests.cel.cel_cases import quoted
from tests.cel.pattern_cases import Patterns, text

PATTERNS = 400
TEXTS = 40
NAMES = Names({"title": Type.TEXT, "meta": Type.JSON})
PUT = Statement("patterns.put", "INSERT INTO pattern_rows (id, data) VALUES (:id, :data)")


async def test_every_engine_says_what_the_pattern_says(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    await database.migrate(
        "patterns", "CREATE TABLE pattern_rows (id bigint NOT NULL PRIMARY KEY, data text NOT NULL)"
    )
    titles: list[str | None] = [None, "", *(text(rng) for _ in range(TEXTS)), "x" * 10_001]
    records = [{"title": title, "meta": {"of": title}} for title in titles]
    rows = [(i, msgspec.json.encode(record).decode()) for i, record in enumerate(records)]
    await database.commit([PUT(id=i, data=data) for i, data in rows])
    found = 0
    for _ in range(PATTERNS):
        source, equal = Patterns(rng).whole()
        if len(source.encode()) > 200:
            continue
        name, sign = rng.choice(["title", "meta.of"]), rng.choice(["", "", "!"])
        try:
            program = compile_cel(f"{sign}{name}.matches({quoted(source)})", NAMES)
        except Invalid as error:
            if "the counts come to too much" not in error.errors[0].detail:
                raise
            continue
        expected = [
            i for i, title in enumerate(titles)
            if (
                title is not None and len(title) <= MATCHED_CHARS_MAX
                and equal.search(title) is not None
            ) is not bool(sign)
        ]  # fmt: skip
        assert [i for i, r in enumerate(records) if program.test(r, {})] == expected, source
        condition = program.sql("data", {})
        query: Query[int] = Query(
            "patterns.rows",
            f"SELECT id FROM pattern_rows WHERE {condition.sqlite} ORDER BY id",
            int,
            postgres=f"SELECT id FROM pattern_rows WHERE {condition.postgres} ORDER BY id",
        )
        assert await database.read(query, query.sql.bind(condition.params)) == expected, source
        found += len(expected)
    assert PATTERNS < found < PATTERNS * TEXTS


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(a", "at character 1 of the pattern: this bracket is not closed: write \\\\( for itself"),
        ("a)", "at character 2 of the pattern: this bracket closes nothing"),
        ("ab**", "at character 4 of the pattern: what is repeated already"),
        ("*a", "at character 1 of the pattern: there is nothing to repeat"),
        ("a^*", "at character 3 of the pattern: ^ cannot be repeated"),
        ("(a)\\1", "at character 4 of the pattern: \\\\1 is not supported"),
        ("\\ba", "at character 1 of the pattern: \\\\b is not supported"),
        ("a(?=b)", "at character 2 of the pattern: groups are (…) and (?:…)"),
        ("[z-a]", "at character 4 of the pattern: this range ends before it begins"),
        ("[[:alpha:]]", "at character 2 of the pattern: classes are"),
        ("[^]", "nothing is between these brackets"),
        ("[\\D]", "at character 2 of the pattern: \\\\D does not stand between brackets"),
        ("a{256}", "counts go up, and to 255"),
        ("a{3,2}", "counts go up, and to 255"),
        ("a{,2}", "counts are {3}, {3,} or {3,5}"),
        ("((a{9}){9}){255}", "the counts come to too much"),
        ("\\pL", "\\\\p is not supported"),
        ("a\\", "\\\\ is not supported"),
        ("é" * 101, "it is longer than 200 bytes"),
    ],
)
def test_what_does_not_mean_the_same_everywhere_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        compile_cel(f"title.matches({quoted(pattern)})", NAMES, "/filter")
    (error,) = refused.value.errors
    assert says.replace("\\\\", "\\") in error.detail
    assert error.pointer == "/filter"


@pytest.mark.parametrize(
    "source", ["title.matches(title)", "title.matches(1)", "title.matches('')"]
)
def test_a_pattern_is_a_constant(source: str) -> None:
    if source.endswith("('')"):
        assert compile_cel(source, NAMES).test({"title": "x"}, {})
        return
    with pytest.raises(Invalid, match="not valid") as refused:
        compile_cel(source, NAMES)
    assert "matches() takes a text constant" in refused.value.errors[0].detail


def test_what_backtracking_takes_forever_for_is_quick() -> None:
    pattern, text = normal("^(a|a|aa)*(a*)*b$"), "a" * (MATCHED_CHARS_MAX - 1) + "c"
    start_s = time.process_time()
    assert matched(text, pattern) is False
    assert matched("a" * 30 + "b", pattern) is True
    assert time.process_time() - start_s < 1.0

"""What every ``SearchEngine`` must do. Run each of ``CHECKS`` on one that was opened.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_search(check, engine):
    await check(engine)

``CORPUS`` and ``ASKED`` say which texts are found by what: the same on every engine.
"""

from collections.abc import Awaitable, Callable

from mainspring.kernel.ids import first_id_at
from mainspring.kernel.search_terms import read_query, words_of
from mainspring.ports.search import Hit, IndexChange, NoIndex, SearchEngine, SearchQuery

CORPUS = (
    "Spring in Zürich", "Der Frühling kommt nach ZURICH", "naïve café, Crème brûlée",
    "state-of-the-art e-mail", "don't o'brien L'été d\u2019été", "東京都に住む 日本語", "서울의 봄",
    "Привет, мир! Ёлка", "ΣΊΣΥΦΟΣ σίσυφος", "straße STRASSE", "ﬁle ① ½", "1,234.56 C++ C# .NET",
    "a_b a/b a@b.example", "x" * 300, "हिन्दी में खोज", "สวัสดี", "NOT NEAR OR AND title:", "İstanbul",
    "\u200bzero\u200bwidth", "same same same", "same once", "",
)  # fmt: skip
ASKED = {
    "zurich": [0, 1], "Zürich spring": [0], "CAFE": [2], '"creme brulee"': [2],
    "state-of-the-art": [3], '"of the"': [3], "art-the": [], "mail": [3], "don't": [4],
    "obrien": [], "O\u2019Brien": [4], "ete": [4],
    "東京": [5], "京東": [], "住": [5], "日本語": [5],
    "서울의": [6], "서울": [], "서울*": [6], "привет": [7], "елка": [7], "σισυφος": [8],
    "strasse": [9], "file": [10], "1": [10, 11], "1,234": [11], "c": [11], "net": [11],
    "a": [12], '"a b"': [12], "b.example": [12], "x" * 64: [13], "x" * 400: [13], "xx": [],
    "xx*": [13], "हिन्दी": [14], "สวัสดี": [15], "not near": [16], "title": [16],
    "istanbul": [17], "zero": [18], "zerowidth": [], "zürich*": [0, 1], "z*": [0, 1, 18],
    "same": [19, 20], '"same same"': [19], "s* o*": [3, 20],
}  # fmt: skip


def _id(number: int) -> str:
    return first_id_at("rec", 1_000_000 + number)


def _change(number: int, version: int, text: str | None, *, also: str = "") -> IndexChange:
    words = None if text is None else {"title": _words(text), "body": _words(also)}
    return IndexChange(_id(number), version, words)


def _words(text: str) -> str:
    return " ".join(words_of(text))


async def _found(
    engine: SearchEngine, q: str, *, position: int, fields: str = "title body", index: str = "one"
) -> list[int]:
    """Which documents are found, the newest last."""
    weights = dict.fromkeys(fields.split(), 1.0)
    query = SearchQuery(read_query(q), weights, "newest", 100)
    numbers = {_id(number): number for number in range(1_000)}
    hits = await engine.query(index, query, position=position)
    return [numbers[hit.id] for hit in reversed(hits)]


async def check_the_same_words_are_found_everywhere(engine: SearchEngine) -> None:
    """Whatever the script, its case, its accents and its signs."""
    await engine.make("one", ["title", "body"])
    changes = [_change(number, 1, text) for number, text in enumerate(CORPUS)]
    await engine.apply("one", changes, 1)
    for q, numbers in ASKED.items():
        assert await _found(engine, q, position=1) == numbers, q


async def check_words_may_stand_in_several_fields(engine: SearchEngine) -> None:
    """But only in those that are searched; a phrase stands in one."""
    await engine.make("one", ["title", "body"])
    await engine.apply("one", [_change(1, 1, "red fox", also="blue sky")], 1)
    assert await _found(engine, "red sky", position=1) == [1]
    assert await _found(engine, '"fox blue"', position=1) == []
    assert await _found(engine, "red sky", position=1, fields="title") == []
    assert await _found(engine, "sky", position=1, fields="title") == []
    assert await _found(engine, "red", position=1, fields="title") == [1]


async def check_what_is_older_never_wins(engine: SearchEngine) -> None:
    """Nor does it bring back what was deleted; the same again does no harm."""
    await engine.make("one", ["title", "body"])
    await engine.apply("one", [_change(1, 5, "new"), _change(2, 5, "new")], 5)
    await engine.apply("one", [_change(1, 4, "old"), _change(2, 6, None), _change(3, 6, None)], 6)
    await engine.apply("one", [_change(2, 5, "late"), _change(3, 5, "late")], 4)
    assert await engine.position("one") == 6
    assert await _found(engine, "new", position=6) == [1]
    assert await _found(engine, "old", position=6) == []
    assert await _found(engine, "late", position=6) == []
    await engine.apply("one", [_change(1, 5, "again"), _change(2, 6, "again")], 7)
    assert await _found(engine, "again", position=7) == [1, 2]
    assert await _found(engine, "new", position=7) == []


async def check_what_was_written_is_found_at_once(engine: SearchEngine) -> None:
    """By whoever asks at the position; a position that was not reached is none of this index."""
    await engine.make("one", ["title", "body"])
    for at in range(1, 6):
        await engine.apply("one", [_change(at, at, "word")], at)
        assert await _found(engine, "word", position=at) == list(range(1, at + 1))
    try:
        await _found(engine, "word", position=99)
    except NoIndex:
        return
    raise AssertionError("it answered at a position that it has not")


async def check_pages_follow_each_other(engine: SearchEngine) -> None:
    """In both orders, without a gap, and without one twice; weights say what counts."""
    await engine.make("one", ["title", "body"])
    changes = [_change(n, 1, "word " * (n % 3), also="word filler " * n) for n in range(30)]
    await engine.apply("one", [*changes, _change(99, 1, "nothing")], 1)
    for order in ("newest", "relevance"):
        seen: list[str] = []
        after: Hit | None = None
        while True:
            query = SearchQuery(
                read_query("word"),
                {"title": 9.0, "body": 1.0},
                order,
                7,
                after,
            )
            hits = await engine.query("one", query, position=1)
            if not hits:
                break
            assert len(hits) <= 7
            seen += [hit.id for hit in hits]
            after = hits[-1]
        assert sorted(seen) == [_id(number) for number in range(1, 30)]
        assert order == "relevance" or seen == sorted(seen, reverse=True)
    await engine.make("two", ["title", "body"])
    both = [_change(1, 1, "pear", also="apple"), _change(2, 1, "apple", also="pear")]
    others = [_change(n, 1, "plum", also="plum") for n in range(10, 30)]
    await engine.apply("two", [*both, *others], 1)
    for heavy, first in (("title", 2), ("body", 1)):
        weights = {"title": 1.0, "body": 1.0} | {heavy: 50.0}
        query = SearchQuery(read_query("apple"), weights, "relevance", 5)
        assert (await engine.query("two", query, position=1))[0].id == _id(first)


async def check_indexes_are_apart(engine: SearchEngine) -> None:
    """Made once however often, removed with all in them, and missed by name."""
    await engine.make("one", ["title", "body"])
    await engine.apply("one", [_change(1, 1, "word")], 1)
    await engine.make("one", ["title", "body"])
    await engine.make("other", ["title", "body"])
    await engine.apply("other", [_change(2, 1, "word")], 1)
    assert sorted(await engine.indexes()) == ["one", "other"]
    assert await _found(engine, "word", position=1) == [1]
    await engine.drop("one")
    await engine.drop("one")
    assert await engine.indexes() == ["other"]
    assert await _found(engine, "word", position=1, index="other") == [2]
    for asked in (
        lambda: engine.position("one"),
        lambda: engine.apply("one", [_change(1, 1, "word")], 1),
        lambda: _found(engine, "word", position=0),
    ):
        try:
            await asked()
        except NoIndex:
            continue
        raise AssertionError("it answered for an index that is gone")
    assert await engine.indexes() == ["other"]


CHECKS: tuple[Callable[[SearchEngine], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)

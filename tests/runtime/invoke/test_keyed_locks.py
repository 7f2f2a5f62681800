"""Turns: who waits for whom after a guard has failed."""

import asyncio

from mainspring.kernel.errors import Conflict, Rerun
from mainspring.kernel.table import Write
from mainspring.runtime.invoke.keyed_locks import KeyedLocks, contested
from tests.deadline import DEADLINE_S
from tests.runtime.links import HITS, LINKS, TAKE_NUMBER, Hit, Link

LINK = Link("link_1", "a", 0)


def test_a_guarded_row_names_the_turn() -> None:
    asks = TAKE_NUMBER(id="link_1").expect(1, Rerun)
    assert contested([asks, LINKS.update(LINK, hits=1)]) == ("links_links", ("link_1",))


def test_without_one_it_is_what_may_have_asked_for_the_re_run() -> None:
    hit = Hit("hit_1", "link_1")
    assert contested([TAKE_NUMBER(id="link_1").expect(1, Rerun)]) == ("links.take_number",)
    assert contested([HITS.insert(hit, on_conflict=Rerun)]) == ("links_hits",)
    others: list[Write] = [HITS.insert(hit), TAKE_NUMBER(id="x").expect(1, Conflict)]
    assert contested([*others, LINKS.update_unguarded(LINK, hits=1)]) is None


async def test_one_at_a_time_goes_on_at_a_row_and_all_where_there_is_none() -> None:
    turns, inside = KeyedLocks(), 0
    async with asyncio.timeout(DEADLINE_S), turns.of("row"):
        other = asyncio.create_task(turns.of("row").__aenter__())
        async with turns.of(None), turns.of(None), turns.of("another row"):
            inside += 1
        assert not other.done()
        other.cancel()
        await asyncio.wait([other])
    assert inside == 1
    async with asyncio.timeout(DEADLINE_S), turns.of("row"):
        inside += 1
    assert inside == 2

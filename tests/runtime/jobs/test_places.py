"""Places: no key takes all of a queue, however much of it there is, and one alone takes most."""

import random

import pytest

from mainspring.runtime.jobs.places import Places, endless


def taken(places: Places, key: str) -> int:
    count = 0
    while places.take(key):
        count += 1
    return count


@pytest.mark.parametrize(("free", "alone"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (128, 86)])
def test_one_key_alone_takes_two_thirds(free: int, alone: int) -> None:
    assert Places(free).room("a") == alone
    assert taken(Places(free), "a") == alone


def test_each_that_hangs_leaves_some_to_those_that_come_after() -> None:
    places = Places(128)
    assert [taken(places, key) for key in "abcde"] == [86, 28, 10, 3, 1]
    held = ["a"] * 32 + ["b"] * 32 + ["c"] * 32 + ["d"] * 20
    assert taken(Places(128 - len(held), held), "healthy") == 8
    assert taken(Places(128 - len(held), held), "a") == 0


def test_what_has_no_key_takes_what_there_is() -> None:
    places = Places(3, [None, None])
    for _ in range(3):
        places.take_any()
    assert not places.take("a")
    assert places.room("a") == 0


def test_room_is_what_could_be_taken(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(500):
        free, held = chance.randrange(200), ["a"] * chance.randrange(100)
        assert Places(free, held).room("a") == taken(Places(free, held), "a")
    assert endless("bulk").room("a") > 10**9

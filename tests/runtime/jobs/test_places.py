"""Places: no keys take all of a queue, and one that ends its jobs most of it."""

import random

import pytest

from mainspring.runtime.jobs.places import Places, Windows, endless


def taken(places: Places, key: str) -> int:
    count = 0
    while places.take(key):
        count += 1
    return count


def proven(*keys: str) -> Windows:
    """Windows in which jobs of these keys were done, many of them."""
    windows = Windows()
    for key in keys:
        for _ in range(200):
            windows.ended(key, done=True)
    return windows


@pytest.mark.parametrize(
    ("free", "unknown", "known"),
    [(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 2, 3), (4, 3, 3), (128, 65, 96)],
)
def test_one_key_alone_takes_half_and_soon_three_quarters(
    free: int, unknown: int, known: int
) -> None:
    assert taken(Places(free), "a") == unknown
    assert taken(Places(free, (), proven("a")), "a") == known


def test_those_that_hang_from_the_first_on_leave_places_to_others() -> None:
    """However many they are: beyond the first half each gets one place."""
    places = Places(128)
    assert [taken(places, key) for key in "abcdefg"] == [65, 1, 1, 1, 1, 1, 1]
    held = ["a"] * 65 + [*"bcdefg"]
    assert taken(Places(128 - len(held), held, proven("healthy")), "healthy") == 25


def test_those_that_begin_to_hang_one_after_the_other_leave_some() -> None:
    """Each as soon as it can, and each with all that its good past has earned it."""
    keys = [f"key {number}" for number in range(40)]
    places = Places(128, (), proven(*keys))
    assert [taken(places, key) for key in keys[:6]] == [96, 4, 4, 3, 3, 2]
    assert places.room("healthy") == 1
    hanging = 6 + sum(1 for key in keys[6:] if taken(places, key))
    assert hanging == 18


@pytest.mark.parametrize("total", [4, 8, 16, 32, 128])
def test_whoever_holds_nothing_finds_a_place_in_the_last_quarter(total: int) -> None:
    others = [f"key {number}" for number in range(max(total // 8, 1))]
    places = Places(total, (), proven("first", *others))
    assert taken(places, "first") == total - total // 4
    assert all(taken(places, key) for key in others)


def test_a_key_earns_places_and_loses_them() -> None:
    windows = Windows()
    busy = ["other"] * 70
    for done in range(8):
        assert taken(Places(58, busy, windows), "a") == 1 + done
        windows.ended("a", done=True)
    windows.ended("a", done=False)
    assert taken(Places(58, busy, windows), "a") == 4
    for _ in range(5):
        windows.ended("a", done=False)
    assert taken(Places(58, busy, windows), "a") == 1


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
        windows = Windows()
        for _ in range(chance.randrange(100)):
            windows.ended("a", done=True)
        room = Places(free, held, windows).room("a")
        assert room == taken(Places(free, held, windows), "a")
    assert endless("bulk").room("a") > 10**9

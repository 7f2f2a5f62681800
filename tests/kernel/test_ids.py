"""Ids: TypeIDs as an independent implementation reads them, in the order they were made."""

import uuid

import pytest
from typeid import TypeID

from mainspring.kernel.ids import IdMaker, encode, first_id_at, is_id
from mainspring.testing.clock import FakeClock, SeededEntropy


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids(clock: FakeClock, seed: int) -> IdMaker:
    return IdMaker(clock, SeededEntropy(seed))


def test_an_id_is_a_typeid_of_a_uuid7_with_the_moment_in_it(ids: IdMaker, clock: FakeClock) -> None:
    for _ in range(300):
        made = ids.new("link")
        read = TypeID.from_string(made)
        value = uuid.UUID(str(read.uuid))
        assert (read.prefix, value.version, value.variant) == ("link", 7, uuid.RFC_4122)
        assert value.int >> 80 == clock.now_ms()
        assert is_id(made, "link")
        clock.move(0.001)


def test_the_first_id_at_a_moment_parts_what_was_made_before_and_after(
    ids: IdMaker, clock: FakeClock
) -> None:
    clock.move(0.001)
    before = [ids.new("x") for _ in range(5)]
    clock.move(0.001)
    at = first_id_at("x", clock.now_ms())
    after = [ids.new("x") for _ in range(5)]
    assert max(before) < at < min(after)
    assert is_id(at, "x")


def test_a_moment_that_no_id_can_hold_is_that_end_of_time() -> None:
    assert first_id_at("x", -1) == first_id_at("x", 0) == f"x_{'0' * 26}"
    assert first_id_at("x", 2**60) == first_id_at("x", 2**48 - 1)
    assert is_id(first_id_at("x", 2**60), "x")


@pytest.mark.parametrize("value", [0, 1, 2**64 - 1, 2**128 - 1])
def test_base32_is_that_of_the_specification(value: int) -> None:
    theirs = str(TypeID.from_uuid(uuid.UUID(int=value), prefix="a"))
    assert f"a_{encode(value)}" == theirs


def test_ids_sort_as_they_were_made_within_a_millisecond_and_past_it(ids: IdMaker) -> None:
    made = [ids.new("x") for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_clock_that_steps_back_does_not_take_ids_with_it(ids: IdMaker, clock: FakeClock) -> None:
    before = ids.new("x")
    clock.move(-60)
    assert ids.new("x") > before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "link",
        "link_",
        "link_01m7y3n3mxe00bgcra6h7pqf6",
        "link_01m7y3n3mxe00bgcra6h7pqf644",
        "link_81m7y3n3mxe00bgcra6h7pqf64",
        "link_01M7Y3N3MXE00BGCRA6H7PQF64",
        "link_01m7y3n3mxe00bgcra6h7pqf6u",
        "user_01m7y3n3mxe00bgcra6h7pqf64",
        "link_01m7y3n3mxe00bgcra6h7pqf64\n",
    ],
)
def test_what_is_no_id_of_the_prefix_is_told(text: str) -> None:
    assert not is_id(text, "link")
    assert is_id("link_01m7y3n3mxe00bgcra6h7pqf64", "link")

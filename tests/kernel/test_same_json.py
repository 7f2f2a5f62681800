"""Equality of values is equality of their JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel.same_json import same_json

LEAVES = [None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, "", "1", "true", "null", [], {}]
WRAPPED = [*LEAVES, *([v] for v in LEAVES), *({"a": v} for v in LEAVES), *([[v]] for v in LEAVES)]


@pytest.mark.parametrize("i", range(len(WRAPPED)))
def test_each_value_is_the_same_as_itself_alone(i: int) -> None:
    same = [j for j, other in enumerate(WRAPPED) if same_json(WRAPPED[i], other)]
    assert same == [i]


def test_the_order_of_members_says_nothing_and_that_of_items_does() -> None:
    assert same_json({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1})
    assert not same_json([1, 2], [2, 1])


def test_a_list_is_no_tuple_of_true_and_one() -> None:
    assert not same_json({"on": [{"x": 1}]}, {"on": [{"x": True}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 2.0]) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """Write types down beside the values, so that Python's own equality tells them apart."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return (type(value).__name__, value)


@given(JSON, JSON)
def test_it_is_equality_with_types(one: Any, other: Any) -> None:
    assert same_json(one, other) == (typed(one) == typed(other))
    assert same_json(one, one)

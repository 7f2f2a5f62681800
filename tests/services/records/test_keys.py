"""The order of key bytes is the order of the values."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mainspring.cel import Type
from mainspring.services.records.keys import after, beginning, component, unique_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBERS = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e100, 1e100, allow_nan=False))


def _before(a: Any, b: Any) -> bool:
    return a != b and (a is None or (b is not None and a < b))


def _assert_keys_order(a: Any, b: Any, kind: Type) -> None:
    for descending in (False, True):
        x, y = component(a, kind, descending), component(b, kind, descending)
        assert (x == y) == (a == b)
        assert (x < y) == (_before(b, a) if descending else _before(a, b))
        assert x < after(x)
        assert not y.startswith(x) or x == y  # so that one component never runs into the next
    assert (unique_key(a, kind) == unique_key(b, kind)) == (a == b)


@given(st.none() | TEXTS, st.none() | TEXTS)
def test_text(a: str | None, b: str | None) -> None:
    _assert_keys_order(a, b, Type.TEXT)


@given(st.none() | NUMBERS, st.none() | NUMBERS)
def test_numbers(a: float | None, b: float | None) -> None:
    _assert_keys_order(a, b, Type.FLOAT)


@given(st.none() | st.booleans(), st.none() | st.booleans())
def test_booleans(a: bool | None, b: bool | None) -> None:
    _assert_keys_order(a, b, Type.BOOL)


@given(TEXTS.filter(bool), TEXTS)
def test_beginnings(start: str, text: str) -> None:
    for descending in (False, True):
        low = beginning(start, descending)
        inside = low <= component(text, Type.TEXT, descending) < after(low)
        assert inside == text.startswith(start)

"""Money: exact where it can be, rounded by name where it cannot, and never a float."""

import json
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

import iso4217
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring import Money
from mainspring.kernel.currencies import EXPONENTS, NO_MONEY, PUBLISHED
from mainspring.kernel.money import (
    AMOUNT_MAX,
    AMOUNT_MIN,
    AmountOutOfRange,
    CurrencyMismatch,
    MoneyInvalid,
    Rounding,
)

amounts = st.integers(AMOUNT_MIN, AMOUNT_MAX)
currencies = st.sampled_from(sorted(EXPONENTS))
weights = st.lists(
    st.one_of(
        st.integers(0, 10**6),
        st.fractions(0, 1000),
        st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=3),
    ),
    min_size=1,
    max_size=20,
).filter(any)
factors = st.one_of(
    st.integers(-1000, 1000),
    st.fractions(-1000, 1000),
    st.decimals(-1000, 1000, allow_nan=False, allow_infinity=False),
)
small = st.integers(-(10**12), 10**12)


def usd(amount: int) -> Money:
    return Money(amount, "USD")


# The table


def test_the_table_is_the_published_list() -> None:
    listed = {c.code: c.exponent for c in iso4217.Currency}
    assert {code: e for code, e in listed.items() if e is not None} == EXPONENTS
    assert {code for code, e in listed.items() if e is None} == NO_MONEY
    assert iso4217.__published__.isoformat() == PUBLISHED


def test_exponents_are_those_of_iso_and_not_cldrs_digits() -> None:
    for code, places in {"ISK": 0, "HUF": 2, "IQD": 3, "CLF": 4, "UYW": 4, "AFN": 2}.items():
        assert EXPONENTS[code] == places


@pytest.mark.parametrize("code", sorted(NO_MONEY))
def test_codes_without_a_minor_unit_are_no_money(code: str) -> None:
    with pytest.raises(MoneyInvalid, match=f"{code} is not money"):
        Money(1, code)


@pytest.mark.parametrize("code", ["ZZZ", "usd", "", "US", "USDT", "DEM", "U\u0405D", None, 840])
def test_unknown_codes_are_refused(code: Any) -> None:
    with pytest.raises(MoneyInvalid, match="not a currency of ISO 4217"):
        Money(1, code)


# A value


@pytest.mark.parametrize("amount", [10.0, 10.99, True, "10", None, Decimal(10)])
def test_an_amount_is_an_int(amount: Any) -> None:
    with pytest.raises(TypeError, match="an int of minor units"):
        Money(amount, "USD")


@pytest.mark.parametrize("amount", [AMOUNT_MAX + 1, AMOUNT_MIN - 1, 10**40])
def test_an_amount_fits_64_bits(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        usd(amount)


def test_it_is_frozen_slotted_and_hashable() -> None:
    money = usd(1)
    with pytest.raises(AttributeError):
        money.amount = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        money.more = 2  # type: ignore[attr-defined]
    assert {usd(1), usd(1), Money(1, "EUR")} == {usd(1), Money(1, "EUR")}


def test_currencies_do_not_mix() -> None:
    euro = Money(1, "EUR")
    for meet in (
        lambda: usd(1) + euro, lambda: usd(1) - euro, lambda: usd(1) < euro,
        lambda: usd(1) <= euro, lambda: usd(1) > euro, lambda: usd(1) >= euro,
        lambda: max(usd(1), euro), lambda: sum([usd(1), euro], Money.zero("USD")),
    ):  # fmt: skip
        with pytest.raises(CurrencyMismatch, match="two currencies"):
            meet()
    assert usd(1) != euro
    assert usd(0) != Money.zero("EUR")


def test_numbers_are_no_money() -> None:
    for meet in (
        lambda: usd(1) + 1, lambda: usd(1) - 1, lambda: 1 + usd(1), lambda: usd(1) * 1.5,
        lambda: usd(1) * True, lambda: usd(1) < 2, lambda: usd(1) / 2, lambda: float(usd(1)),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            meet()


def test_it_adds_up() -> None:
    assert usd(5) + usd(-7) == usd(-2)
    assert usd(5) - usd(7) == usd(-2) == -usd(2)
    assert abs(usd(-2)) == usd(2) == 2 * usd(1) == usd(1) * 2
    assert sum([usd(1), usd(2)], Money.zero("USD")) == usd(3)
    assert sorted([usd(3), usd(-1)]) == [usd(-1), usd(3)]
    assert not usd(0)
    assert usd(-1)
    for over in (lambda: usd(AMOUNT_MAX) + usd(1), lambda: -usd(AMOUNT_MIN),
                 lambda: usd(AMOUNT_MAX) * 2, lambda: abs(usd(AMOUNT_MIN))):  # fmt: skip
        with pytest.raises(AmountOutOfRange):
            over()


# Text


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (usd(1099), "10.99 USD"), (usd(5), "0.05 USD"), (usd(-5), "-0.05 USD"),
        (usd(0), "0.00 USD"), (Money(1099, "JPY"), "1099 JPY"), (Money(-7, "JPY"), "-7 JPY"),
        (Money(1, "KWD"), "0.001 KWD"), (Money(12345, "CLF"), "1.2345 CLF"),
    ],
)  # fmt: skip
def test_it_is_written_with_the_places_of_its_currency(money: Money, text: str) -> None:
    assert str(money) == text
    assert Money.parse(text) == money
    assert Money.parse(money.text, money.currency) == money


def test_fewer_places_are_filled_up() -> None:
    assert Money.parse("10", "USD") == Money.parse("10.0", "USD") == usd(1000)
    assert Money.parse("-0.00", "USD") == usd(0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.999", "has 3 decimal places; USD has 2"), ("10,99", "not a decimal amount"),
        ("1.000,00", "not a decimal"), ("1_0", "not a decimal"), (" 1", "not a decimal"),
        ("1e3", "not a decimal"), ("", "not a decimal"), (".5", "not a decimal"),
        ("5.", "not a decimal"), ("+5", "not a decimal"), ("\u0661", "not a decimal"),
        ("1\n", "not a decimal"), ("NaN", "not a decimal"), ("9" * 5000, "not a decimal"),
    ],
)  # fmt: skip
def test_text_is_read_strictly(text: str, why: str) -> None:
    with pytest.raises(MoneyInvalid, match=why):
        Money.parse(text, "USD")


def test_text_may_be_too_large() -> None:
    with pytest.raises(AmountOutOfRange):
        Money.parse("9" * 19, "USD")


@given(amounts, currencies)
def test_text_comes_back_as_it_went(amount: int, currency: str) -> None:
    money = Money(amount, currency)
    assert Money.parse(str(money)) == money
    assert Decimal(money.text).scaleb(EXPONENTS[currency]) == amount


# Rounding


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [
        (25, {"half_even": 2, "half_up": 3, "down": 2, "up": 3}),
        (35, {"half_even": 4, "half_up": 4, "down": 3, "up": 4}),
        (24, {"half_even": 2, "half_up": 2, "down": 2, "up": 3}),
        (26, {"half_even": 3, "half_up": 3, "down": 2, "up": 3}),
        (20, {"half_even": 2, "half_up": 2, "down": 2, "up": 2}),
    ],
)
def test_each_rounding_by_its_name(amount: int, rounded: dict[str, int]) -> None:
    for name, expected in rounded.items():
        assert usd(amount).multiply(Decimal("0.1"), rounding=name) == usd(expected)
        assert usd(-amount).multiply(Fraction(1, 10), rounding=Rounding(name)) == usd(-expected)


@given(small, factors, st.sampled_from(Rounding))
def test_multiplying_is_exact_but_for_the_rounding(
    amount: int, factor: Any, rounding: Rounding
) -> None:
    product = usd(amount).multiply(factor, rounding=rounding).amount
    exact = amount * Fraction(factor)
    assert abs(product - exact) < 1
    assert usd(-amount).multiply(factor, rounding=rounding).amount == -product
    if rounding in (Rounding.HALF_EVEN, Rounding.HALF_UP):
        assert abs(product - exact) <= Fraction(1, 2)
    elif rounding is Rounding.DOWN:
        assert abs(product) <= abs(exact)
    else:
        assert abs(product) >= abs(exact)
    if rounding is Rounding.HALF_EVEN:
        assert product == round(exact)


@pytest.mark.parametrize("factor", [0.1, True, "0.1", None, 1j])
def test_a_factor_is_exact(factor: Any) -> None:
    with pytest.raises(TypeError, match="a factor is an int, Decimal or Fraction"):
        usd(1).multiply(factor, rounding="down")


@pytest.mark.parametrize("factor", ["NaN", "Infinity", "1e-999999", "1e999999"])
def test_a_factor_is_finite_and_of_a_bearable_size(factor: str) -> None:
    with pytest.raises(ValueError, match=r"a factor (is finite|has at most 100)"):
        usd(1).multiply(Decimal(factor), rounding="down")


def test_a_rounding_is_named() -> None:
    with pytest.raises(ValueError, match="half_even, half_up, down, up, not 'floor'"):
        usd(1).multiply(2, rounding="floor")
    with pytest.raises(AmountOutOfRange):
        usd(AMOUNT_MAX).multiply(2, rounding="down")


# Shares


def test_shares_by_largest_remainder() -> None:
    assert usd(100).allocate([1, 1, 1]) == [usd(34), usd(33), usd(33)]
    assert usd(-100).allocate([1, 1, 1]) == [usd(-34), usd(-33), usd(-33)]
    assert usd(5).allocate([3, 7]) == [usd(1), usd(4)]  # 1.5 and 3.5: the larger weight first
    assert usd(5).allocate([7, 3]) == [usd(4), usd(1)]
    assert usd(1).allocate([0, 1, 0]) == [usd(0), usd(1), usd(0)]
    assert usd(0).allocate([1, 2]) == [usd(0), usd(0)]
    assert usd(101).allocate([Decimal("0.5"), Fraction(1, 2)]) == [usd(51), usd(50)]


@given(amounts, weights)
def test_shares_keep_the_sum_and_stay_near(amount: int, by: list[Any]) -> None:
    shares = usd(amount).allocate(by)
    total = sum(map(Fraction, by))
    assert sum(share.amount for share in shares) == amount
    for share, weight in zip(shares, by, strict=True):
        assert abs(share.amount - amount * Fraction(weight) / total) < 1
        assert share.amount * amount >= 0
        assert weight or not share
    if amount > AMOUNT_MIN:
        assert usd(-amount).allocate(by) == [-share for share in shares]


@given(amounts, weights, st.randoms())
def test_shares_do_not_depend_on_the_order_of_weights(
    amount: int, by: list[Any], random: Any
) -> None:
    shuffled = list(by)
    random.shuffle(shuffled)

    def pairs(order: list[Any]) -> Counter[tuple[Fraction, Money]]:
        return Counter(zip(map(Fraction, order), usd(amount).allocate(order), strict=True))

    assert pairs(by) == pairs(shuffled)


@pytest.mark.parametrize("by", [[], [0], [0, Decimal(0)], [1, -1], [Fraction(-1, 2)]])
def test_weights_weigh_something(by: list[Any]) -> None:
    with pytest.raises(ValueError, match="weight"):
        usd(100).allocate(by)


@pytest.mark.parametrize("weight", [0.5, True, "1"])
def test_weights_are_exact(weight: Any) -> None:
    with pytest.raises(TypeError, match="a weight is an int, Decimal or Fraction"):
        usd(100).allocate([1, weight])


# In JSON


@given(amounts, currencies)
def test_json_comes_back_as_it_went(amount: int, currency: str) -> None:
    body = msgspec.json.encode(Money(amount, currency))
    assert json.loads(body) == {"amount": amount, "currency": currency}
    assert msgspec.json.decode(body, type=Money) == Money(amount, currency)


@pytest.mark.parametrize(
    "body",
    [
        {"amount": 1, "currency": "XTS"}, {"amount": 1, "currency": "ZZZ"},
        {"amount": 1.5, "currency": "USD"}, {"amount": "1", "currency": "USD"},
        {"amount": 2**63, "currency": "USD"}, {"amount": True, "currency": "USD"},
        {"amount": 1}, {"currency": "USD"}, {"amount": 1, "currency": "USD", "cents": 1},
    ],
)  # fmt: skip
def test_json_that_is_no_money_is_refused(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(body), type=Money)


def test_its_schema_says_what_fits() -> None:
    (schema,), parts = msgspec.json.schema_components([Money])
    properties = parts["Money"]["properties"]
    assert schema == {"$ref": "#/$defs/Money"}
    assert properties["amount"]["minimum"] == AMOUNT_MIN
    assert properties["amount"]["maximum"] == AMOUNT_MAX
    assert properties["currency"]["pattern"] == "^[A-Z]{3}$"
    assert parts["Money"]["required"] == ["amount", "currency"]

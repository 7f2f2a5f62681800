"""Money: whole minor units of an ISO 4217 currency, and arithmetic that loses nothing.

No float comes in and none goes out. What cannot be exact names its rounding (``multiply``) or
keeps the sum (``allocate``).
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

import msgspec

from mainspring.kernel.currencies import EXPONENTS, NO_MONEY, PUBLISHED
from mainspring.kernel.errors import Invalid

AMOUNT_MIN = -(2**63)  # as every engine and language holds it
AMOUNT_MAX = 2**63 - 1
DECIMAL_PLACES_MAX = 100  # of a factor or weight, on either side of its point

_TEXT = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,19}))?")

Currency = Annotated[
    str, msgspec.Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code, such as USD")
]
MinorUnits = Annotated[
    int, msgspec.Meta(ge=AMOUNT_MIN, le=AMOUNT_MAX, description="minor units (cents)")
]
Exact = int | Decimal | Fraction


class MoneyInvalid(Invalid, ValueError):
    """No amount of money: an unknown currency, or text that is no decimal amount in it."""

    code, title = "money_invalid", "Not an amount of money"


class CurrencyMismatch(Invalid, ValueError):
    """Amounts in two currencies meet where only one currency makes sense."""

    code, title = "currency_mismatch", "Two currencies"


class AmountOutOfRange(Invalid, ValueError):
    """The amount does not fit 64 bits."""

    code, title = "amount_out_of_range", "Amount out of range"


class Rounding(StrEnum):
    """What becomes of a part of a minor unit. Each treats a debt as it treats a credit."""

    HALF_EVEN = "half_even"  # to the nearest; a half to the even neighbour
    HALF_UP = "half_up"  # to the nearest; a half away from zero
    DOWN = "down"  # towards zero
    UP = "up"  # away from zero


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in a currency's minor unit: 1099 USD is 10.99 dollars.

    Raises MoneyInvalid, AmountOutOfRange; TypeError where the amount is no int. Amounts in two
    currencies are never equal, and CurrencyMismatch where they are added or compared by size.
    """

    amount: MinorUnits
    currency: Currency

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError(
                f"amount is an int of minor units, not {type(self.amount).__name__}: "
                "Money.parse reads decimal text"
            )
        exponent(self.currency)
        if not AMOUNT_MIN <= self.amount <= AMOUNT_MAX:
            raise AmountOutOfRange(f"an amount has at most 64 bits, in {self.currency} too")

    # In and out

    @classmethod
    def zero(cls, currency: str) -> "Money":
        """Nothing, where ``sum`` begins: ``sum(prices, Money.zero("USD"))``."""
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str, currency: str | None = None) -> "Money":
        """Read ``"10.99"`` in a currency, or ``"10.99 USD"``. Raises MoneyInvalid.

        A point, no grouping, and no more decimal places than the currency has.
        """
        if currency is None:
            text, _, currency = text.partition(" ")
        places = exponent(currency)
        match = _TEXT.fullmatch(text)
        if match is None:
            raise MoneyInvalid(f"{text[:40]!r} is not a decimal amount: write 10.99 or -3")
        sign, whole, part = match[1], match[2], match[3] or ""
        if len(part) > places:
            raise MoneyInvalid(f"{text!r} has {len(part)} decimal places; {currency} has {places}")
        amount = int(whole + part.ljust(places, "0"))
        return cls(-amount if sign else amount, currency)

    @property
    def text(self) -> str:
        """The amount as decimal text, with all places of the currency: ``"10.90"``."""
        places = exponent(self.currency)
        digits = str(abs(self.amount)).rjust(places + 1, "0")
        whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
        return ("-" if self.amount < 0 else "") + whole + ("." + part if part else "")

    def __str__(self) -> str:
        return f"{self.text} {self.currency}"

    # Exact arithmetic

    def __add__(self, other: "Money") -> "Money":
        if not isinstance(other, Money):
            return NotImplemented
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        if not isinstance(other, Money):
            return NotImplemented
        return Money(self.amount - self._same(other).amount, self.currency)

    def __mul__(self, times: int) -> "Money":
        if type(times) is not int:
            return NotImplemented
        return Money(self.amount * times, self.currency)

    __rmul__ = __mul__

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __abs__(self) -> "Money":
        return Money(abs(self.amount), self.currency)

    def __bool__(self) -> bool:
        return self.amount != 0

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same(other).amount

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self._same(other).amount

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self._same(other).amount

    def _same(self, other: "Money") -> "Money":
        if not isinstance(other, Money):
            raise TypeError(f"Money meets {type(other).__name__}, not Money")
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self} and {other} are in two currencies: convert one first")
        return other

    # Arithmetic with parts of a minor unit

    def multiply(self, factor: Exact, *, rounding: Rounding | str) -> "Money":
        """Multiply by an exact factor and round once, as the name says.

        A rate is a Decimal (``Decimal("0.19")``), a ratio a Fraction (``Fraction(1, 3)``). Raises
        TypeError for a float, whose value is not the one that was written.
        """
        if rounding not in tuple(Rounding):
            raise ValueError(f"rounding is {', '.join(Rounding)}, not {rounding!r}")
        exact = self.amount * _exact(factor, "a factor")
        whole, rest = divmod(abs(exact.numerator), exact.denominator)
        twice = 2 * rest - exact.denominator  # where the rest lies: below, at or above a half
        more = {
            Rounding.HALF_EVEN: twice > 0 or (twice == 0 and whole % 2 == 1),
            Rounding.HALF_UP: twice >= 0,
            Rounding.DOWN: False,
            Rounding.UP: rest > 0,
        }[Rounding(rounding)]
        rounded = whole + more
        return Money(rounded if exact >= 0 else -rounded, self.currency)

    def allocate(self, weights: Sequence[Exact]) -> list["Money"]:
        """Share the amount out by weight, to the last unit (largest remainder, Hamilton).

        Every share is less than one unit from its exact value, a weight of zero gets nothing, and
        a debt is shared as a credit is. Of equal remainders the larger weight comes first, then the
        earlier one, so the order of the weights decides only between equal weights. Raises
        ValueError for negative weights and where nothing weighs anything.
        """
        exact = [_exact(weight, "a weight") for weight in weights]
        if any(weight < 0 for weight in exact):
            raise ValueError("a weight is not negative")
        total = sum(exact)
        if total == 0:
            raise ValueError("no weight is over zero: there is nobody to share with")
        shares = [abs(self.amount) * weight / total for weight in exact]
        units = [share.numerator // share.denominator for share in shares]
        order = sorted(range(len(exact)), key=lambda i: (units[i] - shares[i], -exact[i], i))
        for i in order[: abs(self.amount) - sum(units)]:
            units[i] += 1
        return [Money(unit if self.amount >= 0 else -unit, self.currency) for unit in units]


def exponent(currency: str) -> int:
    """Return how many decimal places the currency's minor unit has. Raises MoneyInvalid."""
    places = EXPONENTS.get(currency) if isinstance(currency, str) else None
    if places is not None:
        return places
    if currency in NO_MONEY:
        raise MoneyInvalid(
            f"{currency} is not money: ISO 4217 gives it no minor unit (metals, funds, testing)"
        )
    raise MoneyInvalid(
        f"{currency!r:.40} is not a currency of ISO 4217 ({PUBLISHED}): write a code such as USD"
    )


def _exact(number: Exact, what: str) -> Fraction:
    if type(number) not in (int, Decimal, Fraction):
        raise TypeError(
            f"{what} is an int, Decimal or Fraction, not {type(number).__name__}: "
            'Decimal("0.19") is what it says, a float is not'
        )
    if isinstance(number, Decimal):
        if not number.is_finite():
            raise ValueError(f"{what} is finite, not {number}")
        places = number.as_tuple().exponent
        assert isinstance(places, int)  # of what is finite
        if number and not -DECIMAL_PLACES_MAX <= places <= DECIMAL_PLACES_MAX:
            raise ValueError(f"{what} has at most {DECIMAL_PLACES_MAX} decimal places")
        return Fraction(number) if number else Fraction(0)
    return Fraction(number)

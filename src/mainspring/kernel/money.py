"""Money as integer minor units and an ISO 4217 code."""

from typing import Annotated

import msgspec

Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code")]
MinorUnits = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53, description="minor units (cents)")]


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An amount in a currency's minor unit: 1099 USD is 10.99 dollars."""

    amount: MinorUnits
    currency: Currency

    def __add__(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.amount + other.amount, self.currency)

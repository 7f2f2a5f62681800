"""The demo's data: every order of CDNOW's first-quarter-1997 customers, 1997-01 to 1998-06.

CDNOW_master.txt comes with the package ``lifetimes``, which is only read from, never imported.
Money is read as integer cents, digit by digit.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mainspring.ports.database import StartError

PACKAGE = "lifetimes"
FILE = "lifetimes/datasets/CDNOW_master.txt"
LAST_DAY = "1998-06-30"  # recency counts back from here


class Order(msgspec.Struct, frozen=True):
    """One line of the file; ``number`` is its place, from 1."""

    number: int
    customer: str
    day: str
    cds: int
    cents: int


class Spending(msgspec.Struct, frozen=True):
    """Recency, frequency and monetary value of a customer."""

    recency_days: int
    frequency: int
    monetary_cents: int


def find_file() -> Path:
    """Return where the file is installed. Raises StartError when the package is missing."""
    try:
        found = importlib.metadata.distribution(PACKAGE).locate_file(FILE)
    except importlib.metadata.PackageNotFoundError:
        raise StartError(
            "the demo reads real orders from the package lifetimes, which is not installed: "
            "pip install '.[demo]' in a checkout of Mainspring"
        ) from None
    file = Path(str(found))
    if not file.is_file():
        raise StartError(f"the package lifetimes has no {FILE}: install version 0.11.3")
    return file


def read_orders(lines: Iterable[str], limit: int | None = None) -> Iterator[Order]:
    """Read the file's lines after its header. Raises ValueError on a line of another shape."""
    for number, line in enumerate(lines):
        if number == 0:
            continue
        if limit is not None and number > limit:
            return
        customer, day, cds, dollars = line.split()
        if len(day) != 8:
            raise ValueError(f"line {number + 1}: {day!r} is not a day")
        yield Order(
            number, customer, f"{day[:4]}-{day[4:6]}-{day[6:]}", int(cds), cents_of(dollars)
        )


def cents_of(dollars: str) -> int:
    """Read ``11.77`` as 1177 without ever making it a float. Raises ValueError."""
    whole, point, rest = dollars.partition(".")
    if not whole.isdigit() or not (rest.isdigit() and len(rest) <= 2 if point else True):
        raise ValueError(f"{dollars!r} is not an amount of dollars and cents")
    return int(whole) * 100 + int(rest.ljust(2, "0") if rest else 0)


def spending(orders: Iterable[Order]) -> dict[str, Spending]:
    """Compute every customer's figures straight from the file, to compare the platform's with."""
    from datetime import date

    end = date.fromisoformat(LAST_DAY)
    last: dict[str, str] = {}
    count: dict[str, int] = {}
    cents: dict[str, int] = {}
    for order in orders:
        last[order.customer] = max(order.day, last.get(order.customer, ""))
        count[order.customer] = count.get(order.customer, 0) + 1
        cents[order.customer] = cents.get(order.customer, 0) + order.cents
    return {
        customer: Spending((end - date.fromisoformat(day)).days, count[customer], cents[customer])
        for customer, day in last.items()
    }

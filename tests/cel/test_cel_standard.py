"""Where the contract does not differ from the standard, cel-python (by Google's CEL spec) agrees.

It differs on purpose about null, numbers of two kinds and the order of text; see ``cel``.
"""

import celpy
import pytest
from celpy.adapter import json_to_cel

from mainspring.cel import compile_cel
from tests.cel.cel_cases import NAMES

RECORD = {
    "title": "Grüße \U0001f600",
    "note": "a",
    "views": 7,
    "stock": -7,
    "price": 2.5,
    "open": True,
}


@pytest.mark.parametrize(
    "source",
    [
        "views > 5 && title.startsWith('Gr')",
        "views > 6 || !open",
        "!(open && views == 7) || price >= 2.5",
        "size(title) == 7 && title.size() == 7",
        "title.contains('ü') && title.endsWith('\\U0001F600')",
        "title.endsWith('') && title.contains('') && title.startsWith('')",
        "views / 2 == 3 && stock / 2 == -3 && stock % 4 == -3 && views % 4 == 3",
        "views - 3 * 2 + 1 == 2 && (views - 3) * 2 == 8",
        "price * 2.0 == 5.0 && price / 2.0 == 1.25 && -price < 0.0",
        "views in [1, 7] && !(views in [1, 2]) && note in ['a', 'b']",
        "open ? views == 7 : views == 8",
        "false ? true : open ? true : false",
        "open || views / 0 == 1",
        "note < 'b' && note <= 'a' && 'B' < note && note != 'A'",
        "title == 'Gr\\u00fc\\xdfe \\U0001F600' && note == r'a'",
        "0x10 == 16 && 1e3 == 1000.0 && 2.5e-1 == 0.25",
        "views == 7 // to the end of the line",
        "-views == stock && - -views == 7 && !!open",
        "true || false && false",
        "has(record.title) && !has(record.missing)",
    ],
)
def test_cel_python_says_the_same(source: str) -> None:
    environment = celpy.Environment()
    program = environment.program(environment.compile(source))
    standard = program.evaluate(
        {k: json_to_cel(v) for k, v in (RECORD | {"record": RECORD}).items()}
    )
    ours = source.replace("record.missing", "record.due")  # names are checked here, and null there
    assert compile_cel(ours, NAMES).test(RECORD) is bool(standard)
    assert standard

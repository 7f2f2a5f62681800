"""Pages: rows and the cursor that leads on from the last of them."""

import ast
from pathlib import Path

import mainspring
from mainspring.kernel.page import Page
from mainspring.kernel.table import Rows

SOURCES = Path(mainspring.__file__).parent
# What pages through something other than rows of one query, and bounds its bytes itself.
OTHERWISE = {"services/records/operations/lists.py", "services/audit/operations.py"}


def test_the_next_page_starts_after_the_last_row() -> None:
    assert Page.of(Rows([1, 2], more=True), str, hex) == Page(["1", "2"], "0x2")
    assert Page.of(Rows([1, 2], more=False), str, hex) == Page(["1", "2"], None)
    assert Page.of(Rows([], more=False), str, hex) == Page([], None)


def test_nobody_works_a_cursor_out_by_hand() -> None:
    by_hand = set()
    for path in SOURCES.rglob("*.py"):
        name = path.relative_to(SOURCES).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Page"
                and len(node.args) + len(node.keywords) > 1
            ):
                by_hand.add(name)
    assert by_hand <= {*OTHERWISE, "kernel/page.py"}

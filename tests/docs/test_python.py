"""The Python examples of the docs answer what they say."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    path for path in sorted((ROOT / "docs").rglob("*.md")) if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_answer_what_they_say(path: Path) -> None:
    failed, tried = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert tried
    assert not failed


def test_the_page_on_money_is_among_them() -> None:
    assert ROOT / "docs/reference/money.md" in EXAMPLES

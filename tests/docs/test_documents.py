"""The README and the docs do what they say, word for word."""

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.console import Console, Step, matches, steps

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```console" in path.read_text(encoding="utf-8")
]


ZSH = [
    pytest.mark.more,
    pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh on PATH"),
]


IN_NODE = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="no node and npm on PATH"
)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("shell", ["bash", pytest.param("zsh", marks=ZSH)])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=IN_NODE if "$ node " in path.read_text() else ())
        for path in DOCUMENTS
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_a_document_does_what_it_says(path: Path, shell: str, tmp_path: Path) -> None:
    console = Console(tmp_path, shell)
    try:
        for step in steps(path.read_text(encoding="utf-8")):
            printed = console.run(step)
            expected = step.expected[:1] if step.command.endswith(" up") else step.expected
            assert matches(expected, printed), "\n".join(
                [f"{path.name}:{step.line}: $ {step.command}", *printed, "-- expected:", *expected]
            )
    finally:
        console.close()


def test_no_line_for_a_shell_ends_in_a_comment() -> None:
    """At its prompt zsh takes ``# ...`` for arguments."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"^```(?:sh|console)\n(.*?)^```$", path.read_text(), re.M | re.S):
            assert not re.search(r"^(?:\$ )?\w.*\s#\s", block, re.M), f"{path.name}: {block}"


def test_nobody_is_sent_to_an_index_that_does_not_serve_it() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]:
        assert not re.search(r"install\W+mainspring", path.read_text(encoding="utf-8")), path


def test_the_quickstart_of_the_readme_is_among_them() -> None:
    assert ROOT / "README.md" in DOCUMENTS


def test_blocks_are_read_as_a_person_would() -> None:
    blocks = [
        "console\n$ one \\\n  two\nout\n$ 'th\nree'",
        "python title=app.py\nx = 1",
        "sh\n$ no",
    ]
    text = "a\n" + "".join(f"```{block}\n```\n" for block in blocks)
    assert list(steps(text)) == [
        Step(3, "one \\\n  two", ["out"]),
        Step(6, "'th\nree'"),
        Step(9, "x = 1\n", name="app.py"),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], [], False),
        ([], ["a"], False),
        (["a...c"], ["abc"], True),
        (["a..."], ["ba"], False),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["...", "d"], ["a", "b"], False),
        (['{"id":"rec_..."}'], ['{"id":"rec_1"}'], True),
    ],
)
def test_what_is_printed_is_compared(expected: list[str], printed: list[str], same: bool) -> None:
    assert matches(expected, printed) is same

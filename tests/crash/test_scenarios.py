"""The shorter faults of the crash suite; ``make crash`` plays every one, and prints the table."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.crash.report import PLAYED, table, told, write
from tests.crash.scenario import Outcome, Setting, Skipped
from tests.crash.scenarios import ALL

# One of each kind, a minute in all on three cores; the others take up to two minutes each.
SHORT = (
    ("promotion", "postgres"),
    ("gateway-dies", "postgres"),
    ("frozen-member", "sqlite"),
    ("full-disk", "sqlite"),
    ("full-tables", "postgres"),
    ("search", "sqlite"),
    ("cluster", "sqlite"),
)


@pytest.mark.more
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "on"), SHORT, ids=[f"{name}-{on}" for name, on in SHORT])
async def test_nothing_acknowledged_is_lost_or_doubled(
    name: str, on: str, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """What it finds is a line of the table at the end of the run."""
    try:
        outcome = await ALL[name].play(Setting(on, tmp_path, f"{seed}"))
    except Skipped as why:
        record_property(PLAYED, [name, on, f"skipped: {why}"])
        pytest.skip(str(why))
    record_property(PLAYED, [name, on, msgspec.to_builtins(outcome)])
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.doubled) == (0, 0)


def test_the_table_has_a_line_for_each_that_was_played_or_not(tmp_path: Path) -> None:
    kept = Outcome(
        noticed_s=0.5, mitigated_s=2.0, works_s=None, acknowledged=7, lost=1, remark="cut | for 3 s"
    )
    found: list[tuple[str, str, Outcome | str]] = [
        ("outage", "postgres", kept),
        ("outage", "sqlite", "does not apply"),
    ]
    assert [" ".join(line.split()) for line in table(found).splitlines()[1:]] == [
        "outage postgres 0.50 s 2.00 s - 7 1 0 cut | for 3 s",
        "outage sqlite - - - - - - does not apply",
    ]
    write(tmp_path / "made" / "found.md", ["On a machine."], found)
    lines = (tmp_path / "made" / "found.md").read_text().splitlines()
    assert lines[0] == "On a machine."
    assert lines[4:] == [
        r"| outage | postgres | 0.50 s | 2.00 s | - | 7 | 1 | 0 | cut \| for 3 s |",
        "| outage | sqlite | - | - | - | - | - | - | does not apply |",
    ]
    passed_on = [[*found[0][:2], msgspec.to_builtins(kept)], found[1]]  # as a test tells the run
    assert told([(PLAYED, one) for one in passed_on] + [("other", 1)]) == table(found)
    assert told([("other", 1)]) == ""

"""The shorter faults of the crash suite; ``make crash`` plays every one, and prints the table."""

from pathlib import Path

import pytest

from tests.crash.report import table, write
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.scenarios import ALL

SHORT = (
    "outage",
    "two-versions",
    "frozen-member",
    "full-disk",
    "cluster",
)  # the others take from half a minute to two
PLAYED = [(ALL[name], engine) for name in SHORT for engine in ALL[name].engines]


@pytest.mark.more
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("scenario", "on"), PLAYED, ids=[f"{one.name}-{on}" for one, on in PLAYED])
async def test_nothing_acknowledged_is_lost_or_doubled(
    scenario: Scenario, on: str, tmp_path: Path, seed: int
) -> None:
    try:
        outcome = await scenario.play(Setting(on, tmp_path, f"{seed}"))
    except Skipped as why:
        pytest.skip(str(why))
    assert outcome.acknowledged > 0
    assert outcome.doubled == 0


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

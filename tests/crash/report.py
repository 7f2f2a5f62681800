"""The table of what scenarios found, for a terminal and as a file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.crash.scenario import Outcome

_HEADS = (
    "scenario", "engine", "detection", "mitigation", "recovery", "acknowledged", "lost", "doubled",
)  # fmt: skip
_REMARK = "what was done, and what came of it"
Found = tuple[str, str, Outcome | str]
PLAYED = "crash scenario"  # under which a test tells its run what it found


def table(outcomes: Iterable[Found]) -> str:
    """Write outcomes as a table, each with its remark; in place of one, why there is none."""
    lines = _lines(outcomes)
    widths = [max(len(line[n]) for line in lines) for n in range(len(_HEADS))]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def told(properties: Iterable[tuple[str, object]]) -> str:
    """Return the table of what tests of a run have told; nothing where none was played."""
    found = [value for name, value in properties if name == PLAYED]
    return table(msgspec.convert(found, list[Found])) if found else ""


def write(file: Path, about: Iterable[str], outcomes: Iterable[Found]) -> None:
    """Write them as Markdown, after lines that say what they were found on."""
    heads, *lines = _lines(outcomes)
    rows = [heads, tuple("---" for _ in heads), *lines]
    text = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*about, "", text, ""]))


def _lines(outcomes: Iterable[Found]) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = [(*_HEADS, _REMARK)]
    for scenario, engine, found in outcomes:
        if isinstance(found, str):
            lines.append((scenario, engine, *["-"] * 6, found))
            continue
        lines.append(
            (
                scenario, engine, _seconds(found.noticed_s), _seconds(found.mitigated_s),
                _seconds(found.works_s), str(found.acknowledged), str(found.lost),
                str(found.doubled), found.remark,
            )
        )  # fmt: skip
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"

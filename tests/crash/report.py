"""The table of what scenarios found."""

from collections.abc import Iterable

from tests.crash.scenario import Outcome

_HEADS = ("scenario", "engine", "detection", "recovery", "acknowledged", "lost", "doubled")


def table(outcomes: Iterable[tuple[str, str, Outcome | str]]) -> str:
    """Write outcomes as a table, each with its remark; in place of one, why there is none."""
    lines = [(*_HEADS, "what was done, and what came of it")]
    for scenario, engine, found in outcomes:
        if isinstance(found, str):
            lines.append((scenario, engine, *["-"] * 5, found))
            continue
        lines.append(
            (
                scenario, engine, _seconds(found.noticed_s), _seconds(found.works_s),
                str(found.acknowledged), str(found.lost), str(found.doubled), found.remark,
            )
        )  # fmt: skip
    widths = [max(len(line[n]) for line in lines) for n in range(len(_HEADS))]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"

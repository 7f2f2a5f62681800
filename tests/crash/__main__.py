"""``python -m tests.crash``: faults on real servers, then a search for anything lost or doubled.

``--list`` names the scenarios; ``--scenario outage --engine postgres`` plays one. The table of what
was found is printed and written to a file; nothing acknowledged may be lost where nothing may be.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.report import machine
from mainspring.testing.servers import STARTED
from tests.crash.checks import Broken
from tests.crash.report import Found, table, write
from tests.crash.scenario import Outcome, Scenario, Setting, Skipped
from tests.crash.scenarios import ALL

ENGINES = ("sqlite", "postgres")
LOG_TAIL_CHARS = 4_000
TABLE = Path("logs") / "failures.md"


def main() -> int:
    """Parse, play, report."""
    options = _parsed()
    if options.list:
        for scenario in ALL.values():
            print(f"{scenario.name:<15}{' '.join(scenario.engines):<17}{_told(scenario)}")
        return 0
    print(f"seed: {options.seed}", flush=True)
    found: list[Found] = []
    failed = 0
    for name in options.scenario or ALL:
        scenario = ALL[name]
        for engine in ENGINES if options.engine == "both" else (options.engine,):
            if engine not in scenario.engines:
                found.append((name, engine, f"does not apply: {scenario.only}"))
                continue
            outcome = _played(scenario, engine, options.seed, options.rounds, options.workers)
            failed += outcome is None
            found.append((name, engine, outcome or "BROKEN"))
            _write(options.table, options.seed, found)  # for who does not wait for the end
    passed = sum(isinstance(outcome, Outcome) for _, _, outcome in found)
    servers = ", ".join(sorted(STARTED))
    print(f"\n{servers}\n{table(found)}\n{passed} passed, {failed} failed")
    print(f"written to {options.table}")
    return 1 if failed else 0


def _write(file: Path, seed: int, found: list[Found]) -> None:
    """Write what was found until now, and on what."""
    about = [f"{name}: {value}" for name, value in machine().items()]
    about += [f"load average: {os.getloadavg()[0]:.1f}", f"seed: {seed}", *sorted(STARTED)]
    write(file, about, found)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario", action="append", choices=list(ALL), help="may be given more than once"
    )
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    parser.add_argument("--rounds", type=int, default=50, help="of kill -9")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both")
    parser.add_argument("--workers", type=int, default=1, help="processes of each platform")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table is written to")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    return parser.parse_args()


def _told(scenario: Scenario) -> str:
    play = scenario.play.func if isinstance(scenario.play, partial) else scenario.play
    assert play.__doc__ is not None
    return play.__doc__.splitlines()[0]


def _played(
    scenario: Scenario, engine: str, seed: int, rounds: int, workers: int
) -> Outcome | str | None:
    """Play one; return why it was left out, or None when it is broken, which is told."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mainspring-crash-") as folder:
        root = Path(folder)
        setting = Setting(engine, root, f"{seed}", rounds, workers)
        try:
            outcome = asyncio.run(scenario.play(setting))
        except Skipped as why:
            print(f"{scenario.name} {engine}: skipped: {why}", flush=True)
            return f"skipped: {why}"
        except (Broken, AssertionError, RuntimeError, OSError) as error:
            print(f"{scenario.name} {engine}: BROKEN (seed {seed}): {error!r}", file=sys.stderr)
            for log in sorted(root.glob("*/platform.log")):
                said = log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
                print(f"--- {log.parent.name}\n{said}", file=sys.stderr)
            return None
    took_s = time.monotonic() - started_s
    print(f"{scenario.name} {engine}: {outcome.remark} ({took_s:.1f} s)", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())

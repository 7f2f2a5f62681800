"""What every test run says of itself: its random seed, and the real servers it ran against."""

import os
import secrets
from typing import Any

import pytest

from mainspring.testing import servers

SEED_VARIABLE = "MAINSPRING_TEST_SEED"  # set it to repeat a run
_SERVERS = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed once; xdist's workers inherit the environment."""
    os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(1 << 32)))
    config.stash[_SERVERS] = set()


def pytest_report_header() -> str:
    """Say at the start how this run is repeated."""
    return _seed_line()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the servers this process started to whoever prints the summary."""
    started = sorted(servers.STARTED)
    session.config.stash[_SERVERS].update(started)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = started


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect what one of xdist's workers started; one that crashed says nothing."""
    output = getattr(node, "workeroutput", {})
    config: pytest.Config = node.config
    config.stash[_SERVERS].update(output.get("servers", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the real servers and the seed where a reader of a log looks: at the end."""
    started = config.stash[_SERVERS]
    for server in sorted(started):
        terminalreporter.write_line(f"server: {server}")
    terminalreporter.write_line(_seed_line())


@pytest.fixture
def seed() -> int:
    """The seed of this run, for tests that make random input."""
    return int(os.environ[SEED_VARIABLE])


def _seed_line() -> str:
    return f"seed: {os.environ[SEED_VARIABLE]} (repeat with {SEED_VARIABLE})"

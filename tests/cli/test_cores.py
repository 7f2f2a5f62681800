"""How many processes there are by default: as many as cores, within what the machine grants."""

import os
import sys
from pathlib import Path

import pytest

from mainspring.cli.cores import PROCESSES_MAX, ProcessCount, chosen, usable, usable_memory_bytes


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has so many cores, of which this process may run on twelve."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 12),
        ("0::/app/web\n", {"app/web/cpu.max": "max 100000\n"}, 12),
        ("0::/app/web\n", {"app/web/cpu.max": "200000 100000\n"}, 2),
        ("0::/app/web\n", {"app/web/cpu.max": "max 100000\n", "app/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 12),
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "300000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            "3:cpu:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            12,
        ),
    ],
)
def test_as_many_as_are_granted(
    tmp_path: Path, own: str, files: dict[str, str], cores: int
) -> None:
    own_group, groups = tmp_path / "own", tmp_path / "groups"
    own_group.write_text(own)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    assert usable(groups, own_group) == cores


def test_where_there_are_no_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable(tmp_path / "none", tmp_path / "absent") == 12


def test_there_are_never_more_than_eight(tmp_path: Path) -> None:
    assert chosen(tmp_path / "none", tmp_path / "absent") == ProcessCount(PROCESSES_MAX)


@pytest.mark.parametrize(
    ("own", "file", "limit"),
    [
        ("0::/app/web\n", "app/web/memory.max", 300 << 20),
        ("0::/app/web\n", "app/memory.max", 511 << 20),
        ("4:memory:/x\n", "memory/x/memory.limit_in_bytes", 100 << 20),
    ],
)
def test_where_there_is_little_memory_there_is_one(
    tmp_path: Path, own: str, file: str, limit: int
) -> None:
    own_group, groups = tmp_path / "own", tmp_path / "groups"
    own_group.write_text(own)
    held = groups / file
    held.parent.mkdir(parents=True)
    held.write_text(f"{limit}\n")
    assert usable_memory_bytes(groups, own_group) == limit
    why = f"it may use {limit >> 20} MiB of memory"
    assert chosen(groups, own_group) == ProcessCount(1, why)
    for none in ("max\n", f"{(1 << 63) - 4096}\n", f"{512 << 20}\n"):
        held.write_text(none)
        assert chosen(groups, own_group) == ProcessCount(PROCESSES_MAX)


def test_where_a_fork_is_not_safe_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    one = chosen(tmp_path / "none", tmp_path / "absent")
    assert one == ProcessCount(1, "processes cannot be forked safely on darwin")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert chosen(tmp_path / "none", tmp_path / "absent") == ProcessCount(1)

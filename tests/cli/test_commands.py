"""The command line: help that teaches, one line for what is wrong, exit codes as documented."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring.cli import EXIT_FOUND, EXIT_START, EXIT_USAGE, main
from tests.deadline import DEADLINE_S

COMMANDS = [
    ["up"], ["demo"], ["config"], ["doctor"], ["admin", "key"], ["admin", "user"],
    ["admin", "rotate-keyring"], ["admin", "rotate-data-keys"], ["admin", "new-keyring"],
    ["admin", "remove-data-keys"],
    ["admin", "restored"], ["audit", "export"], ["audit", "verify"], ["import"], ["export"],
    ["certs", "init"], ["certs", "issue"], ["certs", "show"], ["certs", "renew"],
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mainspring", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command, "--help") == 0
    assert "Examples:" in capsys.readouterr().out


def test_alone_it_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    said = capsys.readouterr().out
    assert "Exit codes" in said
    assert all(command[0] in said for command in COMMANDS)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("mainspring ")


def test_config_shows_values_sources_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mainspring.toml").write_text("[server]\nport = 9000\n")
    monkeypatch.setenv("MAINSPRING_DATABASE__URL", "postgresql://ann:hunter2@db/shop")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/keyring.json").touch()
    assert run(monkeypatch, "config", "--json", "--data-dir", "here") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["server.port"] == {"value": 9000, "source": "mainspring.toml:2"}
    assert shown["platform.data_dir"] == {"value": "here", "source": "--data-dir"}
    assert shown["log.level"] == {"value": "info", "source": "default"}
    assert run(monkeypatch, "config", "--changed") == 0
    table = capsys.readouterr().out
    assert "postgresql://ann:********@db/shop" in table
    assert "hunter2" not in table
    assert "log.level" not in table


def test_commands_without_an_app_leave_its_settings_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mainspring.toml").write_text("[bakery]\novens = 3\n[server]\nport = 0\n")
    monkeypatch.setenv("MAINSPRING_BAKERY__FLOUR", "rye")
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
    for command in (["admin", "key", "x"], ["admin", "user", "x"], ["audit", "export", "x"]):
        run(monkeypatch, *command)
        assert "bakery" not in capsys.readouterr().err
    assert run(monkeypatch, "doctor", "--json") == 0
    assert run(monkeypatch, "config") == 0
    assert "mainspring.toml:1: [bakery] is not shown" in capsys.readouterr().err
    assert run(monkeypatch, "up") == EXIT_USAGE
    assert "there is no section [bakery]" in capsys.readouterr().err


def test_the_defaults_are_a_file_to_start_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "config", "--defaults") == 0
    (tmp_path / "mainspring.toml").write_text(capsys.readouterr().out)
    assert run(monkeypatch, "config") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["up", "absent.py"], EXIT_START, "mainspring: absent.py: no such file"),
        (["up", "--port", "70000"], EXIT_USAGE, "mainspring: --port: server.port: Expected `int`"),
        (["up", "--role", "work"], EXIT_USAGE, "mainspring: --role: platform.role: work needs Pos"),
        (["up", "--config", "no.toml"], EXIT_USAGE, "mainspring: no.toml: cannot be read"),
        (["audit", "verify", "none.ndjson"], EXIT_START, "mainspring: cannot verify none.ndjson"),
        (["audit", "export", "out"], EXIT_START, "mainspring: no platform has ever run over"),
        (["admin", "key", "x"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "user", "x"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "rotate-keyring"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "rotate-data-keys"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "remove-data-keys"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "new-keyring"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "restored"], EXIT_START, "mainspring: no platform has ever run over "),
        (
            ["doctor", "--data-dir", "typo"],
            EXIT_START,
            "mainspring: no platform has ever run over"
            " typo: say where it is with --data-dir, or start one with mainspring up",
        ),
        (["config", "--data-dir", "typo"], EXIT_START, "mainspring: no platform has ever run over"),
        (["admin", "key"], EXIT_START, "mainspring: say what the key is for"),
        (["admin", "key", "--recover"], EXIT_START, "mainspring: no platform has ever run over "),
        (["admin", "key", "x", "--recover"], EXIT_START, "mainspring: --recover goes with"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    code: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments) == code
    said = capsys.readouterr().err
    assert said.startswith(expected)
    assert said.count("\n") == 1
    assert not Path("typo").exists()


def test_an_unknown_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINSPRING_SERVER__PROT", "1")
    assert run(monkeypatch, "up") == EXIT_USAGE
    assert "did you mean port?" in capsys.readouterr().err


def test_doctor_says_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINSPRING_SERVER__PORT", "0")
    assert run(monkeypatch, "doctor", "--json") == 0
    assert {c["verdict"] for c in json.loads(capsys.readouterr().out)} <= {"ok", "warn"}
    assert run(monkeypatch, "doctor") == 0
    assert "key files" in capsys.readouterr().out


def test_doctor_fails_on_a_database_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINSPRING_SERVER__PORT", "0")
    monkeypatch.setenv("MAINSPRING_DATABASE__URL", "postgresql://127.0.0.1:1/nowhere")
    assert run(monkeypatch, "doctor") == 1
    assert "config" in capsys.readouterr().out


def test_certs_show_ends_with_1_when_a_peer_would_refuse_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "certs", "init", "c", "--trust-domain", "shop.internal") == 0
    assert run(monkeypatch, "certs", "issue", "c", "users", "jobs", "--hours", "1") == 0
    assert run(monkeypatch, "certs", "show", "c") == 0
    assert "renew it now" not in capsys.readouterr().out
    (tmp_path / "c/jobs/tls.key").write_text("half of it")
    assert run(monkeypatch, "certs", "show", "c") == EXIT_FOUND
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("jobs: a file is damaged")
    assert shown[1].startswith("spiffe://shop.internal/users  until ")
    assert run(monkeypatch, "certs", "show", "c", "--json") == EXIT_FOUND
    assert [each["service"] for each in json.loads(capsys.readouterr().out)] == ["jobs", "users"]
    assert run(monkeypatch, "certs", "renew", "c", "users", "--root", "add") == EXIT_USAGE
    assert run(monkeypatch, "certs", "renew", "c", "--root", "drop") == EXIT_START
    assert "the step to take is add, not drop" in capsys.readouterr().err


COMMAND = """
import atexit, sys

class Late:
    def __del__(self):
        print("taken down")

late = Late()
atexit.register(print, "at exit")
sys.argv = ["mainspring", *sys.argv[1:]]
from mainspring.cli import program
program()
"""


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--version"], r"mainspring \S+\nat exit\n", 0),
        (["config", "--app", "none:x"], "at exit\n", 2),
    ],
)
def test_a_command_ends_without_taking_the_interpreter_down(
    arguments: list[str], said: str, code: int, tmp_path: Path
) -> None:
    """A thread of the S3 client or of gRPC that came back to it then aborted the process."""
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert re.fullmatch(said, ended.stdout), ended
    assert ended.returncode == code

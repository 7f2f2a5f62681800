"""Runs the console blocks of a document word for word, and compares what they print.

In a block ``$`` begins a command; a line that ends in a backslash or within quotes goes on in the
next. The lines that follow are what it prints: ``...`` in a line stands for any text, ``...`` alone
for any lines. A block with ``title=NAME`` is a file. ``make up`` and ``mainspring up`` start
beside the shell, on a free port that takes the place of 8080, as another does of 9090, where what
the reader writes listens. All happens in a directory that has ``.venv`` and ``clients`` alone.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mainspring.testing.servers.places import free_ports

ADDRESS = "127.0.0.1:8080"
READERS_PORT = "9090"
DRAIN_S = 30
MARK = "\x1e"

_BLOCK = re.compile(r"^```(\S+)(?: title=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STARTS = re.compile(r"((?:\w+=\S+ )*)(?:make up|\.venv/bin/mainspring up)\b(.*)", re.DOTALL)


@dataclass
class Step:
    """A command and what it prints, or a file (``name``) and its text."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)
    name: str = ""


def steps(text: str) -> Iterator[Step]:
    """Read a document's steps in order."""
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        kind, title, body = block.groups()
        if title:
            yield Step(line, body, name=title)
        elif kind == "console":
            yield from _commands(line, body.splitlines())


def _commands(line: int, lines: list[str]) -> Iterator[Step]:
    step: Step | None = None
    for number, text in enumerate(lines, line + 1):
        if text.startswith("$ "):
            if step is not None:
                yield step
            step = Step(number, text[2:])
        elif step is None:
            raise ValueError(f"line {number}: a console block begins with a command")
        elif not step.expected and _goes_on(step.command):
            step.command += "\n" + text
        else:
            step.expected.append(text)
    if step is not None:
        yield step


def _goes_on(command: str) -> bool:
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:  # no closing quotation
        return True
    return False


def matches(expected: list[str], printed: list[str]) -> bool:
    """Tell whether the printed lines are the expected ones, ``...`` standing for anything."""
    if not expected:
        return not printed
    if expected[0].strip() == "...":
        return any(matches(expected[1:], printed[i:]) for i in range(len(printed) + 1))
    if not printed:
        return False
    pattern = ".*".join(re.escape(part) for part in expected[0].rstrip().split("..."))
    return re.fullmatch(pattern, printed[0].rstrip()) is not None and matches(
        expected[1:], printed[1:]
    )


class Console:
    """A shell in an empty directory with the platform beside it."""

    def __init__(self, directory: Path, shell: str = "bash") -> None:
        self.directory = directory
        (directory / ".venv").symlink_to(sys.prefix)
        (directory / "clients").symlink_to(Path(__file__).parents[2] / "clients")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
        self._environment = environment | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        self._shell = subprocess.Popen(
            [shell],
            cwd=directory,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._server: subprocess.Popen[str] | None = None
        self.address = ADDRESS
        self._readers_port = str(free_ports(1)[0])

    def run(self, step: Step) -> list[str]:
        """Do one step; return what it printed, with a last line when it failed."""
        if step.name:
            file = self.directory / step.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._here(step.command))
            return []
        if starts := _STARTS.fullmatch(step.command):
            return self._start(starts[1], starts[2])
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{self._here(step.command)}\nprintf '{MARK}%s\\n' \"$?\"\n")
        self._shell.stdin.flush()
        return self._printed()

    def _here(self, text: str) -> str:
        """Put the ports of this run in the place of the document's."""
        return text.replace(ADDRESS, self.address).replace(READERS_PORT, self._readers_port)

    def _printed(self) -> list[str]:
        assert self._shell.stdout is not None
        printed = ""
        for line in self._shell.stdout:
            text, mark, code = line.partition(MARK)
            printed += text
            if mark:
                break
        else:
            code = "the shell is gone"
        printed = printed.replace(self._readers_port, READERS_PORT)
        lines = printed.replace(self.address, ADDRESS).splitlines()
        return lines if code.strip() == "0" else [*lines, f"exit code {code.strip()}"]

    def _start(self, variables: str, arguments: str) -> list[str]:
        self._stop()
        self._server = subprocess.Popen(
            ["bash", "-c", f"{variables}exec .venv/bin/mainspring up --port 0{arguments}"],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self.directory / ".server.log").open("w"),
            text=True,
        )
        assert self._server.stdout is not None
        first = self._server.stdout.readline()
        found = re.search(r"https?://(\S+)", first)
        if found is None:
            raise AssertionError(first + (self.directory / ".server.log").read_text())
        self.address = found[1]
        return [first.rstrip().replace(self.address, ADDRESS)]

    def _stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            assert self._server.wait(DRAIN_S) == 0
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._server = None

    def close(self) -> None:
        """Drain the platform and leave the shell."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.wait(DRAIN_S)
        self._shell.stdout.close()
        self._stop()

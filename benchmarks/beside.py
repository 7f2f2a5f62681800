"""Where the server and the load run, and how a module is run as the load: told by a plan."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

P = TypeVar("P", bound=msgspec.Struct)
T = TypeVar("T")


class Placement(NamedTuple):
    """Which cores the server and the load may use; None is all of them."""

    server: int | None
    load: int | None


PINNED = Placement(0, 1)
FREE = Placement(None, None)


def on(core: int | None, *command: str) -> list[str]:
    """Return the command that runs another one on a core."""
    return [*command] if core is None else ["taskset", "-c", str(core), *command]


def run_beside(
    module: str, plan: msgspec.Struct, kind: type[T], placement: Placement = PINNED
) -> T:
    """Run a module with a plan in a process of its own, and return what it found."""
    with tempfile.NamedTemporaryFile(suffix=".plan") as file:
        file.write(msgspec.msgpack.encode(plan))
        file.flush()
        said = subprocess.run(
            on(placement.load, sys.executable, "-m", module, file.name),
            stdout=subprocess.PIPE,
            check=True,
        )
    return msgspec.json.decode(said.stdout, type=kind)


def answer_plan(kind: type[P], carry_out: Callable[[P], object]) -> None:
    """Be such a module: read the plan from the file it is given, write what is found."""
    plan = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=kind)
    sys.stdout.buffer.write(msgspec.json.encode(carry_out(plan)))

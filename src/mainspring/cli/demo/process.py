"""Runs ``mainspring`` as its own process, the way a user would: ``up`` and single commands."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from mainspring.cli.instance_file import Running
from mainspring.ports.database import StartError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
LOG_NAME = "platform.log"


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with only these settings of Mainspring's in it.

    And a platform of one process, unless they say otherwise.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    given = {"platform__workers": "1", **settings}
    return {**kept, **{f"MAINSPRING_{name.upper()}": value for name, value in given.items()}}


@asynccontextmanager
async def platform(folder: Path, app: str, environ: Mapping[str, str]) -> AsyncIterator[Running]:
    """Start ``mainspring up`` over a directory, yield where it listens, and drain it at the end.

    Raises StartError with its last words when it does not start or does not stop with 0.
    """
    with (folder / LOG_NAME).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mainspring", "up", app, "--port", "0", "--json",
            "--data-dir", str(folder / "data"),
            env=environ, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        yield await _announced(process, folder)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        raise StartError(f"the platform ended with {process.returncode}: {_last_words(folder)}")


async def _announced(process: asyncio.subprocess.Process, folder: Path) -> Running:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise StartError(f"the platform was not up within {START_TIMEOUT_S:g} s") from None
    try:
        return msgspec.json.decode(line, type=Running)
    except msgspec.MsgspecError:
        await process.wait()
        raise StartError(f"the platform did not start: {_last_words(folder)}") from None


def _last_words(folder: Path) -> str:
    lines = (folder / LOG_NAME).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


async def run(*arguments: str, environ: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run one command of ``mainspring`` to its end; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainspring", *arguments,
        env=environ, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode(errors="replace").strip()

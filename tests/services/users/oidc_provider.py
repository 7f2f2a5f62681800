"""npm's oidc-provider, an issuer that nobody here wrote: ``async with oidc_provider(callback)``."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.deadline import DEADLINE_S
from tests.services.users.issuer import CLIENT, SECRET

SCRIPT = Path(__file__).with_name("oidc_provider.mjs")
MODULES = Path(os.environ.get("NODE_PATH", "node_modules"))
ABSENT = (
    ""
    if shutil.which("node") and (MODULES / "oidc-provider").is_dir()
    else "no node, or no oidc-provider in NODE_PATH: npm install oidc-provider"
)


@contextlib.asynccontextmanager
async def oidc_provider(callback: str) -> AsyncIterator[str]:
    """Start one that sends browsers back to ``callback``; yield the issuer."""
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(MODULES.resolve()), callback, CLIENT, SECRET,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
        assert line.startswith(b"http://"), "oidc-provider did not start"
        yield line.decode().strip()
    finally:
        process.kill()
        await process.wait()

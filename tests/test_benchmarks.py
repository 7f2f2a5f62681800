"""Each area of the benchmarks still runs, at a size at which its figures say nothing."""

import asyncio
import os
import sys

import pytest

from mainspring.testing.servers import kafka_jars

PATIENCE_S = 120.0
NEEDS_KAFKA = pytest.mark.skipif(
    kafka_jars() is None, reason="no Kafka here: make .tools/kafka/.ready fetches it"
)


@pytest.mark.more
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="the server has one core, the load another")
@pytest.mark.parametrize(
    ("area", "said"),
    [
        ("live", "create to follower"),
        ("mixed", "80/20 at a fixed rate"),
        ("stalls", "stalls of the event loop"),
        ("growth", "bytes of a create"),
        ("rules", "under rules"),
        ("share", "asyncpg"),
        ("blobs", "bare obstore"),
        ("redis", "leased in slices"),
        ("split", "through a gateway and an owner"),
        ("crew", "processes of one platform"),
        pytest.param("kafka", "bare client", marks=NEEDS_KAFKA),
        ("agents", "MCP: create"),
    ],
)
async def test_an_area_runs(area: str, said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", "--only", area, "--tiny",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert said in out.decode()

"""The loop that a server runs on."""

import gc
from collections.abc import Iterator

import msgspec
import pytest

from mainspring.cli.loop import serve_loop

ARRAYS = 500_000


@pytest.fixture
def threshold() -> Iterator[None]:
    """Leave the collector of this process as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("threshold")
def test_a_body_of_small_arrays_is_read_without_looking_for_cycles_all_the_time() -> None:
    collections: list[int] = []

    async def main() -> None:
        before = sum(generation["collections"] for generation in gc.get_stats())
        read = msgspec.json.decode(b"[" + b"[]," * ARRAYS + b"1]")
        after = sum(generation["collections"] for generation in gc.get_stats())
        assert len(read) == ARRAYS + 1
        collections.append(after - before)

    serve_loop(main())
    assert collections[0] <= 60  # it was 700

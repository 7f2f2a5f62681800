"""What every ``Database`` must do. Run each of ``CHECKS`` on a fresh database.

    @pytest.fixture
    async def fresh():
        async with opener(lambda: MyDatabase("url of a fresh database")) as fresh:
            yield fresh

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_database(check, fresh):
        await check(fresh)

``fresh`` is an ``Opener``: it opens the one database of this test, and again after it was closed.
"""

from collections.abc import Awaitable, Callable

from mainspring.testing.conformance.database import calls, concurrency, lifecycle, pages
from mainspring.testing.conformance.database.fixtures import Opener, opener

__all__ = ["CHECKS", "Opener", "opener"]

CHECKS: tuple[Callable[[Opener], Awaitable[None]], ...] = tuple(
    check
    for room in (calls, concurrency, lifecycle, pages)
    for name, check in vars(room).items()
    if name.startswith("check_")
)

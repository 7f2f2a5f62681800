"""The end of a connection whose caller has gone in the middle of a statement."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

CANCEL_S = 5.0  # for the server to hear that nobody waits for its answer

_leaving: set[asyncio.Task[None]] = set()  # each holds a place of its pool, so there are few


def leave(connection: Any, then: Callable[[Any], None]) -> None:
    """Have the statement cancelled, as the driver asks for beside the connection; ``then`` drop it.

    Cut at once, the server would go on with the statement for nobody, up to its time limit.
    """
    task = asyncio.ensure_future(_leave(connection, then))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _leave(connection: Any, then: Callable[[Any], None]) -> None:
    try:
        await connection.close(timeout=CANCEL_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        structlog.get_logger().debug("statement_not_cancelled", error=repr(error))
    finally:
        then(connection)

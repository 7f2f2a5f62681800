"""How whoever listens is called: what a listener raises ends nobody's work but its own."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger()


def is_cancelled() -> bool:
    """Tell whether somebody cancelled this task; a CancelledError alone may be the task's own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a handler inside a transaction runs on the writer's thread
        return False
    return task is not None and task.cancelling() > 0


def described(error: BaseException) -> str:
    """Name an error and say what it says, whatever its own text does."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException as broken:  # noqa: BLE001 - user code too, and said
        return f"{name} (its text cannot be shown: {type(broken).__name__})"


def tell(listener: Callable[..., object], *told: object) -> None:
    """Call a listener; what it raises is logged and reaches nobody else."""
    try:
        listener(*told)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        log.exception("listener_failed", listener=getattr(listener, "__qualname__", "listener"))

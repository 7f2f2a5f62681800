"""A request as REST reads it and its owner validates it, without a socket."""

from collections.abc import Sequence
from typing import Any

from mainspring.interfaces.rest.arguments import ArgumentReader
from mainspring.kernel.operation import Operation
from mainspring.runtime.invoke.validate import Inputs


class Requests:
    """Reads the requests of one operation."""

    def __init__(self, operation: Operation) -> None:
        self._reader = ArgumentReader(operation)
        self._inputs = Inputs(operation)

    def read(
        self, path: Sequence[str], query: bytes, body: bytes, media_type: str | None,
        resume_after: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the handler's arguments."""
        arguments = self._reader.read(path, query, body, media_type)
        return self._inputs.read(arguments, resume_after)

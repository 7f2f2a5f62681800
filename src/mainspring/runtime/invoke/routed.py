"""Calls by the service they are of: to the owner in this process, or to one in another."""

from collections.abc import AsyncIterator, Collection, Mapping

from mainspring.kernel.errors import Unavailable
from mainspring.kernel.invocation import FilePart, Invocation, Invoker, Opened, Outcome
from mainspring.kernel.recipient import Recipient

REST = "*"  # every service that is not named


class RoutedInvoker:
    """An ``Invoker`` in front of others: ``own`` has the services of ``owns``."""

    def __init__(
        self, own: Invoker | None, owns: Collection[str], peers: Mapping[str, Invoker]
    ) -> None:
        self._own, self._owns, self._peers = own, frozenset(owns), peers

    def _owner(self, invocation: Invocation) -> Invoker:
        """Return who owns the operation. Raises Unavailable where nobody says."""
        service = invocation.operation.partition(".")[0]
        if self._own is not None and service in self._owns:
            return self._own
        peer = self._peers.get(service) or self._peers.get(REST)
        if peer is None:
            raise Unavailable(f"no process of the service {service} is named in [peers] services")
        return peer

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Call a unary operation."""
        return await self._owner(invocation).invoke(invocation)

    async def upload(self, invocation: Invocation, chunks: AsyncIterator[bytes]) -> Outcome:
        """Call an upload."""
        return await self._owner(invocation).upload(invocation, chunks)

    async def receive(self, invocation: Invocation, files: AsyncIterator[FilePart]) -> Outcome:
        """Call a unary operation that takes files."""
        return await self._owner(invocation).receive(invocation, files)

    async def open(self, invocation: Invocation, recipient: Recipient | None = None) -> Opened:
        """Call a raw operation or open a stream."""
        return await self._owner(invocation).open(invocation, recipient)

"""The operations of audit. Made of the declarations by ``make clients``: edit those."""

from collections.abc import AsyncIterator

from mainspring.client.async_client import AsyncClient, AsyncPages
from mainspring.services.audit.api import (
    AuditEntry,
    CheckpointView,
    ConsistencyProof,
    InclusionProof,
)


class AsyncAudit:
    """The operations of audit."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def export_log(self) -> AsyncIterator[bytes]:
        """Stream the whole log with its proofs, for the offline verifier (``mainspring audit verify``)."""
        return self._client.download("/v1/audit/export", {}, {})

    async def get_checkpoint(self) -> CheckpointView:
        """Return a signed checkpoint of the log, at most a second old."""
        return await self._client.send("GET", "/v1/audit/checkpoint", {}, CheckpointView)

    async def get_consistency_proof(
        self, *, first: int, second: int | None = None
    ) -> ConsistencyProof:
        """Prove that the log at one size begins with the log at a smaller one."""
        return await self._client.send(
            "GET",
            "/v1/audit/consistency",
            {},
            ConsistencyProof,
            query={"first": first, "second": second},
        )

    async def get_inclusion_proof(
        self, event_id: str, *, size: int | None = None
    ) -> InclusionProof:
        """Prove that an event is in the log."""
        return await self._client.send(
            "GET",
            "/v1/audit/proofs/{event_id}",
            {"event_id": event_id},
            InclusionProof,
            query={"size": size},
        )

    def list_entries(
        self, *, limit: int | None = None, type: str | None = None
    ) -> AsyncPages[AuditEntry]:
        """List events in the order of the log, as they were hashed."""
        return self._client.pages(
            "/v1/audit/entries", {}, AuditEntry, {"limit": limit, "type": type}
        )

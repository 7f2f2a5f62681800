"""The operations of audit. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Iterator

from mainspring.client.client import Client, Pages
from mainspring.services.audit.api import (
    AuditEntry,
    CheckpointView,
    ConsistencyProof,
    InclusionProof,
)


class Audit:
    """The operations of audit."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def export_log(self) -> Iterator[bytes]:
        """Stream the whole log with its proofs, for the offline verifier (``mainspring audit verify``).

        One JSON value a line: header, events byte for byte as they were hashed, milestones, end. Events
        that the caller may not read are withheld: there by their leaves. The download breaks off when
        the caller loses the right to it.

        ``GET /v1/audit/export``
        """
        return self._client.download("/v1/audit/export", {}, {})

    def get_checkpoint(self) -> CheckpointView:
        """Return a signed checkpoint of the log, at most a second old.

        ``GET /v1/audit/checkpoint``
        """
        return self._client.send("GET", "/v1/audit/checkpoint", {}, CheckpointView)

    def get_consistency_proof(self, *, first: int, second: int | None = None) -> ConsistencyProof:
        """Prove that the log at one size begins with the log at a smaller one.

        ``GET /v1/audit/consistency``
        """
        return self._client.send(
            "GET",
            "/v1/audit/consistency",
            {},
            ConsistencyProof,
            query={"first": first, "second": second},
        )

    def get_inclusion_proof(self, event_id: str, *, size: int | None = None) -> InclusionProof:
        """Prove that an event is in the log.

        ``GET /v1/audit/proofs/{event_id}``
        """
        return self._client.send(
            "GET",
            "/v1/audit/proofs/{event_id}",
            {"event_id": event_id},
            InclusionProof,
            query={"size": size},
        )

    def list_entries(
        self, *, limit: int | None = None, type: str | None = None
    ) -> Pages[AuditEntry]:
        """List events in the order of the log, as they were hashed.

        ``audit:read`` shows that something happened: its place, type and hash. What it was is shown to
        callers who may read the event in the feed.

        A page may hold fewer than ``limit`` and still have a ``next_cursor``: one page reads at most
        5,000 events.

        ``GET /v1/audit/entries``
        """
        return self._client.pages(
            "/v1/audit/entries", {}, AuditEntry, {"limit": limit, "type": type}
        )

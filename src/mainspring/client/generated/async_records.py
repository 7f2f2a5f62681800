"""The operations of records. Made of the declarations by ``make clients``: edit those."""

from collections.abc import AsyncIterator, Mapping
from typing import IO, Any, Literal

from mainspring.client.async_client import AsyncClient, AsyncPages
from mainspring.client.core import Record
from mainspring.client.sse import StreamEvent
from mainspring.services.records.api import (
    Batch,
    BatchAnswer,
    Collection,
    CollectionChange,
    NewCollection,
)
from mainspring.services.records.api.direct_uploads import FinishUpload, NewUpload, PendingUpload
from mainspring.services.records.api.documents import (
    DocumentPage,
    FindQuery,
    Pipeline,
    PipelineAnswer,
)
from mainspring.services.records.api.downloads import FileLink, NewFileLink
from mainspring.services.records.api.explanations import RuleExplanation, RuleQuestion
from mainspring.services.records.api.queries import Groups
from mainspring.services.records.api.runs import DeleteMany, Run, UpdateMany
from mainspring.services.records.api.steps import Steps


class AsyncRecords:
    """The operations of records."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def aggregate_documents(
        self, collection: str, pipeline: Pipeline | Mapping[str, Any]
    ) -> PipelineAnswer:
        """Run a pipeline in MongoDB's language over what the caller may see of the records."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:aggregate",
            {"collection": collection},
            PipelineAnswer,
            json=pipeline,
        )

    async def aggregate(
        self,
        collection: str,
        *,
        filter: str | None = None,
        group: str | None = None,
        sum: str | None = None,
        avg: str | None = None,
        min: str | None = None,
        max: str | None = None,
    ) -> Groups:
        """Count, sum and group. Reads every record that passes, under the budget of a scan."""
        return await self._client.send(
            "GET",
            "/v1/collections/{collection}/records:aggregate",
            {"collection": collection},
            Groups,
            query={
                "filter": filter,
                "group": group,
                "sum": sum,
                "avg": avg,
                "min": min,
                "max": max,
            },
        )

    async def batch(
        self,
        collection: str,
        batch: Batch | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> BatchAnswer:
        """Create, update, upsert and delete up to 1,000 records: all of them, or none."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:batch",
            {"collection": collection},
            BatchAnswer,
            json=batch,
            idempotency_key=idempotency_key,
        )

    async def batch_steps(
        self, batch: Steps | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BatchAnswer:
        """Create, update, upsert and delete up to 1,000 records of any collections: all, or none."""
        return await self._client.send(
            "POST",
            "/v1/records:batch",
            {},
            BatchAnswer,
            json=batch,
            idempotency_key=idempotency_key,
        )

    async def begin_upload(
        self,
        collection: str,
        record_id: str,
        field: str,
        new: NewUpload | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> PendingUpload:
        """Ask where to send a file for a file field: the store itself, or the platform."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:begin_upload",
            {"collection": collection, "record_id": record_id, "field": field},
            PendingUpload,
            json=new,
            idempotency_key=idempotency_key,
        )

    async def cancel_run(self, id: str, *, idempotency_key: str | None = None) -> Run:
        """End a run after the page that it is at. What it has done stays."""
        return await self._client.send(
            "POST", "/v1/record_runs/{id}:cancel", {"id": id}, Run, idempotency_key=idempotency_key
        )

    async def create_collection(
        self, new: NewCollection | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Collection:
        """Create a collection: its fields, access rules and indexes."""
        return await self._client.send(
            "POST", "/v1/collections", {}, Collection, json=new, idempotency_key=idempotency_key
        )

    async def create(
        self, collection: str, body: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Record:
        """Create a record, with its files where it is sent as a form."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records",
            {"collection": collection},
            Record,
            json=body,
            idempotency_key=idempotency_key,
        )

    async def delete_collection(
        self, name: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete a collection and its records. Refused while another collection points at it."""
        await self._client.send(
            "DELETE",
            "/v1/collections/{name}",
            {"name": name},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete(
        self,
        collection: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete a record."""
        await self._client.send(
            "DELETE",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_records(
        self,
        collection: str,
        many: DeleteMany | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Run:
        """Delete the records that pass a filter, each as by itself: rules, cascades, files, events."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:delete",
            {"collection": collection},
            Run,
            json=many,
            idempotency_key=idempotency_key,
        )

    async def explain_rule(
        self,
        collection: str,
        question: RuleQuestion | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> RuleExplanation:
        """Tell whether a caller may do something, and by which part of which rule. Nothing is done."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:explain",
            {"collection": collection},
            RuleExplanation,
            json=question,
            idempotency_key=idempotency_key,
        )

    def export(
        self,
        collection: str,
        *,
        format: Literal["csv", "ndjson", "json"] | None = None,
        filter: str | None = None,
        fields: str | None = None,
        after: str | None = None,
        escape_formulas: bool | None = None,
    ) -> AsyncIterator[bytes]:
        """Download the records that a list with this filter shows, in the order of their ids."""
        return self._client.download(
            "/v1/collections/{collection}/records:export",
            {"collection": collection},
            {
                "format": format,
                "filter": filter,
                "fields": fields,
                "after": after,
                "escape_formulas": escape_formulas,
            },
        )

    async def find_documents(
        self, collection: str, find: FindQuery | Mapping[str, Any]
    ) -> DocumentPage:
        """Find records in MongoDB's language, where the collection has ``documents``."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:find",
            {"collection": collection},
            DocumentPage,
            json=find,
        )

    async def finish_upload(
        self,
        collection: str,
        record_id: str,
        field: str,
        finish: FinishUpload | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Record:
        """Put what was sent into the file field, as an upload does."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:finish_upload",
            {"collection": collection, "record_id": record_id, "field": field},
            Record,
            json=finish,
            idempotency_key=idempotency_key,
        )

    async def get_collection(self, name: str) -> Collection:
        """Return a collection."""
        return await self._client.send("GET", "/v1/collections/{name}", {"name": name}, Collection)

    def get_file(
        self,
        collection: str,
        record_id: str,
        field: str,
        *,
        download: bool | None = None,
        thumb: str | None = None,
        file: str | None = None,
        redirect: bool | None = None,
    ) -> AsyncIterator[bytes]:
        """Download the file of a record, or a range of it, to whoever may view the record."""
        return self._client.download(
            "/v1/collections/{collection}/records/{record_id}/files/{field}",
            {"collection": collection, "record_id": record_id, "field": field},
            {"download": download, "thumb": thumb, "file": file, "redirect": redirect},
        )

    def get_linked_file(self, token: str) -> AsyncIterator[bytes]:
        """Download the file that a link stands for, or a range of it."""
        return self._client.download("/v1/linked_files/{token}", {"token": token}, {})

    async def get(
        self, collection: str, id: str, *, fields: str | None = None, expand: str | None = None
    ) -> Record:
        """Return a record. One that the caller may not see is not found."""
        return await self._client.send(
            "GET",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            Record,
            query={"fields": fields, "expand": expand},
        )

    async def get_run(self, id: str) -> Run:
        """Tell how far a run has come, to whoever started it and to those with ``records:write``."""
        return await self._client.send("GET", "/v1/record_runs/{id}", {"id": id}, Run)

    def get_run_report(
        self, run_id: str, *, format: Literal["csv", "ndjson"] | None = None
    ) -> AsyncIterator[bytes]:
        """Download what could not be done, line by line: the first 100,000, as far as it has come."""
        return self._client.download(
            "/v1/record_runs/{run_id}/errors", {"run_id": run_id}, {"format": format}
        )

    async def import_records(
        self,
        collection: str,
        file: IO[bytes] | bytes,
        *,
        format: Literal["csv", "ndjson", "json"],
        by: str | None = None,
        media_type: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Create the records of a file, or upsert them ``by`` a unique field or ``id``, by a run."""
        return await self._client.upload(
            "POST",
            "/v1/collections/{collection}/records:import",
            {"collection": collection},
            Run,
            file,
            query={"format": format, "by": by},
            media_type=media_type,
            filename=filename,
            idempotency_key=idempotency_key,
        )

    async def link_file(
        self,
        collection: str,
        record_id: str,
        field: str,
        new: NewFileLink | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> FileLink:
        """Make a link to a file that needs no credentials, and holds for a while."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:link",
            {"collection": collection, "record_id": record_id, "field": field},
            FileLink,
            json=new,
            idempotency_key=idempotency_key,
        )

    def list_collections(self, *, limit: int | None = None) -> AsyncPages[Collection]:
        """List the collections, by name."""
        return self._client.pages("/v1/collections", {}, Collection, {"limit": limit})

    def list(
        self,
        collection: str,
        *,
        limit: int | None = None,
        filter: str | None = None,
        sort: str | None = None,
        fields: str | None = None,
        expand: str | None = None,
        total: Literal["exact", "estimate"] | None = None,
        q: str | None = None,
    ) -> AsyncPages[Record]:
        """List the records that pass the filter and that the caller may see."""
        return self._client.pages(
            "/v1/collections/{collection}/records",
            {"collection": collection},
            Record,
            {
                "limit": limit,
                "filter": filter,
                "sort": sort,
                "fields": fields,
                "expand": expand,
                "total": total,
                "q": q,
            },
        )

    def list_runs(
        self,
        *,
        limit: int | None = None,
        state: Literal["running", "done", "failed", "cancelled"] | None = None,
        collection: str | None = None,
    ) -> AsyncPages[Run]:
        """List the caller's runs, newest first; with ``records:write`` those of all."""
        return self._client.pages(
            "/v1/record_runs", {}, Run, {"limit": limit, "state": state, "collection": collection}
        )

    async def replace(
        self,
        collection: str,
        id: str,
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Replace every field; one that is left out gets its default, or null. Judged as a PATCH is."""
        return await self._client.send(
            "PUT",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            Record,
            json=body,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def stream(
        self,
        collection: str,
        id: str,
        *,
        after: str | None = None,
        fields: str | None = None,
        expand: str | None = None,
    ) -> AsyncIterator[StreamEvent]:
        """Follow one record that the caller may view, live. Items are those of ``records:stream``."""
        return self._client.follow(
            "/v1/collections/{collection}/records/{id}:stream",
            {"collection": collection, "id": id},
            {"after": after, "fields": fields, "expand": expand},
        )

    def stream_records(
        self,
        collection: str,
        *,
        after: str | None = None,
        fields: str | None = None,
        expand: str | None = None,
        filter: str | None = None,
    ) -> AsyncIterator[StreamEvent]:
        """Follow the records that a list with this filter holds for the caller, live."""
        return self._client.follow(
            "/v1/collections/{collection}/records:stream",
            {"collection": collection},
            {"after": after, "fields": fields, "expand": expand, "filter": filter},
        )

    async def update_collection(
        self,
        name: str,
        change: CollectionChange | Mapping[str, Any],
        *,
        confirm: str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Collection | None:
        """Change fields, rules or indexes; what is left out stays."""
        return await self._client.send(
            "PATCH",
            "/v1/collections/{name}",
            {"name": name},
            Collection,
            query={"confirm": confirm},
            json=change,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update(
        self,
        collection: str,
        id: str,
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Change the fields that are sent (RFC 7396); null empties one that may be empty."""
        return await self._client.send(
            "PATCH",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            Record,
            json=body,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_records(
        self,
        collection: str,
        many: UpdateMany | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Run:
        """Change the records that pass a filter, each as a PATCH with ``set`` would. As a deletion."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:update",
            {"collection": collection},
            Run,
            json=many,
            idempotency_key=idempotency_key,
        )

    async def upload_file(
        self,
        collection: str,
        record_id: str,
        field: str,
        file: IO[bytes] | bytes,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Put a file into a file field, in the place of the one that was there."""
        return await self._client.upload(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}",
            {"collection": collection, "record_id": record_id, "field": field},
            Record,
            file,
            media_type=media_type,
            filename=filename,
            idempotency_key=idempotency_key,
        )

    async def upload_pending_file(
        self,
        token: str,
        file: IO[bytes] | bytes,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Send the file of an upload that was begun, where the platform is the store."""
        await self._client.upload(
            "PUT",
            "/v1/pending_uploads/{token}",
            {"token": token},
            None,
            file,
            media_type=media_type,
            filename=filename,
            idempotency_key=idempotency_key,
        )

    async def upsert(
        self,
        collection: str,
        body: Mapping[str, Any],
        *,
        by: str,
        idempotency_key: str | None = None,
    ) -> Record:
        """Create a record, or change the one that has the same value in a unique field."""
        return await self._client.send(
            "POST",
            "/v1/collections/{collection}/records:upsert",
            {"collection": collection},
            Record,
            query={"by": by},
            json=body,
            idempotency_key=idempotency_key,
        )

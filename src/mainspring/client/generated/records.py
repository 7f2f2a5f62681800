"""The operations of records. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

from mainspring.client.client import Client, Pages
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


class Records:
    """The operations of records."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def aggregate_documents(
        self, collection: str, pipeline: Pipeline | Mapping[str, Any]
    ) -> PipelineAnswer:
        """Run a pipeline in MongoDB's language over what the caller may see of the records.

        It reads what the first ``$match`` leaves, up to 10,000 records or 16 MiB: more is 422.

        ``POST /v1/collections/{collection}/records:aggregate``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:aggregate",
            {"collection": collection},
            PipelineAnswer,
            json=pipeline,
        )

    def aggregate(
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
        """Count, sum and group. Reads every record that passes, under the budget of a scan.

        ``GET /v1/collections/{collection}/records:aggregate``
        """
        return self._client.send(
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

    def batch(
        self,
        collection: str,
        batch: Batch | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> BatchAnswer:
        """Create, update, upsert and delete up to 1,000 records: all of them, or none.

        The body has at most 8 MiB, and so have the records together that it changes. A unique value
        may go from one record to another: what counts is how they are after all of it. Each is judged
        by itself; one that the caller may not view is answered with null.

        ``POST /v1/collections/{collection}/records:batch``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:batch",
            {"collection": collection},
            BatchAnswer,
            json=batch,
            idempotency_key=idempotency_key,
        )

    def batch_steps(
        self, batch: Steps | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BatchAnswer:
        """Create, update, upsert and delete up to 1,000 records of any collections: all, or none.

        Each step is judged as if it were made alone after the earlier ones: its rules see the rows of
        those. What is wrong names its step. What the caller may not view is answered with null.

        ``POST /v1/records:batch``
        """
        return self._client.send(
            "POST",
            "/v1/records:batch",
            {},
            BatchAnswer,
            json=batch,
            idempotency_key=idempotency_key,
        )

    def begin_upload(
        self,
        collection: str,
        record_id: str,
        field: str,
        new: NewUpload | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> PendingUpload:
        """Ask where to send a file for a file field: the store itself, or the platform.

        Refused to those who may not change the field, and where the file would be too large. Until it
        is finished no record has it.

        ``POST /v1/collections/{collection}/records/{record_id}/files/{field}:begin_upload``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:begin_upload",
            {"collection": collection, "record_id": record_id, "field": field},
            PendingUpload,
            json=new,
            idempotency_key=idempotency_key,
        )

    def cancel_run(self, id: str, *, idempotency_key: str | None = None) -> Run:
        """End a run after the page that it is at. What it has done stays.

        ``POST /v1/record_runs/{id}:cancel``
        """
        return self._client.send(
            "POST", "/v1/record_runs/{id}:cancel", {"id": id}, Run, idempotency_key=idempotency_key
        )

    def create_collection(
        self, new: NewCollection | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Collection:
        """Create a collection: its fields, access rules and indexes.

        ``POST /v1/collections``
        """
        return self._client.send(
            "POST", "/v1/collections", {}, Collection, json=new, idempotency_key=idempotency_key
        )

    def create(
        self, collection: str, body: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Record:
        """Create a record, with its files where it is sent as a form.

        The collection's schema says what it holds. Callers without the scope ``records:write`` need a
        create rule that lets this record in. ``Location`` names it, and who may view it is shown it.

        ``id`` may be chosen: ``rec_`` and a UUIDv7, as TypeIDs are written. Its moment becomes
        ``created_at``. One that a record has, or has had, is 409.

        ``POST /v1/collections/{collection}/records``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records",
            {"collection": collection},
            Record,
            json=body,
            idempotency_key=idempotency_key,
        )

    def delete_collection(
        self, name: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete a collection and its records. Refused while another collection points at it.

        ``DELETE /v1/collections/{name}``
        """
        self._client.send(
            "DELETE",
            "/v1/collections/{name}",
            {"name": name},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete(
        self,
        collection: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete a record.

        What points at it goes with it, lets go of it, or keeps it, as its relation's ``on_delete`` says
        (``restrict`` where it says nothing): all in one commit, of up to 1,000 records.

        ``DELETE /v1/collections/{collection}/records/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_records(
        self,
        collection: str,
        many: DeleteMany | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Run:
        """Delete the records that pass a filter, each as by itself: rules, cascades, files, events.

        Of those that the caller may list, the ones that they may delete; the others are ``skipped``. Up
        to 500 are deleted in one commit, all or none. More take a run (202): see ``get_run``.

        ``POST /v1/collections/{collection}/records:delete``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:delete",
            {"collection": collection},
            Run,
            json=many,
            idempotency_key=idempotency_key,
        )

    def explain_rule(
        self,
        collection: str,
        question: RuleQuestion | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> RuleExplanation:
        """Tell whether a caller may do something, and by which part of which rule. Nothing is done.

        It shows what the rules ask of any record, caller and related record: whoever may change rules
        can find out all of that with it.

        ``POST /v1/collections/{collection}/records:explain``
        """
        return self._client.send(
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
    ) -> Iterator[bytes]:
        """Download the records that a list with this filter shows, in the order of their ids.

        It is written page by page, by the rules of the moment, however many they are. One that is cut
        off goes on with ``after``.

        ``GET /v1/collections/{collection}/records:export``
        """
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

    def find_documents(self, collection: str, find: FindQuery | Mapping[str, Any]) -> DocumentPage:
        """Find records in MongoDB's language, where the collection has ``documents``.

        Each is a document as the caller may see it, its ``_id`` beside its ``id``. In the order of the
        ids a page begins after ``cursor``, and one that looked at 10,000 records ends early. A sort
        reads all that pass: where they are more than 10,000, or 16 MiB, it is 422.

        ``POST /v1/collections/{collection}/records:find``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:find",
            {"collection": collection},
            DocumentPage,
            json=find,
        )

    def finish_upload(
        self,
        collection: str,
        record_id: str,
        field: str,
        finish: FinishUpload | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Record:
        """Put what was sent into the file field, as an upload does.

        Only whoever began it may, once, while they may change the field. Size and checksum are
        compared with what was announced, and its first bytes say what it is.

        ``POST /v1/collections/{collection}/records/{record_id}/files/{field}:finish_upload``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:finish_upload",
            {"collection": collection, "record_id": record_id, "field": field},
            Record,
            json=finish,
            idempotency_key=idempotency_key,
        )

    def get_collection(self, name: str) -> Collection:
        """Return a collection.

        ``GET /v1/collections/{name}``
        """
        return self._client.send("GET", "/v1/collections/{name}", {"name": name}, Collection)

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
    ) -> Iterator[bytes]:
        """Download the file of a record, or a range of it, to whoever may view the record.

        It is an attachment, or shown where its field is ``inline`` and a browser can show it safely.

        ``GET /v1/collections/{collection}/records/{record_id}/files/{field}``
        """
        return self._client.download(
            "/v1/collections/{collection}/records/{record_id}/files/{field}",
            {"collection": collection, "record_id": record_id, "field": field},
            {"download": download, "thumb": thumb, "file": file, "redirect": redirect},
        )

    def get_linked_file(self, token: str) -> Iterator[bytes]:
        """Download the file that a link stands for, or a range of it.

        ``GET /v1/linked_files/{token}``
        """
        return self._client.download("/v1/linked_files/{token}", {"token": token}, {})

    def get(
        self, collection: str, id: str, *, fields: str | None = None, expand: str | None = None
    ) -> Record:
        """Return a record. One that the caller may not see is not found.

        ``GET /v1/collections/{collection}/records/{id}``
        """
        return self._client.send(
            "GET",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            Record,
            query={"fields": fields, "expand": expand},
        )

    def get_run(self, id: str) -> Run:
        """Tell how far a run has come, to whoever started it and to those with ``records:write``.

        ``GET /v1/record_runs/{id}``
        """
        return self._client.send("GET", "/v1/record_runs/{id}", {"id": id}, Run)

    def get_run_report(
        self, run_id: str, *, format: Literal["csv", "ndjson"] | None = None
    ) -> Iterator[bytes]:
        """Download what could not be done, line by line: the first 100,000, as far as it has come.

        For whoever may see the run, and as long as that is kept.

        ``GET /v1/record_runs/{run_id}/errors``
        """
        return self._client.download(
            "/v1/record_runs/{run_id}/errors", {"run_id": run_id}, {"format": format}
        )

    def import_records(
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
        """Create the records of a file, or upsert them ``by`` a unique field or ``id``, by a run.

        Each is judged as a call of its own; what keeps one from being written is told with its line.

        ``POST /v1/collections/{collection}/records:import``
        """
        return self._client.upload(
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

    def link_file(
        self,
        collection: str,
        record_id: str,
        field: str,
        new: NewFileLink | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> FileLink:
        """Make a link to a file that needs no credentials, and holds for a while.

        Whoever follows it sees what its maker may see then. It ends with the file, and with its
        maker's rights.

        ``POST /v1/collections/{collection}/records/{record_id}/files/{field}:link``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}:link",
            {"collection": collection, "record_id": record_id, "field": field},
            FileLink,
            json=new,
            idempotency_key=idempotency_key,
        )

    def list_collections(self, *, limit: int | None = None) -> Pages[Collection]:
        """List the collections, by name.

        ``GET /v1/collections``
        """
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
    ) -> Pages[Record]:
        """List the records that pass the filter and that the caller may see.

        ``total=exact`` counts all of them under the budget of a scan, ``estimate`` up to 10,000.

        A filter or order that no index covers is scanned for under a budget, and refused with
        ``filter_needs_index`` and what would help when it goes over: an index, or a smaller range.

        ``q`` finds those that have all of its words in fields with ``search``, the best first; with
        ``sort=-id``, and for who may not see every record, the newest first. What was written before
        the call is found.

        ``GET /v1/collections/{collection}/records``
        """
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
    ) -> Pages[Run]:
        """List the caller's runs, newest first; with ``records:write`` those of all.

        ``GET /v1/record_runs``
        """
        return self._client.pages(
            "/v1/record_runs", {}, Run, {"limit": limit, "state": state, "collection": collection}
        )

    def replace(
        self,
        collection: str,
        id: str,
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Replace every field; one that is left out gets its default, or null. Judged as a PATCH is.

        Files stay where they are neither sent, in a form, nor emptied.

        ``PUT /v1/collections/{collection}/records/{id}``
        """
        return self._client.send(
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
    ) -> Iterator[StreamEvent]:
        """Follow one record that the caller may view, live. Items are those of ``records:stream``.

        ``GET /v1/collections/{collection}/records/{id}:stream``
        """
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
    ) -> Iterator[StreamEvent]:
        """Follow the records that a list with this filter holds for the caller, live.

        Each item says that a record was ``added`` to them, ``changed`` or ``removed``, whichever way
        that came about. ``position``, its id, resumes after it, as ``Last-Event-ID`` or ``after``; a
        list answers ``Stream-Position``, from which nothing is missed. The list's rules are asked anew
        for each change. When what the caller may see changes as a whole, an item of kind ``end`` says
        so: read the list again.

        ``GET /v1/collections/{collection}/records:stream``
        """
        return self._client.follow(
            "/v1/collections/{collection}/records:stream",
            {"collection": collection},
            {"after": after, "fields": fields, "expand": expand, "filter": filter},
        )

    def update_collection(
        self,
        name: str,
        change: CollectionChange | Mapping[str, Any],
        *,
        confirm: str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Collection | None:
        """Change fields, rules or indexes; what is left out stays.

        The collection is answered to those who may read collections, others hear 204.

        Records that are stored are brought to the new schema in the background, and read under it at
        once. Refused, with the reason, when what is stored does not allow it. A field that is left out
        of ``fields`` is removed: while records have a value in it, only where ``confirm`` names it.

        ``PATCH /v1/collections/{name}``
        """
        return self._client.send(
            "PATCH",
            "/v1/collections/{name}",
            {"name": name},
            Collection,
            query={"confirm": confirm},
            json=change,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update(
        self,
        collection: str,
        id: str,
        body: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Change the fields that are sent (RFC 7396); null empties one that may be empty.

        ``$add`` adds to numbers, ``$append`` to lists in json fields, ``$remove`` takes values out of
        them: ``{"$add": {"stock": -1}}``. Each counts from what the record holds at the commit.

        An update rule must hold for the record as it is and as it becomes. Who may not view what it
        becomes is answered 204.

        ``PATCH /v1/collections/{collection}/records/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/collections/{collection}/records/{id}",
            {"collection": collection, "id": id},
            Record,
            json=body,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_records(
        self,
        collection: str,
        many: UpdateMany | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Run:
        """Change the records that pass a filter, each as a PATCH with ``set`` would. As a deletion.

        ``POST /v1/collections/{collection}/records:update``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:update",
            {"collection": collection},
            Run,
            json=many,
            idempotency_key=idempotency_key,
        )

    def upload_file(
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
        """Put a file into a file field, in the place of the one that was there.

        The body is the file itself; ``Content-Disposition`` may name it. It takes what an update takes,
        and ``request.changes`` holds the field's name. Its media type is read from its first bytes; the
        ``Content-Type`` counts where they do not tell.

        ``POST /v1/collections/{collection}/records/{record_id}/files/{field}``
        """
        return self._client.upload(
            "POST",
            "/v1/collections/{collection}/records/{record_id}/files/{field}",
            {"collection": collection, "record_id": record_id, "field": field},
            Record,
            file,
            media_type=media_type,
            filename=filename,
            idempotency_key=idempotency_key,
        )

    def upload_pending_file(
        self,
        token: str,
        file: IO[bytes] | bytes,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Send the file of an upload that was begun, where the platform is the store.

        Whoever has the address may send what was announced, and nothing else.

        ``PUT /v1/pending_uploads/{token}``
        """
        self._client.upload(
            "PUT",
            "/v1/pending_uploads/{token}",
            {"token": token},
            None,
            file,
            media_type=media_type,
            filename=filename,
            idempotency_key=idempotency_key,
        )

    def upsert(
        self,
        collection: str,
        body: Mapping[str, Any],
        *,
        by: str,
        idempotency_key: str | None = None,
    ) -> Record:
        """Create a record, or change the one that has the same value in a unique field.

        The create rule judges what is created (201), the update rule what is changed (200); fields that
        are not sent stay as they are. A record that the caller may neither view nor change is taken for
        one that is not there, as a create takes it: then the value is taken, or there is no create.

        ``POST /v1/collections/{collection}/records:upsert``
        """
        return self._client.send(
            "POST",
            "/v1/collections/{collection}/records:upsert",
            {"collection": collection},
            Record,
            query={"by": by},
            json=body,
            idempotency_key=idempotency_key,
        )

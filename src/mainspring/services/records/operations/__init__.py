"""Every operation of the service: collections, records and files, lists, groups and streams."""

from mainspring.services.records.operations import (
    aggregates,
    batches,
    collections,
    direct_uploads,
    documents,
    explain,
    exports,
    files,
    imports,
    lists,
    records,
    run_access,
    run_reports,
    runs,
    steps,
    streams,
)

__all__ = [
    "aggregates", "batches", "collections", "direct_uploads", "documents", "explain", "exports",
    "files", "imports", "lists", "records", "run_access", "run_reports", "runs", "steps", "streams",
]  # fmt: skip

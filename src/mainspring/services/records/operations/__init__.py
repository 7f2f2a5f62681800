"""Every operation of the service: on collections, on records and files, on lists and groups."""

from mainspring.services.records.operations import (
    aggregates,
    batches,
    collections,
    explain,
    files,
    lists,
    records,
)

__all__ = ["aggregates", "batches", "collections", "explain", "files", "lists", "records"]

"""Every operation of the service: on collections, on records, on lists and groups of them."""

from mainspring.services.records.operations import aggregates, collections, lists, records

__all__ = ["aggregates", "collections", "lists", "records"]

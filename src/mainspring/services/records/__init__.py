"""Records in collections with a schema: validated, filtered and guarded by rules in CEL.

Owns ``records_collections``, ``records_records``, ``records_links``, ``records_search`` and
``records_documents``. Emits ``records.collection.created``, ``.updated``, ``.deleted`` and
``records.record.created``, ``.updated``, ``.deleted``. Takes ``users.user.deleted``,
``users.organization.deleted`` and its own ``records.record.*``.
"""

from mainspring.services.records.api import service

__all__ = ["service"]

"""The audit trail: every event of a database as a leaf of one append-only Merkle log (RFC 6962).

Owns ``audit_checkpoints``. Emits nothing and consumes nothing: it reads the event log itself.
``export.py`` writes the log for offline use, ``verify.py`` checks what it wrote.
"""

from mainspring.services.audit.api import service

__all__ = ["service"]

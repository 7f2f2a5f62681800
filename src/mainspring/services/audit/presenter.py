"""What callers see of the entries of the log."""

from typing import Any

import msgspec

from mainspring import LogEntry
from mainspring.services.audit.api import AuditEntry


def present_entry(entry: LogEntry, *, shown: bool) -> AuditEntry:
    """Write an entry as callers see one; ``shown`` says whether with the event, byte for byte."""
    # Envelope says what is in these bytes.
    exact: Any = msgspec.Raw(entry.body.encode()) if shown else None
    return AuditEntry(
        entry.seq, entry.seq - 1, entry.id, entry.type, entry.leaf, exact, withheld=not shown
    )

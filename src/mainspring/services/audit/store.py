"""The audit service's table and its SQL."""

import msgspec

from mainspring import Query, Statement, Table


class CheckpointRow(msgspec.Struct, frozen=True):
    """A published checkpoint."""

    size: int
    root: bytes
    time_ms: int
    note: str


CHECKPOINTS = Table("audit_checkpoints", CheckpointRow, key=("size",))

LATEST = Query(
    "audit.latest_checkpoint",
    f"SELECT {CHECKPOINTS.columns} FROM audit_checkpoints ORDER BY size DESC LIMIT 1",
    CHECKPOINTS,
)
OF_SIZE = Query(
    "audit.checkpoint_of_size",
    f"SELECT {CHECKPOINTS.columns} FROM audit_checkpoints WHERE size = :size",
    CHECKPOINTS,
)
FORGET_OLD = Statement(
    "audit.forget_old_checkpoints",
    "DELETE FROM audit_checkpoints WHERE size < ("
    "SELECT size FROM audit_checkpoints ORDER BY size DESC LIMIT 1 OFFSET :kept)",
)
FORGET_ALL = Statement("audit.forget_all_checkpoints", "DELETE FROM audit_checkpoints")

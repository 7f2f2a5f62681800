"""SQL of devices that users logged in from."""

import msgspec

from mainspring import Query, Statement, Table


class DeviceRow(msgspec.Struct, frozen=True):
    """A device, as a keyed hash of what is known of it, and when somebody last logged in there."""

    tenant: str
    user_id: str
    hash: bytes
    seen_ms: int


DEVICES = Table("users_devices", DeviceRow, key=("tenant", "user_id", "hash"))
DEVICES_OF = Query(
    "users.devices_of",
    f"SELECT {DEVICES.columns} FROM users_devices"
    " WHERE tenant = :tenant AND user_id = :user_id ORDER BY seen_ms DESC, hash LIMIT 500",
    DEVICES,
)
SEE_DEVICE = Statement(
    "users.see_device",
    """INSERT INTO users_devices (tenant, user_id, hash, seen_ms)
    VALUES (:tenant, :user_id, :hash, :now_ms)
    ON CONFLICT (tenant, user_id, hash) DO UPDATE SET seen_ms = excluded.seen_ms""",
)
END_DEVICES = Statement(
    "users.end_devices",
    "DELETE FROM users_devices WHERE tenant = :tenant AND user_id = :user_id",
)

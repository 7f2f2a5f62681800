"""The audit trail's upkeep."""

from mainspring import Call, EventLog, Telemetry, handles
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.audit import api
from mainspring.services.audit.api import REFUSED, AuditSettings, CheckpointRefused
from mainspring.services.audit.checkpoints import publish
from mainspring.services.audit.store import FORGET_OLD


@handles(api.publish_checkpoint)
async def publish_checkpoint(call: Call) -> None:
    settings = call.use(AuditSettings)
    refused = call.use(Telemetry).gauge(REFUSED).of()
    try:
        await publish(
            call.use(Database),
            call.use(EventLog),
            call.use(Keyring),
            origin=settings.origin,
            now_ms=call.now_ms,
        )
    except CheckpointRefused:
        # Told by the log and the gauge: a dead job every minute would tell no more.
        refused.set(1)
        return
    refused.set(0)
    call.write(FORGET_OLD(kept=settings.checkpoints_kept - 1))

"""The audit trail's upkeep."""

from mainspring.kernel.call import Call
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.audit.api import AuditSettings, service
from mainspring.services.audit.checkpoints import publish
from mainspring.services.audit.store import FORGET_OLD


@service.job(queue="bulk", max_attempts=3)
async def publish_checkpoint(call: Call) -> None:
    """Bring the tree up to date, publish a checkpoint, and forget the oldest beyond the setting.

    A proof between any two sizes needs no stored checkpoint, so forgetting loses no proof.
    """
    settings = call.use(AuditSettings)
    await publish(call.use(Database), call.use(Keyring), origin=settings.origin, now_ms=call.now_ms)
    call.write(FORGET_OLD(kept=settings.checkpoints_kept - 1))


service.every("* * * * *", publish_checkpoint)

"""Which call this task is working on, so that a log line can say so without being told."""

from contextvars import ContextVar

from mainspring.kernel.call import Call

# Set where calls are made; a task that makes several in a row has the newest.
CURRENT_CALL: ContextVar[Call | None] = ContextVar("mainspring_current_call", default=None)


def current_account() -> str:
    """On whose account this task reads: that of its call, empty for the platform itself."""
    call = CURRENT_CALL.get()
    return "" if call is None else call.account


def call_labels() -> dict[str, str]:
    """Ids of the current call: request, correlation and, when it is not the default, tenant."""
    call = CURRENT_CALL.get()
    if call is None:
        return {}
    labels = {"request_id": call.request_id, "correlation_id": call.correlation_id}
    if call.tenant != "main":
        labels["tenant"] = call.tenant
    return labels

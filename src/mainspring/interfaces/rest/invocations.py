"""What a request asks, written down for whoever owns the operation."""

from collections.abc import Mapping
from typing import Any

from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.rest.arguments import parse_key
from mainspring.kernel.invocation import Invocation
from mainspring.kernel.operation import Operation
from mainspring.kernel.sender import sender


def invocation_of(
    exchange: Exchange,
    operation: Operation,
    arguments: Mapping[str, Any],
    *,
    key: str | None,
    if_match: str | None,
    resume_after: str | None = None,
    read_after: str | None = None,
    dry_run: bool = False,
) -> Invocation:
    """Return a call of whoever the request was admitted as, whichever interface it came by.

    ``key`` is an idempotency key as it was sent; what reads takes none. Raises Malformed.
    """
    admission, headers = exchange.admission, exchange.headers
    sent_by = None
    if operation.writes:
        agent, languages = headers.get(b"user-agent"), headers.get(b"accept-language")
        sent_by = sender(exchange.address, agent, languages)
    return Invocation(
        operation.name,
        arguments,
        admission.caller,
        exchange.request_id,
        admission.account,
        exchange.correlation_id,
        idempotency_key=parse_key(key) if key is not None and operation.writes else None,
        if_match=if_match,
        resume_after=resume_after,
        until_ms=admission.until_ms,
        sender=sent_by,
        read_after=read_after,
        dry_run=dry_run,
    )

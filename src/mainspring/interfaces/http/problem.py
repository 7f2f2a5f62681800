"""Failures as problem details (RFC 9457)."""

import math

import msgspec

from mainspring.interfaces.http.exchange import field
from mainspring.kernel.errors import Failure

MEDIA_TYPE = b"application/problem+json"
DOCS = "/docs#error-"

Headers = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode


def body_of(failure: Failure, *, instance: str, request_id: str) -> bytes:
    """Write a failure: the standard members, then ``errors`` and what else it brings.

    ``errors_more`` counts the errors that are not told for their number.
    """
    members: dict[str, object] = {
        "type": DOCS + failure.code,
        "title": failure.title,
        "status": failure.status,
        "detail": failure.detail,
        "instance": instance,
        "code": failure.code,
        "request_id": request_id,
    }
    if failure.errors:
        members["errors"] = failure.errors
    if failure.errors_more:
        members["errors_more"] = failure.errors_more
    for name, value in failure.extra.items():
        members.setdefault(name, value)
    return _encode(members)


def headers_of(failure: Failure) -> Headers:
    """Headers a failure brings: its own, and ``Retry-After`` in whole seconds."""
    headers = [field(name, text) for name, text in failure.headers.items()]
    if failure.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(failure.retry_after_s))))
    return headers


class Defect(Failure):
    """What is answered when something of ours broke: nothing about it but the request's id."""

    def __init__(self) -> None:
        super().__init__("Something broke here. Quote the request_id when you report it.")

"""Requests: a call of a sibling's writing operation that is staged like a job, and how it ended."""

import msgspec

from mainspring.kernel.caller import Impersonation


class StoredRequest(msgspec.Struct, frozen=True):
    """A request as it waits: what is called, for whom, and which job is told of the end.

    ``arguments`` are the handler's by name, each as JSON. What ``actor``, the caller, may do is
    asked when the request is made. ``impersonation`` says
    who acted as that one. ``staged_ms`` is when it was staged.
    """

    operation: str
    arguments: dict[str, msgspec.Raw]
    actor: str
    staged_ms: int
    then: str | None = None
    impersonation: Impersonation | None = None


class RequestOutcome(msgspec.Struct, frozen=True):
    """How a request ended: what ``Operation.then`` gives to a job.

    ``request_id`` is what ``call.request`` returned, ``arguments`` what it was given, as JSON by
    name. ``body`` is the answer as JSON, null where there is none or it is not kept. ``failure`` is
    the code of the failure, null where the request took effect, and ``detail`` its words.
    ``outcome_unknown`` is the code where the request may have taken effect and nobody can tell.
    """

    request_id: str
    operation: str
    arguments: dict[str, msgspec.Raw]
    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    failure: str | None = None
    detail: str = ""

"""What clients of the identity provider are answered: JSON, and errors in their own words.

Their own room because failures are told here before and after a handler runs.
"""

import re
from typing import Any

import msgspec

from mainspring import Failure, Raw

_QUIET = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))  # RFC 6749, 5.1
_UNSPEAKABLE = re.compile(r"[^ !#-\[\]-~]")  # in an error_description: RFC 6749, 5.2
_BUSY = frozenset({429, 503, 504})


def answer(body: Any, headers: tuple[tuple[str, str], ...] = ()) -> Raw:
    """Answer JSON that nobody keeps."""
    return Raw(msgspec.json.encode(body), 200, "application/json", (*_QUIET, *headers))


def tell_in_json(failure: Failure) -> Raw:
    """Tell a failure as RFC 6749, 5.2 has it."""
    if failure.status in _BUSY:
        error, status = "temporarily_unavailable", failure.status
    else:
        error = str(failure.extra.get("error", "invalid_request"))
        status = 401 if failure.status == 401 else 400
    detail = failure.errors[0].detail if failure.errors else failure.detail
    body = {"error": error, "error_description": _UNSPEAKABLE.sub("'", detail)}
    return Raw(msgspec.json.encode(body), status, "application/json", _QUIET)

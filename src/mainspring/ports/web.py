"""The web port: an outgoing HTTP request to an address somebody else chose."""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class WebAnswer(msgspec.Struct, frozen=True):
    """What came back: the status, headers in lower case and the first bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WebError(Exception):
    """Nothing came back: refused, unreachable, too slow, or an address that is not allowed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Web(Protocol):
    """Sends requests to addresses from outside, guarded against reaching inside (SSRF)."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> WebAnswer:
        """POST and do not follow redirects. Raises WebError.

        The name is resolved once, every address is checked, and the connection goes to a checked
        address. Private ranges are refused unless settings allow them.
        """
        ...

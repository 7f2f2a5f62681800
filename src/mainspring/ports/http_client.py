"""The web port: an outgoing HTTP request to an address somebody else chose."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

URL_CHARS_MAX = 2_048
ANSWER_BYTES_MAX = 64 * 1024  # of a body; the rest is not read and the connection is dropped


class WebAnswer(msgspec.Struct, frozen=True):
    """What came back: the status, headers in lower case, and at most ``ANSWER_BYTES_MAX`` bytes.

    ``public`` says that anyone could have asked the address that answered; what a private one says
    is not for whoever chose the URL.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    public: bool = False


NAME_NOT_RESOLVED = "name_not_resolved"


class WebError(Exception):
    """No answer came back. ``code`` is stable and one of those below; ``detail`` is for people.

    Neither says more of the network than whoever chose the URL may know: what a name resolves to,
    or who listens there. That is in ``__cause__``.

    ``url_refused`` and ``address_refused`` are the guard's, for what the URL itself says;
    ``name_not_resolved`` is a name without an address or with one the guard refuses, and nobody is
    told which; ``connect_failed``, ``tls_failed``, ``connection_lost`` and ``timed_out`` are the
    network's.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class HttpClient(Protocol):
    """Sends requests to addresses from outside, guarded against reaching inside (SSRF)."""

    async def open(self) -> None:
        """Get ready to send; belongs to the running event loop from here on."""
        ...

    async def close(self) -> None:
        """Drop idle connections and whatever is still being sent."""
        ...

    def check(self, url: str) -> str:
        """Return the URL as it will be requested: host in lower case and ASCII.

        Raises WebError (``url_refused``, ``address_refused``) for what no request could ever be
        sent to. Resolves nothing, so a name may still turn out to lead inside.
        """
        ...

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> WebAnswer:
        """POST once, follow no redirect, verify TLS, send no cookie. Raises WebError.

        ``timeout_s`` bounds everything from the look-up to the last byte read. The name is resolved
        once per connection, every address of the answer is checked, and the connection goes to a
        checked address. Private ranges are refused unless settings allow them.
        """
        ...

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> WebAnswer:
        """GET once, under the rules of ``post``. Raises WebError."""
        ...

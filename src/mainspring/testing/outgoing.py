"""The web port of a test: records what is sent, and answers what the test says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec

from mainspring.adapters.http_client.addresses import parse
from mainspring.ports.http_client import WebAnswer, WebError

Reply = int | WebAnswer | WebError


class Sent(msgspec.Struct, frozen=True):
    """A request that left the platform. Names of headers are in lower case."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return msgspec.json.decode(self.body)


class Outgoing(Sequence[Sent]):
    """What was sent, the oldest first. Nothing leaves the process and no name is resolved.

    Everyone answers 200 until ``answers`` says otherwise. Addresses that may not be reached are
    refused as they are in production.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._sent: list[Sent] = []
        self._replies: dict[str | None, list[Reply]] = {None: [200]}

    def answers(self, *replies: Reply, url: str | None = None) -> None:
        """Answer these in turn from now on, the last one for good: ``answers(500, 200)``.

        A status stands for an answer without a body; a WebError for none at all. With ``url`` only
        requests to it are answered so.
        """
        if not replies:
            raise ValueError("say at least one answer")
        self._replies[url] = list(replies)

    def clear(self) -> None:
        """Forget what was sent."""
        self._sent.clear()

    def to(self, url: str) -> list[Sent]:
        """What was sent to one URL."""
        return [sent for sent in self._sent if sent.url == url]

    # As a sequence

    @overload
    def __getitem__(self, at: int) -> Sent: ...

    @overload
    def __getitem__(self, at: slice) -> list[Sent]: ...

    def __getitem__(self, at: int | slice) -> Sent | list[Sent]:
        return self._sent[at]

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent)

    # As the port

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to drop."""

    def check(self, url: str) -> str:
        """Normalise a URL. Raises WebError when it could never be requested."""
        return parse(url, allow_private=self._allow_private).url

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> WebAnswer:
        """Record the request and answer it. Raises WebError where the test says so."""
        return self._answer(url, body, headers)

    async def get(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> WebAnswer:
        """Record the request and answer it, as ``post`` does."""
        return self._answer(url, b"", headers)

    def _answer(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebAnswer:
        url = self.check(url)
        lower = {name.lower(): value for name, value in headers.items()}
        self._sent.append(Sent(url, lower, body))
        replies = self._replies.get(url, self._replies[None])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, WebError):
            raise reply
        return WebAnswer(reply, {}, b"") if isinstance(reply, int) else reply

"""Calls a running platform from the command line: where it is, with which key, and one request."""

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mainspring.ports.database import StartError

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16


class Remote:
    """A platform that runs, and the key to use with it; None asks without one."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._key = key

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send JSON and return the JSON that comes back. Raises StartError when it is refused."""
        encoded = None if body is None else msgspec.json.encode(body)
        with self._answer(method, path, encoded) as answer:
            received = answer.read()
        try:
            return msgspec.json.decode(received) if received else None
        except msgspec.DecodeError:
            raise StartError(
                f"what answers at {self.url} is not a Mainspring platform: it sent no JSON"
            ) from None

    def download(self, path: str) -> Iterator[bytes]:
        """Yield the body of a GET in pieces. Raises StartError when it is refused."""
        with self._answer("GET", path, None) as answer:
            while chunk := answer.read(CHUNK_BYTES):
                yield chunk

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=TIMEOUT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        headers = {"Accept": "*/*"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, parts.path + path, body, headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise StartError(f"{method} {path} was refused: {_why(answer)}")
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise StartError(f"no platform answers at {self.url}: {error}") from None
        finally:
            connection.close()


def _why(answer: http.client.HTTPResponse) -> str:
    try:
        problem = msgspec.json.decode(answer.read(CHUNK_BYTES))
        errors = "; ".join(f"{f['pointer']}: {f['detail']}" for f in problem.get("errors", ()))
        return f"{answer.status} {problem['code']}: {errors or problem['detail']}"
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return f"{answer.status} {answer.reason}"


def read_key(file: Path) -> str:
    """Read an API key from a file. Raises StartError."""
    try:
        return file.read_text().strip()
    except OSError as error:
        raise StartError(f"the API key cannot be read: {file}: {error.strerror}") from None

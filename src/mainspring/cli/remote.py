"""Calls a running platform from the command line: where it is, with which key, and one request."""

import contextlib
import http.client
import select
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from mainspring.ports.database import StartError

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16
_CERTIFICATE_END = "-----END CERTIFICATE-----"


class Declined(StartError):
    """The platform answered, with an error: its status says which kind."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class Unreached(StartError):
    """Nobody answered, or the connection broke."""


class _AnsweredEarly(Exception):
    """The answer is there before all was sent: it is a refusal."""


def trusting(certificate: str = "") -> ssl.SSLContext:
    """Believe the system's authorities; or one server's own certificate in a file, and no other.

    That one is for the name that callers use: on the machine itself the server has another.
    Raises StartError.
    """
    if not certificate:
        return ssl.create_default_context()
    try:
        # The server's own stands first. Those behind it have signed others' certificates too.
        own, end, _ = Path(certificate).read_text().partition(_CERTIFICATE_END)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # used by OpenSSL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # used by OpenSSL
        context.load_verify_locations(cadata=own + end)
    except (OSError, ValueError) as error:
        raise StartError(f"{certificate}: cannot be read: {error}") from None
    return context


class Remote:
    """A platform that runs, and the key to use with it; None asks without one.

    ``certificate`` is the file of its own, where that is at hand.
    """

    def __init__(self, url: str, key: str | None, certificate: str = "") -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._certificate = certificate

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
        """Yield the body of a GET in pieces. Raises StartError when it is refused or breaks off."""
        with self._answer("GET", path, None) as answer:
            while chunk := answer.read1(CHUNK_BYTES):  # what came before a break counts
                yield chunk
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)

    def upload(
        self,
        path: str,
        file: IO[bytes],
        size_bytes: int,
        *,
        idempotency_key: str,
        sent: Callable[[int], None],
    ) -> Any:
        """Send a file from where it stands and return the JSON that comes back.

        ``sent`` hears of every piece. Raises as ``call`` does.
        """
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "Idempotency-Key": idempotency_key,
        }
        with self._answer("POST", path, _Sending(file, sent), headers) as answer:
            return msgspec.json.decode(answer.read())

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: "bytes | _Sending | None",
        more_headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = trusting(self._certificate)
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=TIMEOUT_S, context=context, blocksize=CHUNK_BYTES
            )
        else:
            connection = http.client.HTTPConnection(
                parts.netloc, timeout=TIMEOUT_S, blocksize=CHUNK_BYTES
            )
        headers = {"Accept": "*/*", **(more_headers or {})}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
        elif body is not None:
            body.connection = connection
        try:
            # Whoever refuses a file early may have answered before they hung up.
            with contextlib.suppress(_AnsweredEarly, BrokenPipeError, ConnectionResetError):
                connection.request(method, parts.path + path, body, headers)
            answer = connection.getresponse()
            if answer.length is None and not answer.chunked:
                # A head that breaks off looks so too: what follows could not be told from a part.
                raise http.client.HTTPException("its answer does not say where it ends")
            if answer.status >= 400:
                raise Declined(f"{method} {path} was refused: {_why(answer)}", answer.status)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            told = str(error) or "the connection broke"
            raise Unreached(f"no platform answers at {self.url}: {told}") from None
        finally:
            connection.close()


class _Sending:
    """A file that is sent as a body, piece by piece, until an answer comes before its end."""

    def __init__(self, file: IO[bytes], sent: Callable[[int], None]) -> None:
        self._file = file
        self._sent = sent
        self.connection: http.client.HTTPConnection | None = None

    def read(self, size_bytes: int = CHUNK_BYTES, /) -> bytes:
        """Read the next piece. Raises _AnsweredEarly."""
        socket = self.connection.sock if self.connection is not None else None
        # What TLS has to read need not be an answer.
        if socket is not None and not isinstance(socket, ssl.SSLSocket):
            readable, _, _ = select.select([socket], [], [], 0)
            if readable:
                raise _AnsweredEarly
        chunk = self._file.read(size_bytes)
        self._sent(len(chunk))
        return chunk


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

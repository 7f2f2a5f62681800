"""Forms (RFC 7578): JSON, and the files that belong to it, in one body, read as it comes."""

from collections.abc import AsyncIterator, Callable

import multipart
from multipart import MultipartSegment, PushMultipartParser

from mainspring.interfaces.rest.arguments import require_json
from mainspring.kernel.errors import Malformed, TooLarge
from mainspring.kernel.invocation import FileHead, FilePart
from mainspring.kernel.media import file_name, media_type, parameters

JSON_PART = "record"  # comes first
PARTS_MAX = 101
FORM = "multipart/form-data"


def is_form(content_type: str | None) -> bool:
    """Tell whether a body is a form."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == FORM


class Form:
    """A form as it comes. Raises Malformed for what is none."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        boundary = next((v for n, v in parameters(content_type) if n == "boundary"), "")
        if not 1 <= len(boundary) <= 70:
            raise Malformed("a form names its boundary, of 1 to 70 characters, in Content-Type")
        self._events = _events(boundary, chunks)
        self._begun: MultipartSegment | None = None

    async def json(self, bytes_max: int, hold: Callable[[int], None]) -> bytes:
        """Return the JSON, which comes before the files; ``{}`` where there is none.

        ``hold`` is told of each piece that is kept.
        """
        segment = await self._next()
        if segment is None or segment.name != JSON_PART:
            self._begun = segment
            return b"{}"
        kind = segment.header("Content-Type")
        if kind is not None and not kind.startswith("text/plain"):  # as a script sends a string
            require_json(kind)
        body = bytearray()
        async for chunk in self._payload():
            hold(len(chunk))
            body += chunk
            if len(body) > bytes_max:
                raise TooLarge(f"the part {JSON_PART!r} has at most {bytes_max} bytes here")
        return bytes(body)

    async def files(self) -> AsyncIterator[FilePart]:
        """Return the files, each to be read before the next."""
        segment = self._begun or await self._next()
        while segment is not None:
            yield FilePart(segment.name or "", _head(segment), self._payload())
            segment = await self._next()

    async def _next(self) -> MultipartSegment | None:
        async for event in self._events:
            if isinstance(event, MultipartSegment):
                return event
        return None

    async def _payload(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if event is None:
                return
            assert not isinstance(event, MultipartSegment)  # None comes before the next one
            yield bytes(event)


async def _events(
    boundary: str, chunks: AsyncIterator[bytes]
) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
    try:
        parser = PushMultipartParser(
            boundary, max_segment_count=PARTS_MAX, header_charset="latin-1", strict=True
        )
        async for chunk in chunks:
            for event in parser.parse(chunk):
                yield event
        parser.close()
    except multipart.ParserLimitReached as error:
        raise TooLarge(f"the form is too large: {error}") from None
    except multipart.MultipartError as error:
        raise Malformed(f"the form cannot be read: {error}") from None


def _head(segment: MultipartSegment) -> FileHead:
    try:
        kind = media_type(segment.header("Content-Type") or "application/octet-stream")
    except ValueError as error:
        raise Malformed(str(error)) from None
    return FileHead(kind, file_name(segment.header("Content-Disposition") or ""))

"""Files on their way into the blob store: bounded, judged by their first bytes, then durable."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping

from mainspring.kernel.errors import Invalid, TooLarge, Unavailable
from mainspring.kernel.field_errors import escape
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.invocation import FileHead, FilePart
from mainspring.kernel.operation import UPLOAD_HEAD_BYTES, Upload, UploadTerms
from mainspring.kernel.pool import Pool
from mainspring.kernel.upload_settings import UploadSettings
from mainspring.ports.blobs import Blobs

_STORED_MORE_BYTES = 4_096  # that the smallest file may grow by, where another form is stored


class FileIntake:
    """Takes files within the settings, and within what each upload's terms say."""

    def __init__(self, blobs: Blobs, ids: IdMaker, settings: UploadSettings) -> None:
        self.blobs = blobs
        self.places = Pool("uploads", settings.at_once_max, settings.at_once_per_caller_max)
        self._ids = ids
        self._bytes_max = settings.file_bytes_max
        self._form_bytes_max = settings.form_bytes_max

    async def take(
        self,
        head: FileHead,
        chunks: AsyncIterator[bytes],
        terms: UploadTerms,
        size_bytes_max: int | None = None,
    ) -> Upload:
        """Store a file durably. Raises TooLarge, unread where its sender says how large it is.

        ``size_bytes_max`` stands before the settings. A file that is refused is not stored.
        """
        most = size_bytes_max or self._bytes_max
        if terms.size_bytes_max is not None:
            most = min(most, terms.size_bytes_max)
        if head.size_bytes is not None and head.size_bytes > most:
            raise _too_large(terms, most, f"{head.size_bytes} were announced")
        incoming, key = _Incoming(head, chunks, terms, most), terms.prefix + self._ids.new("blob")
        if terms.stored is None:
            blob = await self.blobs.put(key, incoming.judged(), size_bytes_max=most)
            size_bytes, sha256 = blob.size_bytes, blob.sha256
        else:
            came = _Counted(incoming.judged())
            most += most // 10 + _STORED_MORE_BYTES
            await self.blobs.put(key, terms.stored(came.all()), size_bytes_max=most)
            size_bytes, sha256 = came.size_bytes, came.hash.hexdigest()
        return Upload(key, size_bytes, sha256, incoming.media_type, head.filename)

    async def take_all(
        self, parts: AsyncIterator[FilePart], terms: Mapping[str, UploadTerms]
    ) -> dict[str, tuple[Upload, FileHead]]:
        """Store the files of one request, by their names; none of them stays where one is refused.

        The second file of a name that takes several is called ``name/1``, and so on.

        Raises Invalid for a name that takes no file, TooLarge for all of them together too.
        """
        taken: dict[str, tuple[Upload, FileHead]] = {}
        left = self._form_bytes_max
        try:
            async for part in parts:
                where = "/" + escape(part.name)
                if part.name not in terms:
                    known = ", ".join(sorted(terms)) or "nothing"
                    raise Invalid.at(where, f"this takes files as {known}")
                came = sum(each.partition("/")[0] == part.name for each in taken)
                if came and terms[part.name].parts_max == 1:
                    raise Invalid.at(where, "came twice: send one file for each field")
                if came == terms[part.name].parts_max:
                    raise Invalid.at(where, f"takes at most {came} files: send fewer")
                most = min(self._bytes_max, left)
                upload = await self.take(part.head, part.chunks, terms[part.name], most)
                taken[f"{part.name}/{came}" if came else part.name] = upload, part.head
                left = max(1, left - upload.size_bytes)
        except BaseException:
            await self.drop(upload for upload, _ in taken.values())
            raise
        return taken

    async def drop(self, uploads: Iterable[Upload]) -> None:
        """Delete files that nothing refers to, or leave it to the sweep where the store is away."""
        for upload in uploads:
            with contextlib.suppress(Unavailable):
                await self.blobs.delete(upload.key)


class _Counted:
    """What comes, where something else is stored in its place."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.size_bytes = 0
        self.hash = hashlib.sha256()
        self._chunks = chunks

    async def all(self) -> AsyncIterator[bytes]:
        """Pass on what comes, and count it."""
        async for chunk in self._chunks:
            self.size_bytes += len(chunk)
            self.hash.update(chunk)
            yield chunk


class _Incoming:
    """A file as it comes; once its first bytes are there its media type is known."""

    def __init__(
        self, head: FileHead, chunks: AsyncIterator[bytes], terms: UploadTerms, most: int
    ) -> None:
        self.media_type = head.media_type
        self._chunks = chunks
        self._terms = terms
        self._most = most

    async def judged(self) -> AsyncIterator[bytes]:
        """Pass on what comes, nothing of it before it is judged."""
        size, held, judge = 0, bytearray(), self._terms.judge
        async for chunk in self._chunks:
            size += len(chunk)
            if size > self._most:
                raise _too_large(self._terms, self._most, "more came")
            if judge is None:
                yield chunk
                continue
            held += chunk
            if len(held) >= UPLOAD_HEAD_BYTES:
                self.media_type = judge(bytes(held[:UPLOAD_HEAD_BYTES]), self.media_type)
                judge = None
                yield bytes(held)
        if judge is not None:
            self.media_type = judge(bytes(held), self.media_type)
            yield bytes(held)


def _too_large(terms: UploadTerms, most: int, came: str) -> TooLarge:
    return TooLarge(f"{terms.what} has at most {most} bytes: {came}")

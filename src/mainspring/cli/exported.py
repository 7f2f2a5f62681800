"""One export: asked for again where it broke off, until it is whole."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode

import msgspec

from mainspring.cli.patience import Patience
from mainspring.cli.remote import Declined, Remote
from mainspring.cli.whole_records import Cutter, PartFile
from mainspring.ports.database import StartError
from mainspring.services.records.transfer_formats import Format

Told = Callable[[int], None]  # hears how many records there are


class Export(msgspec.Struct, frozen=True):
    """What is exported from where, and how it is written."""

    platform: Remote
    collection: str
    format: Format
    filter: str | None = None
    fields: str | None = None
    escape_formulas: bool = False

    def count(self) -> int | None:
        """Count what there is, where that is quick. Raises StartError when nobody is there."""
        query = {"limit": "1", "total": "exact", "fields": "id"}
        query |= {} if self.filter is None else {"filter": self.filter}
        try:
            page = self.platform.call("GET", f"{self._path}?{urlencode(query)}")
        except Declined:  # the export itself will say why, or does not need to count
            return None
        total = page["total"]
        return int(total)

    def digest(self) -> str:
        """A name for what was asked: one that was broken off is gone on with by the same."""
        asked = (self.platform.url, *msgspec.structs.astuple(self)[1:])
        return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:8]

    def how_to_go_on(self) -> str:
        """Say what the next attempt does."""
        if self._hides_id:
            return "without id among --fields the same command begins again"
        return "the same command goes on from there"

    def to_stream(self, out: BinaryIO, told: Told) -> int:
        """Write to a stream, whole records only; return how many."""
        cutter = self._cutter()
        self._download(cutter, out.writelines, told)
        out.flush()
        return cutter.count

    def to_part(self, path: Path, told: Told) -> int:
        """Write to a file, from where it stops; return how many records it has."""
        cutter = self._cutter()
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if self._hides_id else 0)
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StartError(f"another command writes {path} just now") from None
            part = PartFile(held, path, self.format)
            part.found(cutter)
            told(cutter.count)
            try:
                self._download(cutter, part.write, told)
            except StartError as error:
                if not cutter.count:
                    path.unlink(missing_ok=True)
                    raise
                raise StartError(f"{error} (what there is lies in {path})") from None
            part.end()
            os.fsync(held.fileno())
        return cutter.count

    def _download(self, cutter: Cutter, write: Callable[[list[bytes]], object], told: Told) -> None:
        patience = Patience()
        patience.reach()  # whoever counted answered
        while True:
            try:
                for chunk in self.platform.download(self._asked(cutter.last_id)):
                    before = cutter.count
                    write(cutter.feed(chunk))
                    if cutter.count > before:
                        patience.gain()
                    told(cutter.count)
                cutter.require_whole()
            except StartError as error:
                patience.wait(error)
                cutter.begin_again()
            else:
                return

    @property
    def _path(self) -> str:
        return f"/v1/collections/{quote(self.collection, safe='')}/records"

    @property
    def _hides_id(self) -> bool:
        """Whether the id is asked for, to go on by, and not wanted."""
        return self.fields is not None and "id" not in map(str.strip, self.fields.split(","))

    def _cutter(self) -> Cutter:
        return Cutter("csv" if self.format == "csv" else "ndjson", hide_id=self._hides_id)

    def _asked(self, after: str | None) -> str:
        query = {"format": "csv" if self.format == "csv" else "ndjson"}
        if self.fields is not None:
            query["fields"] = f"id,{self.fields}" if self._hides_id else self.fields
        if self.filter is not None:
            query["filter"] = self.filter
        if self.escape_formulas:
            query["escape_formulas"] = "true"
        if after is not None:
            query["after"] = after
        return f"{self._path}:export?{urlencode(query)}"

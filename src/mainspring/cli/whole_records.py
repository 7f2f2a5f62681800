"""Records as they come out of an export: cut at their ends, so that one that breaks off goes on.

What is passed on is always whole records, and the id of the last one says where to go on.
"""

from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from mainspring.ports.database import StartError
from mainspring.services.records.transfer_formats import (
    RECORD_BYTES_MAX,
    Format,
    Piece,
    Unreadable,
    pieces,
)

# A text that is all quotes is twice as long in CSV as it is stored, and its cells may be many.
EXPORTED_BYTES_MAX = 4 * RECORD_BYTES_MAX
SCAN_BYTES = 1 << 20

_JSON_END = b"\n]\n"


class _Id(msgspec.Struct, frozen=True):
    id: str


_decode_id = msgspec.json.Decoder(_Id).decode


class Cutter:
    """Takes CSV or NDJSON in any pieces and gives back whole records.

    ``hide_id`` takes the id off each, which stands first and was asked for to go on by.
    """

    def __init__(self, format: Literal["csv", "ndjson"], *, hide_id: bool = False) -> None:
        self._format = format
        self._hide_id = hide_id
        self._rest = b""
        self._header: list[str | None] | None = None
        self._awaits_header = format == "csv"
        self.count = 0
        self.last_id: str | None = None

    def begin_again(self) -> None:
        """Forget what was not whole: what comes next follows the last record, a header first."""
        self._rest = b""
        self._awaits_header = self._format == "csv"

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the records, and the header at the start, that are whole by now.

        Raises StartError where the columns are others than before.
        """
        window, start = self._rest + chunk, 0
        found: list[bytes] = []
        last: Piece | None = None
        try:
            for piece in pieces(self._format, window, 0, last=False, bytes_max=EXPORTED_BYTES_MAX):
                text = window[start : piece.end]
                start = piece.end
                if self._awaits_header:
                    found += self._take_header(piece, text)
                    continue
                last = piece
                found.append(self._without_id(text) if self._hide_id else text)
                self.count += 1
        except Unreadable as error:
            raise StartError(f"what was exported cannot be read: {error}") from None
        self._rest = window[start:]
        if last is not None:
            self.last_id = self._id_of(last)
        return found

    def require_whole(self) -> None:
        """Raise StartError when what came last is not whole."""
        if self._rest:
            raise StartError("what was exported ends in the middle of a record: export it again")

    def _take_header(self, piece: Piece, text: bytes) -> list[bytes]:
        self._awaits_header = False
        if self._header is None:
            self._header = list(piece.cells)
            return [self._without_id(text) if self._hide_id else text]
        if self._header != list(piece.cells):
            raise StartError("the collection has other fields by now: export it again")
        return []

    def _id_of(self, piece: Piece) -> str | None:
        if self._format == "ndjson":
            return _decode_id(piece.text).id
        assert self._header is not None  # which every export begins with
        return piece.cells[self._header.index("id")]

    def _without_id(self, text: bytes) -> bytes:
        if self._format == "csv":
            return text.partition(b",")[2]
        _, comma, rest = text.partition(b",")
        return b"{" + rest if comma else b"{}\n"


class PartFile:
    """A file in the making: it gets whole records, and its name once it has them all."""

    def __init__(self, part: BinaryIO, path: Path, format: Format) -> None:
        self._part = part
        self._path = path
        self._json = format == "json"
        self._begun = False

    def found(self, cutter: Cutter) -> None:
        """Read what is there, cut off what is not whole, and stand behind it.

        ``cutter`` is brought to where it was. Raises StartError where it cannot be gone on with.
        """
        end = self._whole_elements(cutter) if self._json else self._whole_rows(cutter)
        self._part.truncate(end)
        self._part.seek(end)
        if self._json and not end:
            self._part.write(b"[")

    def write(self, records: list[bytes]) -> None:
        """Put records behind those that are there."""
        if self._json:
            separators = [b",\n" if self._begun or at else b"\n" for at in range(len(records))]
            records = [s + r.rstrip(b"\n") for s, r in zip(separators, records, strict=True)]
        self._begun = self._begun or bool(records)
        self._part.writelines(records)

    def end(self) -> None:
        """Write how it ends."""
        if self._json:
            self._part.write(_JSON_END)
        self._part.flush()

    def _whole_rows(self, cutter: Cutter) -> int:
        end = 0
        while chunk := self._part.read(SCAN_BYTES):
            end += sum(map(len, cutter.feed(chunk)))
        cutter.begin_again()
        return end

    def _whole_elements(self, cutter: Cutter) -> int:
        window, at, end = b"", 0, 0  # the window begins at ``at``
        while chunk := self._part.read(SCAN_BYTES):
            window, start = window + chunk, 0
            try:
                for piece in pieces(
                    "json", window, 0, last=False, bytes_max=EXPORTED_BYTES_MAX
                ):  # whose last is the one to go on behind
                    start = piece.end
                    cutter.count += 1
                    cutter.last_id = _decode_id(piece.text).id
            except (Unreadable, msgspec.DecodeError):
                raise StartError(f"{self._path} was changed: delete it, and export again") from None
            window, at = window[start:], at + start
            end = at if self._begun or start else 0
            self._begun = self._begun or start > 0
        return end

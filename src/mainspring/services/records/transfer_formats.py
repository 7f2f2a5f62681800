"""How records are written to and read from CSV (RFC 4180), NDJSON and JSON, a window at a time.

Pure, and linear in the bytes. Python's csv cannot tell an empty text from nothing, which RFC 4180
leaves to us: ``""`` is the empty text, and nothing between commas is null.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mainspring.services.records.api import Field

Format = Literal["csv", "ndjson", "json"]
RECORD_BYTES_MAX = 1 << 20  # of one record in a file: no event of it could be longer
COLUMNS_MAX = 200
BOM = b"\xef\xbb\xbf"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# A cell of CSV and what ends it. Each byte is looked at once: a quote begins a quoted cell or none.
_CELL = re.compile(rb'(?:"((?:[^"]++|"")*+)"|([^",\r\n]*+))(,|\r\n|\n|\r|\Z)')
# What of JSON tells where an object ends: strings as a whole, one that has no end by its quote.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)
_encode = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """A file cannot be read on: why, and at which record of it, from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class Piece(msgspec.Struct, frozen=True):
    """One record as it stands in a file: where it ends in its window, and its line, from 1.

    ``cells`` are those of a row of CSV, ``text`` is the JSON of another one.
    """

    end: int
    line: int
    text: bytes = b""
    cells: Sequence[str | None] = ()


def pieces(
    format: Format, window: bytes, line: int, *, last: bool, bytes_max: int = RECORD_BYTES_MAX
) -> Iterator[Piece]:
    """Take records out of a window of a file. Raises Unreadable, also of one that is too long.

    ``line`` is where it begins, and unless it is the ``last`` one what it ends with may go on.
    """
    split = {"csv": _rows, "ndjson": _lines, "json": _elements}[format]
    start = 0
    for piece in split(window, line, last, bytes_max):
        if piece.end - start > bytes_max:
            break
        start, line = piece.end, piece.line
        yield piece
    if len(window) - start > bytes_max:
        raise Unreadable(f"is longer than {bytes_max:,} bytes", line + 1)


def _lines(window: bytes, line: int, last: bool, _: int) -> Iterator[Piece]:
    start = 0
    while start < len(window):
        end = window.find(b"\n", start)
        if end < 0:
            if not last:
                return
            end = len(window)
        line += 1
        text = window[start:end].strip()
        start = min(end + 1, len(window))
        if text:
            yield Piece(start, line, text)


def _rows(window: bytes, line: int, last: bool, bytes_max: int) -> Iterator[Piece]:
    at, cells = 0, list[str | None]()
    while at < len(window):
        found = _CELL.match(window, at)
        if found is None:
            if last or _closes(window, at, bytes_max):
                raise Unreadable("a quote is in the wrong place: write it twice in a quoted cell",
                                 line + 1)  # fmt: skip
            return
        quoted, plain, ended = found.groups()
        at = found.end()
        if (not ended and not last) or (ended == b"\r" and at == len(window) and not last):
            return  # the cell, or the end of its line, may go on
        try:
            cells.append((quoted.replace(b'""', b'"') if quoted is not None else plain).decode())
        except UnicodeDecodeError:
            raise Unreadable("is not UTF-8", line + 1) from None
        if quoted is None and not plain:
            cells[-1] = None
        if len(cells) > COLUMNS_MAX:
            raise Unreadable(f"has more than {COLUMNS_MAX} columns", line + 1)
        if ended != b",":
            line += 1
            if cells != [None]:
                yield Piece(at, line, cells=cells)
            cells = []
    if cells and last:
        yield Piece(at, line + 1, cells=[*cells, None])


def _closes(window: bytes, at: int, bytes_max: int) -> bool:
    """Whether a cell that does not fit will not do so when more of it is there."""
    return len(window) - at > bytes_max or window[at : at + 1] != b'"'


def _elements(window: bytes, line: int, last: bool, _: int) -> Iterator[Piece]:
    depth = start = done = 0
    for found in _TOKEN.finditer(window):
        token = found[0]
        if token == b'"':
            break  # a string that goes on
        if depth == 0 and token in b"[]" and not window[done : found.start()].strip(b" \t\r\n,"):
            done = found.end()
        elif depth == 0 and (token != b"{" or window[done : found.start()].strip(b" \t\r\n,")):
            raise Unreadable("is not an object of a list: send [{…}, {…}]", line + 1)
        elif token in b"{[":
            start, depth = (found.start() if depth == 0 else start), depth + 1
        elif token in b"}]":
            depth -= 1
            if depth == 0:
                line, done = line + 1, found.end()
                yield Piece(done, line, window[start:done])
    if last and (depth or window[done:].strip(b" \t\r\n,]")):
        raise Unreadable("does not end: the file is cut off", line + 1)


def body_of(
    piece: Piece, header: Sequence[str], fields: Mapping[str, Field], system: frozenset[str]
) -> msgspec.Raw:
    """Write a record of a file as a body is sent. Raises ValueError, msgspec's too.

    What the platform sets is left out, and so are files, which are not in it.
    """
    if piece.cells:
        if len(piece.cells) != len(header):
            raise ValueError(f"has {len(piece.cells)} cells, and the header {len(header)}")
        told = zip(header, piece.cells, strict=True)
        values = {name: _value(cell, fields.get(name)) for name, cell in told}
    else:
        read = msgspec.json.decode(piece.text)
        if not isinstance(read, dict):
            raise ValueError("is not an object")
        values = read
    kept = {
        name: value
        for name, value in values.items()
        if name not in system and not (name in fields and fields[name].type == "file")
        if not (value is None and name in fields and (fields[name].stamp or fields[name].many))
        if not (value is None and name == "id")
    }
    return msgspec.Raw(_encode(kept))


def _value(cell: str | None, field: Field | None) -> Any:
    """Read a cell as its field's type has it; what is none is refused as any value is."""
    if cell is None or field is None:
        return cell
    if field.type == "json" or field.many:
        return msgspec.json.decode(cell)
    if field.type in ("integer", "number") and _NUMBER.fullmatch(cell):
        return msgspec.Raw(cell.encode())
    if field.type == "boolean" and cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    return cell


def row(values: Sequence[Any], *, escape_formulas: bool = False) -> bytes:
    """Write a row of CSV. A text that a spreadsheet would take for a formula can get a quote."""
    return (",".join([_cell(value, escape_formulas) for value in values]) + "\r\n").encode()


def _cell(value: Any, escape_formulas: bool) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        text = _encode(value).decode()
        return _quoted(text) if isinstance(value, (dict, list)) else text
    if escape_formulas and value.startswith(_FORMULA):
        value = f"'{value}"
    plain = value and value == value.strip() and not any(c in value for c in '",\r\n')
    return value if plain else _quoted(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'

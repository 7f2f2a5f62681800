"""Files of records, read a window at a time: the same pieces however they are cut."""

import json
import time

import pytest

from mainspring.services.records.transfer_formats import (
    RECORD_BYTES_MAX,
    Format,
    Unreadable,
    pieces,
    row,
)


def read(format: Format, data: bytes, step: int) -> list[object]:
    """Read a file that comes ``step`` bytes at a time."""
    found: list[object] = []
    start, line, end = 0, 0, 0
    while end < len(data):
        end = min(end + step, len(data))
        begin = start
        for piece in pieces(format, data[begin:end], line, last=end == len(data)):
            found.append([*piece.cells] if format == "csv" else json.loads(piece.text))
            start, line = begin + piece.end, piece.line
    assert line == len(found) + sum(part == b"" for part in data.split(b"\n")[:-1])
    return found


ROWS = [["a", "b", "c"], ["1", None, "x,y"], ['say "hi"', "line\r\nbreak", ""], ["ä", " b ", None]]
OBJECTS = [{"a": 1}, {"b": '}{][,"\\ \n', "c": {"d": [{}, "]"]}}, {"ä": None}]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000])
def test_pieces_are_the_same_however_they_come(step: int) -> None:
    written = b"".join(row(cells) for cells in ROWS)
    assert written.startswith(b'a,b,c\r\n1,,"x,y"\r\n"say ""hi""","line')
    assert read("csv", written, step) == ROWS
    assert read("csv", written.replace(b"\r\n", b"\n").rstrip(), step)[1:2] == ROWS[1:2]
    assert read("csv", b"a,b\r1,\r", step) == [["a", "b"], ["1", None]]
    lines = b"\n".join(json.dumps(each).encode() for each in OBJECTS)
    assert read("ndjson", lines, step) == read("ndjson", lines + b"\n", step) == OBJECTS
    for text in (json.dumps(OBJECTS), json.dumps(OBJECTS, indent=None, ensure_ascii=False)):
        assert read("json", text.encode(), step) == OBJECTS


@pytest.mark.parametrize(
    ("format", "data", "line"),
    [
        ("csv", b'a,b\n1,x"y\n', 2),
        ("csv", b'a,b\n"1"2,3\n', 2),
        ("csv", b'a,b\n1,"never ends\n', 2),
        ("csv", b"a,b\n1,\xff\n", 2),
        ("csv", b"," * 300, 1),
        ("ndjson", b"1" * (RECORD_BYTES_MAX + 1), 1),
        ("json", b"[1]", 1),
        ("json", b'[{"a": 1}, {"b": ', 2),
        ("json", b'[{"a": 1} nonsense {}]', 2),
        ("json", b'["a"]', 1),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(format: Format, data: bytes, line: int) -> None:
    with pytest.raises(Unreadable) as refused:
        list(pieces(format, data, 0, last=True))
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("csv", b'"' + b'""' * 1_000_000), ("csv", b'"' * 1_999_999), ("csv", b"a" * 2_000_000),
        ("json", b"[" + b"{" * 2_000_000), ("json", b'[{"' + b"\\" * 2_000_000),
        ("json", b'[{"' * 600_000), ("ndjson", b"{" * 2_000_000),
    ],
)  # fmt: skip
def test_hostile_files_are_read_in_a_time_that_their_length_bounds(
    format: Format, data: bytes
) -> None:
    began = time.process_time()
    with pytest.raises(Unreadable):
        list(pieces(format, data, 0, last=True))
    assert time.process_time() - began < 5  # by squares it would be hours


def test_formulas_are_escaped_where_that_is_asked() -> None:
    assert row(["=1+1", -1, "a"], escape_formulas=True) == b"'=1+1,-1,a\r\n"
    assert row(["=1+1", True, None, [1], {"a": "b"}]) == (b'=1+1,true,,"[1]","{""a"":""b""}"\r\n')

"""Migration scripts for PostgreSQL: a column of type ``text`` compares by code point.

Scripts are written once for both engines. SQLite compares text byte by byte; PostgreSQL compares
by the database's locale unless each column says ``COLLATE "C"``, so it is added here.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?P<string>  (?<![\w$]) [eE] '(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
               | \$(?P<tag>[A-Za-z_]\w*)?\$.*?\$(?P=tag)\$ | \$\$.*?\$\$ )
  | (?P<quoted>  "(?:[^"]|"")*" )
  | (?P<word>    [A-Za-z_][\w$]* )
  | (?P<space>   \s+ )
  | (?P<other>   :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_DEFINES_COLUMNS = re.compile(
    r"(create ((global|local) )?(temp |temporary |unlogged )?|alter )table "
)
_BRACKETS = re.compile(r"(?:\s*\[\s*\d*\s*\])*")
_COLLATED = re.compile(r"\s*collate\b", re.IGNORECASE)

# After these, ``text`` is a column, a table or a cast and never the type of a column.
_NOT_A_COLUMN_NAME = frozenset(
    {
        "add", "alter", "and", "as", "by", "check", "collate", "column", "constraint", "default",
        "drop", "exists", "foreign", "from", "generated", "in", "index", "is", "like", "not",
        "null", "on", "or", "primary", "references", "rename", "select", "table", "to", "unique",
        "using", "where", "with",
    }
)  # fmt: skip


def with_code_point_order(script: str) -> str:
    """Add ``COLLATE "C"`` to every column that ``CREATE`` or ``ALTER TABLE`` gives type text.

    Literals, comments, casts and columns that are merely called ``text`` stay as they are, and so
    does a column that names its collation.
    """
    out: list[str] = []
    position = 0
    for at in _column_types(script):
        end = at + len("text")
        end += len(_BRACKETS.match(script, end)[0])  # type: ignore[index]
        if not _COLLATED.match(script, end):
            out += [script[position:end], ' COLLATE "C"']
            position = end
    return "".join(out) + script[position:]


def _column_types(script: str) -> Iterator[int]:
    """Yield where the word ``text`` stands as the type of a column."""
    statement = ""  # its first words, lower case
    previous = ""  # the last significant token; a name in quotes counts as a name
    for match in _TOKEN.finditer(script):
        kind, word = match.lastgroup, match[0].lower()
        if kind in ("comment", "space"):
            continue
        if word == ";":
            statement, previous = "", ""
            continue
        if len(statement) < 40:
            statement += word + " "
        named = previous == '"' or (
            re.fullmatch(r"[a-z_][\w$]*", previous) is not None
            and previous not in _NOT_A_COLUMN_NAME
        )
        if kind == "word" and word == "text" and named and _DEFINES_COLUMNS.match(statement):
            yield match.start()
        previous = '"' if kind == "quoted" else word

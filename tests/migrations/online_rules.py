"""What a migration may do to a table that may be large and is in use, and why not the rest.

The release before still runs, on the schema of the one that starts: it has to find what it names,
and to be able to write. And a lock that takes as long as the table is large stops everybody.
"""

import re
from collections.abc import Iterator

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TEXT = re.compile(r"'(?:[^']|'')*'")
_BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_MAKES = re.compile(r"create table (?:if not exists )?(\w+)")
_INDEX = re.compile(r"create (?:unique )?index (concurrently )?(?:if not exists )?\w+ on (\w+)")
_CHANGES = re.compile(r"alter table (?:if exists )?(?:only )?(\w+) (.*)")
_ROWS = re.compile(r"(?:update|delete from|insert into) (\w+)\b")

# Of an ALTER TABLE: what it does, and why that cannot be done beside traffic.
_REFUSED = (
    (r"add column .*\bgenerated\b|add column \w+ (?:small|big)?serial", "it rewrites every row"),
    (r"add column .*\b(?:unique|primary key)\b", "it builds an index under a lock"),
    (r"add column .*\b(?:references|check)\b", "it reads every row under a lock"),
    (r"add column .*\bdefault\b[^,]*\(", "a default that is worked out rewrites every row"),
    (r"add column (?!.*\bdefault\b).*\bnot null\b", "the release before writes none, and fails"),
    (r"add (?:constraint \w+ )?(?:unique|primary key)\b(?!.*using index)",
     "it builds an index under a lock: build it beside first, and say USING INDEX"),
    (r"add (?:constraint \w+ )?(?:check|foreign key)\b(?!.*not valid)",
     "it reads every row under a lock: say NOT VALID, and validate it in the next one"),
    (r"alter (?:column )?\w+ (?:set data )?type\b", "it rewrites every row"),
    (r"alter (?:column )?\w+ set not null", "it reads every row, and older code may write null"),
    (r"(?:drop|rename)\b(?! constraint)", "the release before still uses it"),
    (r"set (?:logged|unlogged|tablespace|access method)", "it rewrites every row"),
)  # fmt: skip
_NEVER = (
    (r"drop (?:table|view)\b", "the release before still uses it"),
    (r"(?:truncate|lock|cluster|vacuum|reindex)\b", "it keeps everybody out"),
)


def refused(script: str) -> Iterator[str]:
    """Say what of a script cannot be done online; what it makes itself nobody uses yet."""
    statements = _statements(script)
    made = {found[1] for one in statements if (found := _MAKES.match(one))}
    for statement in statements:
        for why in _of_statement(statement, made, alone=len(statements) == 1):
            yield f"{statement[:60]}: {why}"


def _of_statement(statement: str, made: set[str], *, alone: bool) -> Iterator[str]:
    if (index := _INDEX.match(statement)) and index[2] not in made:
        if not index[1]:
            yield "it keeps writers out until it is built: say CONCURRENTLY, in a file of its own"
        elif not alone:
            yield "an index is built beside by a file that does nothing else"
    if (changes := _CHANGES.match(statement)) and changes[1] not in made:
        for part in re.split(r", (?=add |alter |drop |rename )", changes[2]):
            yield from (why for what, why in _REFUSED if re.match(what, part))
    if (rows := _ROWS.match(statement)) and rows[1] not in made:
        yield "one transaction over all rows: let a job do it in steps"
    yield from (why for what, why in _NEVER if re.match(what, statement))


def _statements(script: str) -> list[str]:
    plain = _TEXT.sub("''", _COMMENT.sub(" ", _BODY.sub("''", script)))
    return [" ".join(one.lower().split()) for one in plain.split(";") if one.strip()]

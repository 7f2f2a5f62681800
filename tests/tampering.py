"""What somebody with access to the database could do to the log, in the words of each engine."""

from mainspring.kernel.table import Statement

_AT = "ordinal = (SELECT ordinal FROM event_places WHERE seq = :seq)"
_LOST = "WITH lost AS (DELETE FROM event_places WHERE seq {} :seq RETURNING ordinal) "
_FORGET = "DELETE FROM events WHERE ordinal IN (SELECT ordinal FROM lost)"

REWRITE_BODY = Statement(
    "test.rewrite_body",
    "UPDATE events SET body = :body WHERE seq = :seq",
    postgres=f"UPDATE events SET body = :body WHERE {_AT}",
)
REWRITE_LEAF = Statement(
    "test.rewrite_leaf",
    "UPDATE events SET leaf = :leaf WHERE seq = :seq",
    postgres=f"UPDATE events SET leaf = :leaf WHERE {_AT}",
)
LOSE = Statement(
    "test.lose", "DELETE FROM events WHERE seq = :seq", postgres=_LOST.format("=") + _FORGET
)
LOSE_AFTER = Statement(
    "test.lose_after", "DELETE FROM events WHERE seq > :seq", postgres=_LOST.format(">") + _FORGET
)

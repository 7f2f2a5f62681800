"""Periods of local time that moments lie in, as SQL: the hours, days, weeks and months of a zone.

No engine is asked about time zones, since each knows those of its own: when a zone's offset changes
is looked up here, for the moments that there are, and becomes a part of the text.
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from mainspring import Invalid

WRITTEN = re.compile(
    r"(hour|day|week|month)\(\s*([a-z][a-z0-9_]*)\s*(?:,\s*(?:'([^']*)'|\"([^\"]*)\")\s*)?\)"
)
YEARS_MAX = 300  # from the first moment to the last
_STEP = timedelta(days=7)  # no zone changes its offset there and back in less
_SPARE = timedelta(days=366)
_SECOND = timedelta(seconds=1)

_SQLITE = {"hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
_POSTGRES = {
    "hour": 'YYYY-MM-DD"T"HH24:00', "day": "YYYY-MM-DD", "week": "YYYY-MM-DD", "month": "YYYY-MM",
}  # fmt: skip


class Period(msgspec.Struct, frozen=True):
    """A unit of local time that a field of moments is grouped by."""

    unit: str
    field: str
    zone: ZoneInfo

    @property
    def name(self) -> str:
        """What answers call it."""
        return f"{self.unit}({self.field})"


def read_period(text: str) -> Period | None:
    """Read ``day(created_at, 'Europe/Berlin')``; None for what is no period. Raises Invalid."""
    found = WRITTEN.fullmatch(text)
    if found is None:
        return None
    unit, field, single, double = found.groups()
    zone = single or double or "UTC"
    try:
        return Period(unit, field, ZoneInfo(zone))
    except (ValueError, KeyError, OSError):
        detail = f"there is no time zone {zone!r}: name one as in 'Europe/Berlin'"
        raise Invalid.at("/group", detail) from None


def period_texts(period: Period, values: tuple[str, str], first: str, last: str) -> tuple[str, str]:
    """The period that a moment is in, as SQLite and PostgreSQL write it.

    ``values`` are the field as each reads it, ``first`` and ``last`` its smallest and largest
    moment. A period is the text of its beginning, an hour with its offset: the one that comes
    twice is two. Raises Invalid for moments that are too far apart.
    """
    offsets = _offsets(period.zone, _moment(first), _moment(last))
    texts = []
    for value, collation in zip(values, ("", ' COLLATE "C"'), strict=True):
        seconds = _case(f"({value}){collation}", [(until, str(o)) for until, o in offsets])
        labels = _case(f"({value}){collation}", [(until, f"'{_label(o)}'") for until, o in offsets])
        texts.append((f"({value})", seconds, labels if period.unit == "hour" else "''"))
    (moment, seconds, label), (other, others, other_label) = texts
    monday = ", 'weekday 0', '-6 days'" if period.unit == "week" else ""
    sqlite = (
        f"strftime('{_SQLITE[period.unit]}', substr({moment}, 1, 19), {seconds} || ' seconds'"
        f"{monday}) || {label}"
    )
    local = f"(left({other}, 19)::timestamp + {others} * interval '1 second')"
    postgres = (
        f"to_char(date_trunc('{period.unit}', {local}), '{_POSTGRES[period.unit]}') || "
        f"{other_label}"
    )
    return f"({sqlite})", f"({postgres})"


def _case(value: str, choices: list[tuple[str | None, str]]) -> str:
    """Choose by the first moment that the value comes before; the last choice has none."""
    whens = "".join(f" WHEN {value} < '{until}' THEN {then}" for until, then in choices[:-1])
    return f"(CASE{whens} ELSE {choices[-1][1]} END)" if whens else choices[-1][1]


def _label(offset_s: int) -> str:
    minutes = abs(offset_s) // 60
    return f"{'-' if offset_s < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if not 2 < moment.year < 9998:
        raise Invalid.at("/group", "there are moments before the year 3 or after 9997: filter")
    return moment


def _offsets(zone: ZoneInfo, first: datetime, last: datetime) -> list[tuple[str | None, int]]:
    """The offsets of a zone in seconds, each with the moment until when it holds."""
    if last - first > timedelta(days=366 * YEARS_MAX):
        detail = f"there are moments more than {YEARS_MAX} years apart: filter a part of them"
        raise Invalid.at("/group", detail)
    found: list[tuple[str | None, int]] = []
    # A year more on both sides, for what is written while this is looked up.
    at, end = first.replace(microsecond=0) - _SPARE, last + _SPARE
    while at < end:
        after = at + _STEP
        if _offset(zone, at) == _offset(zone, after):
            at = after
            continue
        before = at
        while after - before > _SECOND:
            middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
            if _offset(zone, middle) == _offset(zone, before):
                before = middle
            else:
                after = middle
        found.append((after.strftime("%Y-%m-%dT%H:%M:%S.000Z"), _offset(zone, before)))
        at = after
    return [*found, (None, _offset(zone, at))]


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(UTC).astimezone(zone).utcoffset()
    assert offset is not None  # a zone has one at every moment
    return int(offset.total_seconds())

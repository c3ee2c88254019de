"""Times as tables have them: ISO 8601, by day or month first, named months, seconds since 1970 and parts of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from eventmark.errors import UsageError

_REMEDY = "write times as ISO 8601 has them: 2025-01-31T03:00:00Z"
_CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d+)?)?\s*(?P<half>[AaPp][Mm])?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _CLOCK)
_COMPACT = re.compile(
    r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:T?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?P<part>)(?P<half>))?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
_YEAR_LAST = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second_part>\d{1,2})(?P=mark)(?P<year>\d{4})" + _CLOCK
)
_EPOCH = re.compile(r"(?P<whole>\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?P<rest>\.\d+)?")
_EPOCH_SCALES = {9: 1.0, 10: 1.0, 12: 1e3, 13: 1e3, 15: 1e6, 16: 1e6, 18: 1e9, 19: 1e9}
_NAMED_MONTH = re.compile(r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE)


def read_times(cells: Sequence[str], where: Callable[[int], str]) -> list[datetime]:
    """Each cell's time in UTC; one without a zone is taken for UTC. ``where`` names a cell by its number.

    Whether 03/04/2025 is in March or April is decided by the column: a part above 12 is a day. Raises ``UsageError``
    where no cell decides it, where cells contradict each other, and for what is no time.
    """
    day_first = _day_first(cells, where)
    times = []
    for number, cell in enumerate(cells):
        try:
            times.append(_time(cell.strip(), day_first))
        except (ValueError, OverflowError, OSError):
            raise UsageError(f"{where(number)}: {cell!r} is not a time", remedy=_REMEDY) from None
    return times


def _day_first(cells: Sequence[str], where: Callable[[int], str]) -> bool:
    """Of times that end with the year. With dots, the day comes first everywhere."""
    days: list[int] = []  # cells of which a part can only be a day
    months: list[int] = []
    open_ones: list[int] = []
    for number, cell in enumerate(cells):
        match = _YEAR_LAST.fullmatch(cell.strip())
        if match is None or match["mark"] == ".":
            continue
        first, second = int(match["first"]), int(match["second_part"])
        if first > 12:
            days.append(number)
        elif second > 12:
            months.append(number)
        elif first != second:
            open_ones.append(number)
    if days and months:
        raise UsageError(
            f"{where(days[0])} has the day first ({cells[days[0]]}), {where(months[0])} the month ({cells[months[0]]})",
            remedy=_REMEDY,
        )
    if open_ones and not days and not months:
        raise UsageError(
            f"{where(open_ones[0])}: {cells[open_ones[0]]!r} is ambiguous, the day or the month may come first",
            remedy=_REMEDY,
        )
    return bool(days)


def _time(text: str, day_first: bool) -> datetime:
    """Raises ``ValueError``."""
    if match := _EPOCH.fullmatch(text):
        whole = match["whole"]
        return datetime.fromtimestamp(float(text) / _EPOCH_SCALES[len(whole)], UTC)
    if match := _YEAR_FIRST.fullmatch(text) or _COMPACT.fullmatch(text):
        return _made(match, int(match["month"]), int(match["day"]))
    if match := _YEAR_LAST.fullmatch(text):
        first, second = int(match["first"]), int(match["second_part"])
        day, month = (first, second) if day_first or match["mark"] == "." else (second, first)
        return _made(match, month, day)
    named = _NAMED_MONTH.search(text) is not None
    moment = parsedate_to_datetime(text) if named else datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _made(match: re.Match[str], month: int, day: int) -> datetime:
    hour = int(match["hour"] or 0)
    if half := match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{hour} {half} is no hour")
        hour = hour % 12 + (12 if half.lower() == "pm" else 0)
    made = datetime(
        int(match["year"]), month, day, hour, int(match["minute"] or 0), int(match["second"] or 0),
        int(float(match["part"] or 0) * 1e6), tzinfo=_zone(match["zone"]),
    )  # fmt: skip
    return made.astimezone(UTC)


def _zone(text: str | None) -> timezone:
    if not text or text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-away if text[0] == "-" else away)

"""Numbers as people read them: three significant digits, a unit, thin spaces."""

from __future__ import annotations

import math

from eventmark.results.results import Floor, LatencyInterval

THIN_SPACE = "\u202f"
NONE = "–"


def milliseconds(value: float | None) -> str:
    """Milliseconds to three significant digits, microseconds below a hundredth of one."""
    if value is None:
        return NONE
    if 0 < value < 0.01:
        return f"{significant(value * 1000)}{THIN_SPACE}µs"
    return f"{significant(value)}{THIN_SPACE}ms"


def significant(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    value = float(
        f"{value:.{digits - 1}e}"
    )  # first, for 9.996 has one digit more before the point when rounded
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return whole(round(value)) if decimals == 0 else f"{value:.{min(decimals, 12)}f}"


def limit(value: float | None) -> str:
    """A chosen number of milliseconds, as it was chosen: ``10 ms``, ``0.5 ms``."""
    return NONE if value is None else f"{value:g}{THIN_SPACE}ms"


def amount(value: float) -> str:
    """A count whole, a mean of counts to three significant digits."""
    return whole(value) if float(value).is_integer() else significant(value)


def whole(value: float) -> str:
    """With thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def interval(found: LatencyInterval | None) -> str:
    """``0.873 ms to 1.09 ms``."""
    if found is None:
        return NONE
    high = milliseconds(found.high) if found.high is not None else "unbounded"
    return f"{milliseconds(found.low)} to {high}"


def duration(seconds: float) -> str:
    """``28.5 s`` below two minutes, ``4 min 28 s`` beyond, ``2 h 5 min`` from two hours on."""
    if seconds < 120:
        return f"{significant(seconds)}{THIN_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes}{THIN_SPACE}min {rest}{THIN_SPACE}s"
    return f"{minutes // 60}{THIN_SPACE}h {minutes % 60}{THIN_SPACE}min"


def ratio(floor: Floor) -> str:
    """The distance from a floor: ``1.07 × pgbench``."""
    return f"{floor.ratio:.2f} × {floor.tool}"


def quantity(value: float, unit: str) -> str:
    """A floor's value with its unit."""
    return milliseconds(value) if unit == "ms" else f"{whole(value)} {unit}"


def floor_text(floor: Floor) -> str:
    """The distance from a floor and what it is: ``1.07 × pgbench (mean 0.543 ms)``."""
    return f"{ratio(floor)} ({floor.statistic} {quantity(floor.value, floor.unit)})"


def times(value: float) -> str:
    """A ratio: ``1.07 ×``."""
    return f"{significant(value)}{THIN_SPACE}×"


def share(value: float) -> str:
    return f"{value:.1%}"


def mebibytes(value: float) -> str:
    """``784 MiB``, ``23.5 GiB``."""
    if value >= 10_240:
        return f"{significant(value / 1024)}{THIN_SPACE}GiB"
    return f"{whole(value)}{THIN_SPACE}MiB"

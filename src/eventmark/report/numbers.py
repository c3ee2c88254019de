"""Numbers as people read them: three significant digits, a unit, thin spaces."""

from __future__ import annotations

import math

from eventmark.measure.results import Floor, LatencyInterval

THIN_SPACE = "\u202f"


def milliseconds(value: float | None) -> str:
    """Milliseconds to three significant digits, microseconds below a hundredth of one."""
    if value is None:
        return "–"
    if 0 < value < 0.01:
        return f"{significant(value * 1000)}{THIN_SPACE}µs"
    return f"{significant(value)}{THIN_SPACE}ms"


def significant(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return whole(round(value)) if decimals == 0 else f"{value:.{decimals}f}"


def whole(value: float) -> str:
    """With thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def interval(found: LatencyInterval | None) -> str:
    if found is None:
        return "–"
    return (
        f"{milliseconds(found.low)} to {milliseconds(found.high) if found.high is not None else 'unbounded'}"
    )


def floor_text(floor: Floor) -> str:
    """The distance from a floor in words: ``1.07 × pgbench's mean``."""
    value = milliseconds(floor.value) if floor.unit == "ms" else f"{whole(floor.value)} {floor.unit}"
    return f"{floor.ratio:.2f} × {floor.tool} ({floor.statistic} {value})"


def share(value: float) -> str:
    return f"{value:.1%}"

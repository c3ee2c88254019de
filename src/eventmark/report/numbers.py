"""Numbers as people read them: three significant digits, commas between thousands, a unit."""

from __future__ import annotations

import math

from eventmark.results.results import Floor, LatencyInterval

THIN_SPACE = "\u202f"
NONE = "–"
LEVEL = 0.005
"""What is nearer to a baseline than this is as fast."""

MANY_TIMES = 1.5
"""From here on a distance is said in times, below it in percent."""


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
    """With commas between thousands, as findings have them."""
    return f"{value:,.0f}"


def interval(bounds: LatencyInterval | None) -> str:
    """``0.873 ms to 1.09 ms``."""
    if bounds is None:
        return NONE
    high = milliseconds(bounds.high) if bounds.high is not None else "unbounded"
    return f"{milliseconds(bounds.low)} to {high}"


def duration(seconds: float) -> str:
    """``28.5 s`` below two minutes, ``4 min 28 s`` beyond, ``2 h 5 min`` from two hours on."""
    if seconds < 120:
        return f"{significant(seconds)}{THIN_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes}{THIN_SPACE}min {rest}{THIN_SPACE}s"
    return f"{minutes // 60}{THIN_SPACE}h {minutes % 60}{THIN_SPACE}min"


def distance(baseline: Floor) -> str:
    """The distance from a baseline, its direction in words: ``14% faster than pgbench``, ``2.2 × slower than psql``."""
    ratio = baseline.ratio
    if not (math.isfinite(ratio) and ratio > 0):
        return f"not comparable with {baseline.tool}"
    times, direction = (1 / ratio, "faster") if ratio < 1 else (ratio, "slower")
    share = abs(1 - ratio)
    if share < LEVEL:
        return f"as fast as {baseline.tool}"
    much = (
        f"{significant(times, 2)} ×"
        if times >= MANY_TIMES
        else f"{100 * share:.{0 if share >= 0.01 else 1}f}%"
    )
    return f"{much} {direction} than {baseline.tool}"


def quantity(value: float, unit: str) -> str:
    """A baseline's value with its unit."""
    return milliseconds(value) if unit == "ms" else f"{whole(value)} {unit}"


def against(baseline: Floor) -> str:
    """The distance from a baseline and its figure: ``14% faster than pgbench (1.01 ms)``."""
    return f"{distance(baseline)} ({quantity(baseline.value, baseline.unit)})"


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

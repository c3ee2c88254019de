"""Units of one dimension converted into each other: a course is in one unit, not in ``us/op`` and ``ns/op``."""

from __future__ import annotations

from collections.abc import Mapping

_SECONDS: Mapping[str, float] = {
    **dict.fromkeys(("ns", "nsec", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "seconds"), 1.0),
    **dict.fromkeys(("min", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hours"), 3600.0),
    "day": 86400.0,
}
_BYTES: Mapping[str, float] = {
    "B": 1.0, "bytes": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
    "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip


def dimension_of(unit: str) -> str:
    """What units that can be converted into each other have in common."""
    return _parts(unit)[0]


def converted(value: float, unit: str, wanted: str) -> float:
    """The value in another unit of its dimension. Raises ``ValueError`` for one of another dimension."""
    (dimension, scale), (other, into) = _parts(unit), _parts(wanted)
    if dimension != other:
        raise ValueError(f"{unit} is no {wanted}")
    return value if scale == into else value * scale / into


def is_rate(unit: str) -> bool:
    """Whether it counts something in a time, of which more is better."""
    return dimension_of(unit).endswith("/time")


def _parts(unit: str) -> tuple[str, float]:
    """The dimension, and how much of its base unit one of the unit is."""
    amount, slash, per = unit.strip().partition("/")
    for dimension, table in (("time", _SECONDS), ("bytes", _BYTES)):
        if amount in table and per not in _SECONDS:
            return f"{dimension}/{per}" if slash and dimension != "time" else dimension, table[amount]
    if slash and per in _SECONDS:
        scale = _BYTES.get(amount, 1.0)
        return f"{'bytes' if amount in _BYTES else amount}/time", scale / _SECONDS[per]
    return unit.strip(), 1.0

"""Steadiness: of a warm-up, by the medians of its iterations; of a measurement, which way it still drifted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eventmark.stats.dependence import Samples
from eventmark.stats.drift import Drift
from eventmark.stats.quantiles import quantile_interval
from eventmark.stats.ranks import NS_PER_MS

WINDOW = 5
TOLERANCE = 0.10
TREND_NEGLIGIBLE = 0.02  # of the median, over the window: a trend so small does not matter
ITERATIONS_MAX = 40


def is_steady(medians_ms: Sequence[float], *, window: int = WINDOW, tolerance: float = TOLERANCE) -> bool:
    """Whether the last ``window`` medians lie within ``tolerance`` of their own median, without a trend.

    A trend is a rise or fall at every step, by more than 2% in all: of five medians in random order, one
    window in sixty looks like that (Kendall's tau, significant at 5%).
    """
    if len(medians_ms) < window:
        return False
    last = np.asarray(medians_ms[-window:], dtype=float)
    centre = float(np.median(last))
    # Asked for what has to hold: a median that is not a number compares as false and is not steady.
    if not (centre > 0 and np.max(np.abs(last - centre)) <= tolerance * centre):
        return False
    return not _trend(last)


def drift_of(
    windows_ns: Sequence[Samples], random: np.random.Generator, *, tolerance: float = TOLERANCE
) -> Drift:
    """How the last of a measurement's windows compares with those before; nanoseconds, each in the order of time.

    A window differs from the last one where their medians are more than ``tolerance`` apart and the 95% intervals of
    both medians are disjoint: of few samples, medians differ by chance. A rise or fall at every step counts too, as
    in ``is_steady``. Raises ``ValueError`` for a window without samples.
    """
    medians_ms = np.array([np.median(window) for window in windows_ns]) / NS_PER_MS
    drift = _trend(medians_ms)
    last_ms = float(medians_ms[-1])
    for window, median_ms in zip(windows_ns[:-1], medians_ms[:-1], strict=True):
        if abs(median_ms - last_ms) <= tolerance * min(median_ms, last_ms):
            continue
        before, after = (
            quantile_interval([samples], 0.5, random=random) for samples in (window, windows_ns[-1])
        )
        if before.high is not None and before.high < after.low:
            drift |= Drift.SLOWER
        if after.high is not None and after.high < before.low:
            drift |= Drift.FASTER
    return drift


def _trend(medians_ms: np.ndarray) -> Drift:
    """A rise or fall at every step, by more than is negligible in all."""
    steps = np.diff(medians_ms)
    if abs(medians_ms[-1] - medians_ms[0]) <= TREND_NEGLIGIBLE * float(np.median(medians_ms)):
        return Drift.NONE
    return Drift.SLOWER if np.all(steps > 0) else Drift.FASTER if np.all(steps < 0) else Drift.NONE


class WarmUp:
    """Fed with the median of each iteration until it is steady or the iterations are used up."""

    def __init__(self, *, iterations_max: int = ITERATIONS_MAX) -> None:
        self._medians_ms: list[float] = []
        self._iterations_max = iterations_max

    @property
    def iterations(self) -> int:
        return len(self._medians_ms)

    @property
    def steady(self) -> bool:
        return is_steady(self._medians_ms)

    @property
    def over(self) -> bool:
        return self.steady or self.exhausted

    @property
    def exhausted(self) -> bool:
        """The iterations allowed are used up and the operation is still not steady."""
        return self.iterations >= self._iterations_max and not self.steady

    def add(self, median_ms: float) -> None:
        self._medians_ms.append(median_ms)

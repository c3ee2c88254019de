"""Warm-up: measured until the medians of successive iterations stay within a band and show no trend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    steps = np.diff(last)
    monotone = bool(np.all(steps > 0) or np.all(steps < 0))
    return not (monotone and abs(last[-1] - last[0]) > TREND_NEGLIGIBLE * centre)


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

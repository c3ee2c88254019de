"""Has an operation warmed up? Told from the medians of its iterations.

An operation is steady when, over the last iterations,

- the medians lie within a tolerance of each other (largest - smallest, as a share of their median), and
- they show no trend: Kendall's rank correlation with time is not significant at 5%, or the drift it stands
  for (Theil-Sen slope times the window) is too small to matter.

Medians, because one slow call must not look like a cold cache. A trend is asked for separately, because
latencies that sink by one percent each time are within every tolerance and have not arrived yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau, theilslopes

WINDOW_ITERATIONS = 5
SPREAD_TOLERANCE = 0.10
TREND_SIGNIFICANCE = 0.05  # five medians: only when every one is below, or above, the one before
DRIFT_SHARE = 0.2  # of the tolerance; a smaller drift over the window is no trend worth waiting for
WARMUP_ITERATIONS_MAX = 30


def is_steady(
    iteration_medians_ms: Sequence[float],
    *,
    window: int = WINDOW_ITERATIONS,
    tolerance: float = SPREAD_TOLERANCE,
) -> bool:
    """Whether the last ``window`` medians lie within ``tolerance`` of each other and show no trend.

    False for fewer than ``window``, or where one of them is not a number. ``window`` is at least 2.
    """
    if len(iteration_medians_ms) < window:
        return False
    last_ms = np.asarray(iteration_medians_ms[-window:], dtype=np.float64)
    if not np.isfinite(last_ms).all():
        return False
    allowed_ms = tolerance * float(np.median(last_ms))
    if float(np.ptp(last_ms)) > allowed_ms:
        return False
    return not _has_trend(last_ms, DRIFT_SHARE * allowed_ms)


def _has_trend(medians_ms: np.ndarray, negligible_ms: float) -> bool:
    places = np.arange(len(medians_ms))
    p_value = float(kendalltau(places, medians_ms).pvalue)
    if math.isnan(p_value) or p_value >= TREND_SIGNIFICANCE:  # not a number: all medians are the same
        return False
    drift_ms = abs(float(theilslopes(medians_ms, places).slope)) * (len(medians_ms) - 1)
    return drift_ms > negligible_ms


class WarmUp:
    """Fed with the median of each warm-up iteration, says when to stop.

    The caller iterates until ``steady`` or ``exhausted``; at ``iterations_max`` without having become steady
    it is exhausted, and what is measured after that is marked as not steady.
    """

    def __init__(
        self,
        *,
        iterations_max: int = WARMUP_ITERATIONS_MAX,
        window: int = WINDOW_ITERATIONS,
        tolerance: float = SPREAD_TOLERANCE,
    ) -> None:
        self.iterations_max = iterations_max
        self._window = window
        self._tolerance = tolerance
        self._medians_ms: list[float] = []

    def feed(self, median_ms: float) -> None:
        """One more iteration, its median in milliseconds."""
        self._medians_ms.append(median_ms)

    @property
    def iterations(self) -> int:
        return len(self._medians_ms)

    @property
    def steady(self) -> bool:
        """Of the iterations fed last."""
        return is_steady(self._medians_ms, window=self._window, tolerance=self._tolerance)

    @property
    def exhausted(self) -> bool:
        """All iterations allowed are used up and the operation is still not steady."""
        return self.iterations >= self.iterations_max and not self.steady

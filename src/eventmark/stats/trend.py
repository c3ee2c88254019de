"""Does a series rise, and is the end of a long run slower than its beginning? Answers with an interval.

Neighbouring samples of memory or of latency are alike, so that many of them say less than their number. Both
answers are therefore made of a few dozen windows, and allow for what likeness is left between these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.results.results import Verdict
from eventmark.stats.ranks import CONFIDENCE
from eventmark.stats.ratios import Ratio, welch_ratio

WINDOWS = 40
WINDOWS_MIN = 20
"""Fewer, and the autocorrelation of the residuals cannot be estimated."""

THIRD_WINDOWS = 10
THIRD_SAMPLES_MIN = 20
"""In each window of a third, or its p95 is its maximum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A slope per second with its 95% interval. ``inflation`` is of its variance."""

    slope: float
    low: float
    high: float
    inflation: float

    def judged(self, negligible: float) -> Verdict:
        """BROKEN when it surely rises by more than is negligible, MET when it surely does not."""
        if self.low > negligible:
            return Verdict.BROKEN
        return Verdict.MET if self.high < negligible else Verdict.INCONCLUSIVE


def trend_of(at_s: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The Theil-Sen slope of window medians, in units per second; None of too few samples.

    Its interval is Sen's, by Kendall's rank statistic, widened as the autocorrelation of the residuals widens
    that statistic's variance (Hamed and Rao, 1998), and by Student's quantile for the windows that are left
    independent: a series that wanders is not taken for one that rises.
    """
    from scipy import stats  # see ``student``

    x, y = _windows(np.asarray(at_s, float), np.asarray(values, float))
    if len(x) < WINDOWS_MIN:
        return None
    slope, intercept, low, high = stats.theilslopes(y, x, CONFIDENCE)
    inflation = _variance_inflation(y - (intercept + slope * x))
    independent = max(len(x) / inflation - 2, 1.0)
    student = float(stats.t.ppf(0.5 + CONFIDENCE / 2, independent) / stats.norm.ppf(0.5 + CONFIDENCE / 2))
    widened = math.sqrt(inflation) * student
    return Slope(
        slope=float(slope), low=float(slope - (slope - low) * widened), high=float(slope + (high - slope) * widened),
        inflation=inflation,
    )  # fmt: skip


def _windows(
    at_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most ``WINDOWS`` medians of equal stretches of time; those without a sample are left out."""
    if len(at_s) < 2 or at_s[-1] <= at_s[0]:
        return np.empty(0), np.empty(0)
    count = min(WINDOWS, len(at_s))
    edges = np.linspace(at_s[0], at_s[-1], count + 1)
    bins = np.clip(np.searchsorted(edges, at_s, side="right") - 1, 0, count - 1)
    filled = [number for number in range(count) if (bins == number).any()]
    return (
        np.array([float(np.mean(at_s[bins == number])) for number in filled]),
        np.array([float(np.median(values[bins == number])) for number in filled]),
    )


def _variance_inflation(residuals: NDArray[np.float64]) -> float:
    """Of Kendall's statistic, by the autocorrelation of the residuals' ranks until it has faded.

    Each correlation is taken for a little more than it seems: a line fitted to few points has taken some of it.
    """
    from scipy.stats import rankdata

    n = len(residuals)
    ranks = rankdata(residuals)
    centred = ranks - ranks.mean()
    variance = float(centred @ centred)
    if variance <= 0:
        return 1.0
    total = 0.0
    for lag in range(1, n // 2):
        correlation = float(centred[:-lag] @ centred[lag:]) / variance
        correlation += (1 + 4 * correlation) / n  # Kendall's correction of the bias of detrending
        if correlation <= 0:  # likeness that has faded does not come back
            break
        total += (n - lag) * (n - lag - 1) * (n - lag - 2) * correlation
    return max(1.0 + 2.0 * total / (n * (n - 1) * (n - 2)), 1.0)


def last_to_first_third(
    at_s: NDArray[np.float64], samples: NDArray[np.int64], seconds: float, *, q: float
) -> Ratio | None:
    """How the q-quantile of the last third of a run compares to that of the first; None of too few samples.

    Each third is cut into windows; the interval is Welch's, of the logarithms of the windows' quantiles.
    """
    thirds: list[list[float]] = []
    for number in (0, 2):
        edges = np.linspace(number * seconds / 3, (number + 1) * seconds / 3, THIRD_WINDOWS + 1)
        parts = [samples[(at_s >= edges[k]) & (at_s < edges[k + 1])] for k in range(THIRD_WINDOWS)]
        if any(len(part) < THIRD_SAMPLES_MIN for part in parts):
            return None
        thirds.append([float(np.quantile(part, q)) for part in parts])
    return welch_ratio(thirds[1], thirds[0])

"""Arithmetic of ranks: which sample is a quantile, and how many it takes to bound one. Knows no samples."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
NS_PER_MS = 1e6


def nearest_rank(q: float, count: int) -> int:
    """The 1-based rank of the q-quantile among ``count`` samples in order, ``count`` at least 1.

    Nearest rank: the ``ceil(q count)``-th smallest, so that every quantile is a latency that really
    occurred; nothing is interpolated.
    """
    # Rounded first: 0.07 * 100 is 7.000000000000001, whose ceiling would be one rank too high.
    return min(max(math.ceil(round(q * count, 6)), 1), count)


def least_samples(q: float, *, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """How many independent samples bound the q-quantile from below, and how many from above.

    The largest of n is below the quantile with probability q^n, the smallest above it with (1-q)^n; a bound
    exists once that is at most half of what the confidence leaves. p95: 2 and 72, p99: 1 and 368, p99.9: 1
    and 3688.
    """
    tail = (1 - confidence) / 2
    return math.ceil(math.log(tail) / math.log(1 - q)), math.ceil(math.log(tail) / math.log(q))
